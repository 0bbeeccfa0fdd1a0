"""What each role may do: the table of the design, every role by every action by every kind of study."""

from pathlib import Path

import pytest

from archive.enforcement.attributes import is_keyword
from auth.policy.engine import PolicyEngine
from auth.policy.model import NEEDS_A_PERSON, AccessRequest, Action
from tests.simulators.subjects import assurance, node, person

POLICIES = Path(__file__).parents[4] / "config" / "policies"
NAME = "HOUSE^GREGORY"
ROLES = ("modality", "radiologist", "researcher", "physician", "service", "administrator", "emergency")

PLAIN: dict[str, object] = {}
RESTRICTED = {"labels": frozenset({"restricted"})}
RESEARCH = {"labels": frozenset({"research"})}
QUARANTINE = {"labels": frozenset({"quarantine", "research"}), "referring_physician": NAME}
REFERRING = {"referring_physician": NAME}
PERFORMING = {"performing_physicians": frozenset({"OTHER^ONE", NAME})}
STUDIES = {
    "plain": PLAIN,
    "restricted": RESTRICTED,
    "research": RESEARCH,
    "quarantine": QUARANTINE,
    "referring": REFERRING,
    "performing": PERFORMING,
}

ALWAYS = {
    "modality": {Action.ASSOCIATE, Action.ECHO, Action.STORE, Action.COMMIT},
    "radiologist": {Action.ASSOCIATE, Action.ECHO},
    "researcher": {Action.ASSOCIATE, Action.ECHO},
    "physician": {Action.ASSOCIATE},
    "service": {Action.ASSOCIATE, Action.ECHO},
    "administrator": {
        Action.ASSOCIATE,
        Action.ADMINISTER,
        Action.STORE_NON_PATIENT,
        Action.READ_NON_PATIENT,
        Action.RECEIVE_NON_PATIENT,
    },
    "emergency": {Action.ASSOCIATE, Action.ECHO, Action.BREAK_GLASS},
}
IMAGES = {
    "radiologist": (
        {Action.QUERY, Action.RETRIEVE, Action.MOVE, Action.RECEIVE},
        {"plain", "research", "referring", "performing"},
    ),
    "researcher": ({Action.QUERY, Action.RETRIEVE, Action.RECEIVE}, {"research"}),
    "physician": ({Action.QUERY, Action.RETRIEVE, Action.RECEIVE}, {"referring", "performing"}),
}


@pytest.fixture(scope="module")
def engine() -> PolicyEngine:
    return PolicyEngine.load(POLICIES, is_keyword)


def asked(action: Action, role: str, study: str, *, alone: bool = False) -> AccessRequest:
    who = None if alone else person(role, physician_name=NAME)
    facts = {
        "study_uid": "1.2",
        "performing_physicians": frozenset(),
        "modalities": frozenset(),
        "body_parts": frozenset(),
    }
    resource = {**facts, "labels": frozenset(), **STUDIES[study]}
    return AccessRequest(action, node(role), who, assurance(who), "1.2", resource)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("action", Action, ids=lambda action: action.value)
@pytest.mark.parametrize("study", STUDIES)
def test_role_table(engine: PolicyEngine, role: str, action: Action, study: str) -> None:
    actions, studies = IMAGES.get(role, (set(), set()))
    expected = action in ALWAYS[role] or (action in actions and study in studies)
    assert engine.decide(asked(action, role, study)).permitted is expected


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "action", sorted(NEEDS_A_PERSON, key=lambda action: action.value), ids=lambda action: action.value
)
def test_node_without_a_person_is_never_permitted_what_needs_one(
    engine: PolicyEngine, role: str, action: Action
) -> None:
    for study in STUDIES:
        request = asked(action, role, study, alone=True)
        assert not engine.decide(request).permitted
        assert [residual.constant for residual in engine.residuals(request)] == [False]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    "action", sorted(set(Action) - NEEDS_A_PERSON, key=lambda action: action.value), ids=lambda action: action.value
)
def test_node_alone_has_what_its_role_gives_it(engine: PolicyEngine, role: str, action: Action) -> None:
    expected = action in ALWAYS[role] or (action is Action.RECEIVE and role == "radiologist")
    assert engine.decide(asked(action, role, "plain", alone=True)).permitted is expected


@pytest.mark.parametrize("action", Action, ids=lambda action: action.value)
def test_subjects_without_a_role_are_permitted_nothing(engine: PolicyEngine, action: Action) -> None:
    everything = node(*ROLES)
    for machine, who in ((everything, person()), (node(), person(*ROLES, physician_name=NAME)), (node(), None)):
        request = AccessRequest(action, machine, who, assurance(who), "1.2", {"study_uid": "1.2", **_empty_sets()})
        assert not engine.decide(request).permitted


def _empty_sets() -> dict[str, object]:
    return {name: frozenset() for name in ("performing_physicians", "modalities", "body_parts", "labels")}


def test_physician_at_a_radiologists_node_is_limited_by_the_person(engine: PolicyEngine) -> None:
    who = person("physician", physician_name=NAME)
    for study, expected in (("referring", True), ("plain", False)):
        resource = {"study_uid": "1.2", **_empty_sets(), **STUDIES[study]}
        request = AccessRequest(Action.QUERY, node("radiologist"), who, assurance(who), "1.2", resource)
        assert engine.decide(request).permitted is expected


def test_radiologist_at_a_physicians_node_reaches_only_studies_that_name_the_person(engine: PolicyEngine) -> None:
    resource = {"study_uid": "1.2", **_empty_sets(), **REFERRING}
    for who, expected in ((person("radiologist"), False), (person("radiologist", physician_name=NAME), True)):
        request = AccessRequest(Action.QUERY, node("physician"), who, assurance(who), "1.2", resource)
        assert engine.decide(request).permitted is expected


@pytest.mark.parametrize(
    "attributes", [{}, {"physician_name": "HOUSE^GREG"}, {"physician_name": "house^gregory"}, {"name": NAME}]
)
def test_physician_without_exactly_the_name_reaches_nothing(engine: PolicyEngine, attributes: dict[str, str]) -> None:
    who = person("physician", **attributes)
    for study in STUDIES:
        resource = {"study_uid": "1.2", **_empty_sets(), **STUDIES[study]}
        request = AccessRequest(Action.QUERY, node("physician"), who, assurance(who), "1.2", resource)
        assert not engine.decide(request).permitted


def test_researcher_hides_the_patients_name_birth_date_and_address(engine: PolicyEngine) -> None:
    decision = engine.decide(asked(Action.QUERY, "researcher", "research"))
    assert {"PatientName", "PatientBirthDate", "PatientAddress"} <= decision.obligations.hide
    assert not decision.obligations.unknown


@pytest.mark.parametrize("role", sorted(set(ROLES) - {"researcher"}))
def test_nothing_is_hidden_under_other_roles(engine: PolicyEngine, role: str) -> None:
    for action in Action:
        for study in STUDIES:
            assert not engine.decide(asked(action, role, study)).obligations.hide


def test_shipped_policies_name_these_roles(engine: PolicyEngine) -> None:
    assert engine.policies.roles == set(ROLES)
