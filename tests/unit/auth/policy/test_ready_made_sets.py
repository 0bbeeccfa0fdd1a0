"""Every policy set of the release holds together, makes no idle rule, and holds its own cases."""

from pathlib import Path

import pytest

from archive.enforcement.attributes import is_keyword
from auth.errors import PolicyInvalid
from auth.policy.cases import DecisionCase, read_cases, run
from auth.policy.engine import PolicyEngine
from auth.policy.loading import load

POLICIES = Path(__file__).parents[4] / "config" / "policies"
SETS = sorted(path.parent for path in POLICIES.glob("*/cases.toml"))
CASE = '[[case]]\nname = "x"\naction = "Query"\nexpect = "deny"\n'


def test_the_ready_made_sets_are_these() -> None:
    assert [folder.name for folder in SETS] == [
        "connectathon",
        "departmental-archive",
        "referring-physicians",
        "remote-service-engineer",
        "research-cohort",
    ]


@pytest.mark.parametrize("folder", SETS, ids=lambda folder: folder.name)
def test_a_set_holds_its_cases(folder: Path) -> None:
    verdicts = run(PolicyEngine.load(folder, is_keyword), read_cases((folder / "cases.toml").read_text("utf-8")))
    assert [(verdict.case.name, verdict.fault) for verdict in verdicts if verdict.fault] == []
    decided = [verdict.case for verdict in verdicts if isinstance(verdict.case, DecisionCase)]
    assert {case.permitted for case in decided} == {True, False}


@pytest.mark.parametrize("folder", [POLICIES, *SETS], ids=lambda folder: folder.name)
def test_a_set_has_no_idle_rule_and_says_what_each_is_for(folder: Path) -> None:
    loaded = load(folder, is_keyword)
    assert loaded.idle == () and all(loaded.reasons.values())


@pytest.mark.parametrize("folder", SETS, ids=lambda folder: folder.name)
def test_every_rule_of_a_set_decides_one_of_its_cases(folder: Path) -> None:
    loaded = load(folder, is_keyword)
    cases = read_cases((folder / "cases.toml").read_text("utf-8"))
    engine = PolicyEngine(loaded)
    named = "; ".join(engine.decide(case.request).reason for case in cases if isinstance(case, DecisionCase))
    assert [identifier for identifier in loaded.effects if identifier not in named] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('expect = "deny"', 'expect = "maybe"'), "expects permit or deny"),
        (('action = "Query"', 'action = "Fly"'), "an action of the schema"),
        (('name = "x"', 'title = "x"'), "it has a name"),
        (("[[case]]", "[[case]]\nstudy = { shoe_size = 43 }"), "unknown key 'shoe_size'"),
        (("[[case]]", "[[case]]\nstudy = { study_date = true }"), "study_date"),
        (("[[case]]", '[[case]]\ncontext = { moon = "full" }'), "unknown key 'moon'"),
        (("[[case]]", "[[case]]\ncontext = { at = 2026-01-01T00:00:00 }"), "offset"),
        (("[[case]]", '[[case]]\nnode = { trust = "blind" }'), "trust"),
        (("[[case]]", '[[case]]\nhidden = "PatientName"'), "hidden"),
        (("[[case]]", "[[case]"), "not TOML"),
        (("[[case]]", "[[cases]]"), "unknown key 'cases'"),
    ],
)
def test_a_case_that_says_less_than_it_seems_to_is_refused(change: tuple[str, str], words: str) -> None:
    with pytest.raises(PolicyInvalid, match=words.replace("(", r"\(")):
        read_cases(CASE.replace(*change))


def test_a_file_without_cases_is_refused() -> None:
    with pytest.raises(PolicyInvalid, match=r"no \[\[case\]\]"):
        read_cases("")


def test_what_does_not_hold_is_said(tmp_path: Path) -> None:
    (tmp_path / "schema.cedarschema").write_bytes((POLICIES / "schema.cedarschema").read_bytes())
    (tmp_path / "one.cedar").write_text('@id("p") @hide("PatientName") permit (principal, action, resource);')
    text = CASE + CASE.replace("deny", "permit") + "person = { roles = [] }\nhidden = []\nflagged = true\n"
    first, second = run(PolicyEngine.load(tmp_path), read_cases(text.replace('"Query"', '"Store"', 1)))
    assert first.fault.startswith("permitted: ") and second.fault == "hides PatientName"
