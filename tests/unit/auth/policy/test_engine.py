"""The decision point: both subjects, obligations, failures, and what is remembered."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auth.errors import PolicyInvalid
from auth.policy import engine as engine_module
from auth.policy.engine import PolicyEngine
from auth.policy.model import AccessRequest, Action
from auth.principal import NodeIdentity, Principal
from tests.simulators.subjects import assurance, node, person

SCHEMA = Path(__file__).parents[4] / "config" / "policies" / "schema.cedarschema"
STUDY: dict[str, object] = {
    "study_uid": "1.2",
    "performing_physicians": frozenset(),
    "modalities": frozenset({"CT"}),
    "body_parts": frozenset(),
    "labels": frozenset(),
}
Loader = Callable[[str], PolicyEngine]


@pytest.fixture
def load(tmp_path: Path) -> Loader:
    def load(text: str) -> PolicyEngine:
        (tmp_path / "schema.cedarschema").write_bytes(SCHEMA.read_bytes())
        (tmp_path / "test.cedar").write_text(text, encoding="utf-8")
        return PolicyEngine.load(tmp_path)

    return load


def asked(
    action: Action = Action.QUERY,
    at: NodeIdentity | None = None,
    who: Principal | None = None,
    **study: Any,
) -> AccessRequest:
    return AccessRequest(action, at or node("r"), who, assurance(who), "1.2", {**STUDY, **study})


def test_empty_policy_set_denies_everything(load: Loader) -> None:
    engine = load("")
    for action in Action:
        decision = engine.decide(asked(action, who=person("r")))
        assert not decision.permitted
        assert "no policy permits it" in decision.reason


def test_person_and_node_must_both_be_permitted(load: Loader) -> None:
    engine = load('@id("p") permit (principal in Role::"r", action, resource);')
    for at, who, expected in (
        (node("r"), person("r"), True),
        (node("r"), person("s"), False),
        (node("s"), person("r"), False),
    ):
        assert engine.decide(asked(at=at, who=who)).permitted is expected


def test_reason_names_both_subjects_and_their_policies(load: Loader) -> None:
    engine = load(
        '@id("people") permit (principal is User, action, resource);'
        '@id("machines") permit (principal is Node, action, resource);'
    )
    assert engine.decide(asked(who=person())).reason == (
        "person alice: permitted by people; node WS1: permitted by machines"
    )


def test_forbid_wins_over_permits(load: Loader) -> None:
    engine = load(
        '@id("p") permit (principal, action, resource);'
        '@id("f") forbid (principal is User, action, resource is Study) when { resource.modalities.contains("MR") };'
    )
    assert engine.decide(asked(who=person())).permitted
    denied = engine.decide(asked(who=person(), modalities=frozenset({"CT", "MR"})))
    assert not denied.permitted
    assert "person alice: forbidden by f" in denied.reason


def test_obligations_of_all_permits_and_both_subjects_are_united(load: Loader) -> None:
    engine = load(
        '@id("a") @hide("PatientName") permit (principal is User, action, resource);'
        '@id("b") @hide("PatientID, PatientSex") permit (principal is User, action, resource);'
        '@id("c") permit (principal, action, resource);'
        '@id("d") @hide("PatientAge") permit (principal is Node, action, resource);'
    )
    decision = engine.decide(asked(who=person()))
    assert decision.permitted
    assert decision.obligations.hide == {"PatientName", "PatientID", "PatientSex", "PatientAge"}


def test_residual_unites_obligations_of_permits_that_may_apply(load: Loader) -> None:
    engine = load(
        '@id("a") permit (principal, action, resource);'
        '@id("b") @hide("PatientName") permit (principal is User, action, resource is Study) '
        'when { resource.labels.contains("x") };'
    )
    first, second = engine.residuals(asked(who=person()))
    assert first.obligations.hide == {"PatientName"}
    assert second.obligations.hide == frozenset()


def test_obligation_that_nobody_carries_out_denies(load: Loader) -> None:
    engine = load('@id("p") @watermark("yes") permit (principal, action, resource);')
    decision = engine.decide(asked(who=person()))
    assert not decision.permitted
    assert "watermark" in decision.reason


def test_action_on_a_study_without_a_study_is_denied_where_it_matters(load: Loader) -> None:
    engine = load('@id("p") permit (principal, action, resource is Study) when { resource.labels.isEmpty() };')
    who = person()
    request = AccessRequest(Action.QUERY, node(), who, assurance(who))
    assert not engine.decide(request).permitted


def test_forbid_that_cannot_be_evaluated_applies(load: Loader) -> None:
    engine = load(
        '@id("p") permit (principal, action, resource);'
        '@id("f") forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };'
    )
    assert not engine.decide(asked(who=person())).permitted
    assert [residual.constant for residual in engine.residuals(asked(who=person()))] == [False, False]


def test_permit_that_cannot_be_evaluated_grants_nothing(load: Loader) -> None:
    engine = load('@id("p") permit (principal, action, resource) when { 9223372036854775807 + 1 == 0 };')
    assert not engine.decide(asked(who=person())).permitted


@pytest.mark.parametrize(
    "study",
    [
        {"study_date": "20200101"},
        {"labels": "restricted"},
        {"nobody_knows": "x"},
        {"patient_id": 7},
        {"patient_id": object()},
    ],
)
def test_study_that_does_not_fit_the_schema_is_denied(load: Loader, study: dict[str, Any]) -> None:
    engine = load(
        '@id("p") permit (principal, action, resource);'
        '@id("f") forbid (principal, action, resource is Study) when { resource.labels.contains("restricted") };'
    )
    decision = engine.decide(asked(who=person(), **study))
    assert not decision.permitted
    assert decision.reason


def test_circumstances_that_do_not_fit_the_schema_are_denied(load: Loader) -> None:
    engine = load('@id("p") permit (principal, action, resource);')
    who = person()
    request = AccessRequest(Action.QUERY, node(), who, assurance(who), "1.2", STUDY, {"moon": "full"})
    assert not engine.decide(request).permitted
    assert {residual.constant for residual in engine.residuals(request)} == {False}
    assert engine.explain(request).lines


def test_library_that_raises_denies(load: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load('@id("p") permit (principal, action, resource) when { context.tls };')

    def broken(*_: object) -> object:
        raise RuntimeError("out of order")

    monkeypatch.setattr(engine_module, "residual", broken)
    monkeypatch.setattr(engine_module, "evaluate", broken)
    for action in Action:
        request = asked(action, who=person())
        assert not engine.decide(request).permitted
        assert not any(decision.permitted for decision in engine.decide_all(request, [("1.2", STUDY)]))
        assert [residual.constant for residual in engine.residuals(request)] == [False]
        assert "out of order" in engine.explain(request).lines[-1]


@pytest.mark.parametrize(
    "name",
    ["O'Brien", 'a"b', "a\\b", "Ä Ö", "e\u0301a", "\u0301a", "漢字", "a*b", "a::b", "tab\there", "\u200bx", "😀"],
)
def test_odd_names_are_themselves_and_nobody_else(load: Loader, name: str) -> None:
    engine = load('@id("p") permit (principal, action, resource is Study) when { resource.labels.isEmpty() };')
    who = person(name=name)
    first, _ = engine.residuals(asked(who=who))
    assert first.constant is None
    assert engine.decide(asked(who=who)).permitted


def test_attribute_that_the_schema_does_not_declare_is_unknown_to_policy(load: Loader) -> None:
    engine = load(
        '@id("p") permit (principal is User, action, resource) '
        'when { principal.attributes has department && principal.attributes.department == "RAD" };'
        '@id("n") permit (principal is Node, action, resource);'
    )
    assert engine.decide(asked(who=person(department="RAD", favourite_colour="blue"))).permitted
    assert not engine.decide(asked(who=person(department="CARD"))).permitted
    assert not engine.decide(asked(who=person(favourite_colour="RAD"))).permitted


def test_constant_decisions_are_remembered_by_everything_they_depend_on(
    load: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load('@id("p") permit (principal in Role::"r", action == Action::"Store", resource);')
    calls = []
    real = engine_module.residual
    monkeypatch.setattr(engine_module, "residual", lambda *a: calls.append(1) or real(*a))
    for _ in range(3):
        assert engine.decide(asked(Action.STORE, node("r"))).permitted
    assert len(calls) == 1
    assert not engine.decide(asked(Action.STORE, node("s"))).permitted
    assert not engine.decide(asked(Action.COMMIT, node("r"))).permitted
    assert len(calls) == 3


def test_memory_is_bounded(load: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "MAX_REMEMBERED", 8)
    engine = load('@id("p") permit (principal, action, resource);')
    for number in range(30):
        assert engine.decide(asked(Action.STORE, node(name=f"N{number}"))).permitted
    assert len(engine._edition.prepared) <= 8


def test_equal_studies_are_decided_once_and_one_study_may_come_twice(load: Loader) -> None:
    engine = load('@id("p") permit (principal, action, resource is Study) when { resource.labels.contains("x") };')
    yes = {**STUDY, "labels": frozenset({"x"})}
    decisions = engine.decide_all(asked(who=person()), [("1.2", STUDY), ("1.2", yes), ("1.3", STUDY), ("1.4", yes)])
    assert [decision.permitted for decision in decisions] == [False, True, False, True]


def test_reload_takes_effect_whole_or_not_at_all(load: Loader, tmp_path: Path) -> None:
    engine = load('@id("p") permit (principal, action, resource);')
    generation, fingerprint = engine.generation, engine.policies.fingerprint
    (tmp_path / "test.cedar").write_text("permit (", encoding="utf-8")
    with pytest.raises(PolicyInvalid):
        engine.reload(tmp_path)
    assert engine.decide(asked(Action.STORE)).permitted
    assert engine.generation == generation
    (tmp_path / "test.cedar").write_text("", encoding="utf-8")
    engine.reload(tmp_path)
    assert engine.generation == generation + 1
    assert engine.policies.fingerprint != fingerprint
    assert not engine.decide(asked(Action.STORE)).permitted


def test_explain_says_which_policies_decide_and_what_they_are_for(load: Loader) -> None:
    engine = load(
        '@id("p") @reason("doctors see") @hide("PatientName") permit (principal, action, resource is Study) '
        "when { resource.labels.isEmpty() };"
        '@id("f") @reason("not at night") forbid (principal is Node, action, resource is Study) '
        'when { resource.modalities.contains("MR") };'
    )
    who = person()
    lines = engine.explain(asked(who=who)).lines
    assert lines == (
        "person alice: permitted by p",
        "  permit p: doctors see",
        "node WS1: permitted by p",
        "  permit p: doctors see",
        "hidden: PatientName",
    )
    denied = engine.explain(asked(who=who, modalities=frozenset({"MR"})))
    assert not denied.decision.permitted
    assert denied.lines[-1] == "  forbid f: not at night"
    open_question = engine.explain(AccessRequest(Action.QUERY, node(), who, assurance(who)))
    assert open_question.lines[0] == "person alice: it depends on the study"
    assert engine.explain(asked(Action.QUERY, who=None)).lines == (
        "no person: the roles of a node alone never allow it",
    )
