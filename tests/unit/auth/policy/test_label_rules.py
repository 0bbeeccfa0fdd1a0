"""Label rules: what counts as one, what an arriving object gives its study, and what becomes of a failing rule."""

import shutil
from pathlib import Path

import pytest

from archive.enforcement.attributes import is_keyword
from auth.errors import PolicyInvalid
from auth.policy.cases import read_cases, run
from auth.policy.engine import PolicyEngine
from auth.policy.labelling import NO_LABELS, Labels
from auth.policy.loading import SCHEMA_FILE, load
from auth.policy.model import OPENS_A_STUDY, AccessRequest, Action
from tests.simulators.subjects import assurance, node, person

SHIPPED = Path(__file__).parents[4] / "config" / "policies"
SETS = [SHIPPED, *sorted(path.parent for path in SHIPPED.glob("*/cases.toml"))]
SHUT = '@id("q") forbid (principal, action, resource is Study) when { resource.labels.contains("quarantine") };'
HEAD = '(principal, action == Action::"Label", resource is Object)'
OBJECT = {
    "study_uid": "1.2",
    "sop_class": "1.2.840.10008.5.1.4.1.1.2",
    "station": "CT-ER-2",
    "department": "Emergency",
    "study_date": 20261127,
    "protocol": "POLYTRAUMA",
    "performing_physicians": frozenset({"HOUSE^GREGORY"}),
    "modalities": frozenset({"CT"}),
    "body_parts": frozenset[str](),
}


def rule(name: str, labels: str, condition: str = "true", more: str = "") -> str:
    return f'@id("{name}") @label("{labels}") {more} permit {HEAD} when {{ {condition} }};\n'


def directory(folder: Path, text: str) -> Path:
    shutil.copy(SHIPPED / SCHEMA_FILE, folder)
    (folder / "test.cedar").write_text(SHUT + text, encoding="utf-8")
    return folder


def given(folder: Path, text: str, **changed: object) -> Labels:
    engine = PolicyEngine.load(directory(folder, text), is_keyword)
    asked = AccessRequest(Action.STORE, node("modality", name="CT1"), None, assurance(None))
    return engine.labels(asked, {**OBJECT, **changed})


def test_rules_give_labels_by_what_the_object_says_and_who_sends_it(tmp_path: Path) -> None:
    text = (
        rule("er", "emergency", 'resource has station && resource.station like "CT-ER-*"')
        + rule("ward", "ward", 'resource has department && resource.department == "Ward 7"')
        + rule("trauma", "trauma, teaching", 'resource has protocol && resource.protocol == "POLYTRAUMA"')
        + rule("house", "house", 'resource.performing_physicians.contains("HOUSE^GREGORY")')
        + rule("sender", "outside", 'principal == Node::"CT1" && principal in Role::"modality"')
        + rule("new", "new", "resource has study_date && resource.study_date + 1 > 20261127")
    )
    labels = given(tmp_path, text)
    assert labels.first == {"emergency", "trauma", "teaching", "house", "outside", "new"}
    assert labels.always == frozenset() and labels.failures == ()


def test_a_rule_for_every_object_and_quarantine_count_with_later_objects_too(tmp_path: Path) -> None:
    text = (
        rule("first", "first")
        + rule("each", "each", more='@objects("every")')
        + rule("shut", "quarantine", 'resource.modalities.contains("CT")')
    )
    assert given(tmp_path, text) == Labels(frozenset({"first"}), frozenset({"each", "quarantine"}))


def test_without_rules_there_are_no_labels(tmp_path: Path) -> None:
    assert given(tmp_path, "") is NO_LABELS


def test_a_rule_that_fails_gives_quarantine_besides_what_the_others_give(tmp_path: Path) -> None:
    largest = (1 << 63) - 1
    text = rule("good", "good") + rule("far", "far", f"resource has study_date && resource.study_date + {largest} > 0")
    labels = given(tmp_path, text)
    assert labels == Labels(
        frozenset({"good"}), frozenset({"quarantine"}), ("the label rule far could not be evaluated",)
    )


