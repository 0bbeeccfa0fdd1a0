"""A second set beside the one in force: asked the same, never obeyed, its differences counted and told once."""

from pathlib import Path

from auth.policy.engine import PolicyEngine
from auth.policy.loading import load
from auth.policy.model import AccessRequest, Action
from auth.policy.shadow import MAX_KEPT, Difference, Shadow
from tests.simulators.subjects import assurance, node, person

SCHEMA = Path(__file__).parents[4] / "config" / "policies" / "schema.cedarschema"
STUDY = {name: frozenset() for name in ("performing_physicians", "modalities", "body_parts", "labels")}


def engines(directory: Path, live: str, other: str) -> tuple[PolicyEngine, list[Difference]]:
    loaded = []
    for name, text in (("live", live), ("other", other)):
        folder = directory / name
        folder.mkdir()
        (folder / SCHEMA.name).write_bytes(SCHEMA.read_bytes())
        (folder / "p.cedar").write_text(text)
        loaded.append(load(folder))
    told: list[Difference] = []
    engine = PolicyEngine(loaded[0])
    engine.shadow(loaded[1], told.append)
    return engine, told


def asked(uid: str, **study: object) -> AccessRequest:
    return AccessRequest(Action.QUERY, node(), person(), assurance(person()), uid, {"study_uid": uid, **STUDY, **study})


PERMIT = '@id("p") permit (principal, action, resource);'
NOT_CT = '@id("p") permit (principal, action, resource is Study) unless { resource.modalities.contains("CT") };'


def test_the_live_set_is_obeyed_and_each_difference_is_told_once(tmp_path: Path) -> None:
    engine, told = engines(tmp_path, PERMIT, NOT_CT)
    for _ in range(3):
        assert engine.decide(asked("1.2", modalities=frozenset({"CT"}))).permitted
        assert engine.decide(asked("1.3")).permitted
    assert [(found.study_uid, found.live, found.shadow) for found in told] == [("1.2", True, False)]
    assert engine.beside is not None
    assert engine.beside.counts == (6, 3) and engine.beside.differences == [(told[0], 3)]


def test_studies_that_a_query_found_are_compared_one_by_one(tmp_path: Path) -> None:
    engine, told = engines(tmp_path, PERMIT, NOT_CT)
    studies = [(f"1.{number}", {"study_uid": f"1.{number}", **STUDY}) for number in range(5)]
    studies[2][1]["modalities"] = frozenset({"CT"})
    assert all(decision.permitted for decision in engine.decide_all(asked("1"), studies))
    assert [found.study_uid for found in told] == ["1.2"]


def test_a_set_that_reaches_nothing_differs_before_any_study_is_read(tmp_path: Path) -> None:
    engine, told = engines(tmp_path, PERMIT, "")
    engine.residuals(asked("1.2"))
    assert [(found.study_uid, found.live, found.shadow) for found in told] == [("", True, False)]


def test_an_obligation_more_is_a_difference(tmp_path: Path) -> None:
    engine, told = engines(tmp_path, PERMIT, PERMIT.replace("permit", '@hide("PatientName") permit'))
    engine.decide(asked("1.2"))
    assert len(told) == 1


def test_it_is_forgotten_when_it_stops(tmp_path: Path) -> None:
    engine, _ = engines(tmp_path, PERMIT, "")
    engine.shadow(None)
    assert engine.beside is None and engine.decide(asked("1.2")).permitted


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    engine, told = engines(tmp_path, PERMIT, "")
    assert isinstance(engine.beside, Shadow)
    for number in range(MAX_KEPT + 10):
        engine.decide(asked(f"1.{number}"))
    assert len(told) == len(engine.beside.differences) == MAX_KEPT
    assert engine.beside.counts == (MAX_KEPT + 10, MAX_KEPT + 10)
