"""What a scope refuses to be, and how small it stays."""

from typing import Any

import pytest

from archive.enforcement.scope import scope_of
from archive.enforcement.truth import MAX_SIZE, NotCompilable
from auth.policy.attributes import ALWAYS_PRESENT, STUDY_ATTRIBUTES
from auth.policy.model import Obligations, Residual, ResidualPolicy
from storage.index.predicate import EVERYTHING, NOTHING, AllOf, AnyOf, Compare, Holds, Present

RESOURCE = {"unknown": [{"Value": "resource"}]}
ENVIRONMENT = {"principal": {"__entity": {"type": "User", "id": "u"}}, "context": {}, "entities": {}}


def residual(*bodies: Any, effect: str = "permit") -> Residual:
    policies = tuple(
        ResidualPolicy(f"p{number}", effect, ({"kind": "when", "body": body},)) for number, body in enumerate(bodies)
    )
    always = ResidualPolicy("always", "permit", ())
    permits, forbids = (policies, ()) if effect == "permit" else ((always,), policies)
    return Residual(permits, forbids, Obligations(), ENVIRONMENT)


def read(name: str) -> dict[str, Any]:
    return {".": {"left": RESOURCE, "attr": name}}


def equal(name: str, value: Any) -> dict[str, Any]:
    return {"==": {"left": read(name), "right": {"Value": value}}}


def has(name: str) -> dict[str, Any]:
    return {"has": {"left": RESOURCE, "attr": name}}


def both(left: Any, right: Any) -> dict[str, Any]:
    return {"&&": {"left": left, "right": right}}


def test_no_residual_at_all_reaches_nothing() -> None:
    assert scope_of(()) == NOTHING


def test_constants_are_what_they_say() -> None:
    yes = Residual((), (), Obligations(), constant=True)
    no = Residual((), (), Obligations(), constant=False)
    assert scope_of((yes, yes)) == EVERYTHING
    assert scope_of((yes, no)) == NOTHING


def test_no_permit_reaches_nothing() -> None:
    assert scope_of((residual(),)) == NOTHING


def test_same_scope_of_person_and_node_is_asked_once() -> None:
    one = residual(equal("station", "A"))
    assert scope_of((one, one)) == Compare("station", "==", "A")


def test_guarded_comparison_stays_small_when_negated() -> None:
    guarded = both(has("station"), equal("station", "A"))
    assert scope_of((residual(guarded, effect="forbid"),)) == AnyOf(
        (Present("station", present=False), Compare("station", "!=", "A"))
    )


def test_forbid_that_fails_on_a_study_applies_to_it() -> None:
    scope = scope_of((residual(equal("station", "A"), effect="forbid"),))
    assert scope == Compare("station", "!=", "A")


def test_unless_holds_where_the_condition_is_false() -> None:
    unless = ResidualPolicy("p", "permit", ({"kind": "unless", "body": equal("station", "A")},))
    assert scope_of((Residual((unless,), (), Obligations(), ENVIRONMENT),)) == Compare("station", "!=", "A")


def test_long_chain_of_guarded_conditions_grows_linearly() -> None:
    body = {"Value": True}
    for _ in range(200):
        body = both(body, both(has("station"), equal("station", "A")))
    scope_of((residual(body, effect="forbid"),))


def test_condition_that_would_explode_is_refused() -> None:
    body = equal("station", "A")
    for _ in range(20):
        body = {"==": {"left": body, "right": equal("station", "B")}}
        body = {"==": {"left": body, "right": body}}
    with pytest.raises(NotCompilable, match=str(MAX_SIZE)):
        scope_of((residual(body),))


def test_sets_are_compared_in_both_directions() -> None:
    same = {"==": {"left": read("labels"), "right": {"Value": ["b", "a"]}}}
    scope = scope_of((residual(same),))
    assert isinstance(scope, AllOf)
    assert scope.terms[0] == Holds("labels", ("a", "b"), every=True)


@pytest.mark.parametrize(
    "body",
    [
        {"+": {"left": {"Value": 1}, "right": read("study_date")}},
        {"neg": {"arg": read("study_date")}},
        {"getTag": {"left": RESOURCE, "right": {"Value": "x"}}},
        {"==": {"left": read("station"), "right": read("department")}},
        {"containsAny": {"left": read("labels"), "right": read("modalities")}},
        {"<": {"left": read("study_date"), "right": read("study_date")}},
        {"==": {"left": read("station"), "right": {"Value": {"__extn": {"fn": "ip", "arg": "::1"}}}}},
        {"unknown": [{"Value": "principal"}]},
        {"Var": "action"},
        {"datetime": [{"Value": "2020-01-01"}]},
        {"Set": [read("station")]},
        {"&&": {"left": {"Value": True}}},
        {"Value": None},
        "nonsense",
        {},
    ],
)
def test_what_is_not_understood_is_refused(body: Any) -> None:
    with pytest.raises(NotCompilable):
        scope_of((residual(body),))


@pytest.mark.parametrize("name", sorted(STUDY_ATTRIBUTES))
def test_presence_of_every_attribute(name: str) -> None:
    assert scope_of((residual(has(name)),)) == (EVERYTHING if name in ALWAYS_PRESENT else Present(name))