@pytest.mark.parametrize(
    "changed",
    [{"study_date": "yesterday"}, {"station": "\ud800"}, {"shoe_size": 43}, {"study_date": 1 << 64}],
    ids=["another type", "no text", "unknown to the schema", "no number of Cedar's"],
)
def test_an_object_that_the_rules_cannot_be_asked_about_is_quarantined(
    tmp_path: Path, changed: dict[str, object]
) -> None:
    labels = given(tmp_path, rule("good", "good"), **changed)
    assert labels.always == {"quarantine"} and labels.first == frozenset()
    assert labels.failures and "shoe" not in str(labels.failures) and "yesterday" not in str(labels.failures)


def test_rules_change_with_the_policies_at_once(tmp_path: Path) -> None:
    engine = PolicyEngine.load(directory(tmp_path, rule("a", "before")))
    asked = AccessRequest(Action.STORE, node("modality"), person("radiologist"), assurance(None))
    assert engine.labels(asked, OBJECT).first == {"before"}
    before = engine.policies.fingerprint
    engine.reload(directory(tmp_path, rule("a", "after", "context has person && context.node == principal")))
    assert engine.labels(asked, OBJECT).first == {"after"}
    assert engine.policies.fingerprint != before


def test_label_rules_permit_nobody_anything(tmp_path: Path) -> None:
    loaded = load(directory(tmp_path, rule("a", "x")))
    assert set(loaded.effects) == {"q"} and loaded.rules.labels == {"a": {"x"}}
    asked = AccessRequest(Action.STORE, node("modality"), None, assurance(None), "1.2", {"study_uid": "1.2"})
    assert not PolicyEngine(loaded).decide(asked).permitted


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (f'@id("a") permit {HEAD};', "a label rule says with @label which labels it gives"),
        (f'@id("a") @label(" , ") permit {HEAD};', "a label rule says with @label which labels it gives"),
        (f'@id("a") @label("two words") permit {HEAD};', "'two words' is no word"),
        (f'@id("a") @label("x") forbid {HEAD};', "a label rule is a permit"),
        ('@id("a") @label("x") permit (principal, action, resource);', "has the head"),
        ('@id("a") @label("x") permit (principal, action == Action::"Store", resource);', "has the head"),
        (
            '@id("a") @label("x") permit (principal, action in [Action::"Store", Action::"Label"], resource);',
            "has the head",
        ),
        (f'@id("a") @label("x") @objects("some") permit {HEAD};', '@objects can only say "every"'),
        (f'@id("a") @label("x") @flag("y") permit {HEAD};', "@flag on a label rule obliges nobody"),
        (rule("a", "x", "resource.shoe_size == 43"), "shoe_size"),
        (rule("a", "x", 'resource.station == "A"'), "unable to guarantee safety of access to optional attribute"),
        (rule("a", "x", 'resource.labels.contains("y")'), "labels"),
    ],
)
def test_what_is_no_label_rule_is_refused_by_name(tmp_path: Path, text: str, finding: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        load(directory(tmp_path, text), is_keyword)
    assert finding in str(caught.value) and "test.cedar: a: " in str(caught.value)


@pytest.mark.parametrize(
    ("shut", "left"),
    [
        ("", "Export, Move, Query, Receive, Retrieve"),
        (SHUT.replace("action,", 'action in [Action::"Query", Action::"Retrieve"],'), "Export, Move, Receive"),
        (SHUT.replace("principal,", 'principal in Role::"r",'), "Export, Move, Query, Receive, Retrieve"),
        (SHUT + SHUT.replace('"q"', '"p"').replace("forbid", "permit"), None),
        (SHUT.replace("when {", "when { context.tls } when {"), "Export, Move, Query, Receive, Retrieve"),
    ],
)
def test_label_rules_need_a_set_that_shuts_what_is_quarantined(tmp_path: Path, shut: str, left: str | None) -> None:
    directory(tmp_path, "")
    (tmp_path / "test.cedar").write_text(shut + rule("a", "x"), encoding="utf-8")
    if left is None:
        load(tmp_path)
        return
    with pytest.raises(PolicyInvalid, match=f"no forbid shuts studies labelled quarantine to {left}"):
        load(tmp_path)


def test_label_rules_need_a_schema_that_knows_objects(tmp_path: Path) -> None:
    directory(tmp_path, rule("a", "x"))
    schema = (SHIPPED / SCHEMA_FILE).read_text("utf-8")
    (tmp_path / SCHEMA_FILE).write_text(schema.replace("    protocol?: String,\n", ""), encoding="utf-8")
    with pytest.raises(PolicyInvalid, match="Object"):
        load(tmp_path)


@pytest.mark.parametrize("folder", SETS, ids=lambda folder: folder.name)
def test_every_shipped_set_shuts_what_is_quarantined_to_every_role(tmp_path: Path, folder: Path) -> None:
    shutil.copy(SHIPPED / SCHEMA_FILE, tmp_path)
    for path in folder.glob("*.cedar"):
        shutil.copy(path, tmp_path)
    (tmp_path / "more.cedar").write_text(rule("more", "x"), encoding="utf-8")
    loaded = load(tmp_path, is_keyword)
    engine = PolicyEngine(loaded)
    study = {**OBJECT, "labels": frozenset({"quarantine", "research", "phantom"}), "patient_id": "TEST"}
    del study["sop_class"], study["protocol"]
    for role in loaded.roles:
        at, who = node(*loaded.roles), person(role)
        for action in OPENS_A_STUDY:
            asked = AccessRequest(action, at, who, assurance(who), "1.2", study, break_glass=True)
            decision = engine.decide(asked)
            assert not decision.permitted, (role, action, decision.reason)


CASE = """
[[case]]
name = "research"
action = "Label"
node = { name = "MR7" }
person = { name = "ann" }
object = { station = "RESEARCH-1" }
labels = ["research", "each"]
labels_later = ["each"]
"""
RESEARCH = rule(
    "research", "research", 'principal == Node::"MR7" && resource has station && resource.station like "RESEARCH-*"'
) + rule("each", "each", "context has person", more='@objects("every")')


def said(folder: Path, text: str, cases: str) -> list[str]:
    engine = PolicyEngine.load(directory(folder, text), is_keyword)
    return [verdict.fault for verdict in run(engine, read_cases(cases))]


def test_a_set_is_held_to_the_labels_that_objects_get(tmp_path: Path) -> None:
    assert said(tmp_path, RESEARCH, CASE) == [""]
    assert said(tmp_path, RESEARCH, CASE.replace("labels_later", "# ")) == [""]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('"RESEARCH-1"', '"CT-1"'), "labels each with the first object"),
        (('"MR7"', '"MR8"'), "labels each with the first object"),
        (('person = { name = "ann" }\n', ""), "labels research with the first object"),
        (('labels_later = ["each"]', "labels_later = []"), "labels each with a later object"),
    ],
)
def test_a_case_of_labels_that_does_not_hold_says_what_is_given(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    assert said(tmp_path, RESEARCH, CASE.replace(*change)) == [words]


def test_a_case_of_labels_says_which_rule_failed(tmp_path: Path) -> None:
    failing = rule("far", "far", f"resource has study_date && resource.study_date + {(1 << 63) - 1} > 0")
    case = CASE.replace('station = "RESEARCH-1"', "study_date = 20260101")
    (fault,) = said(tmp_path, failing, case)
    assert fault == "labels quarantine with the first object; the label rule far could not be evaluated"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("labels =", "expect ="), "which labels are given"),
        (("object =", "study ="), "read an object, and no study"),
        (("station", "labels"), "unknown key 'labels'"),
        (('labels = ["research", "each"]', 'labels = "research"'), "labels"),
        (("[[case]]", '[[case]]\nexpect = "permit"'), "unknown key 'expect'"),
    ],
)
def test_a_case_of_labels_that_says_less_than_it_seems_to_is_refused(change: tuple[str, str], words: str) -> None:
    with pytest.raises(PolicyInvalid, match=words):
        read_cases(CASE.replace(*change, 1))
