"""Cedar asked once, for one subject. The adapter around the library: nothing else here knows how it is called.

Fails closed throughout. A permit that cannot be evaluated grants nothing, as in Cedar. A forbid that cannot be
evaluated *applies*, unlike in Cedar, which would skip it. A request that the schema does not take is permitted nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cedarpy

from auth.policy.attributes import EntityUid, cedar_json, cedar_literal
from auth.policy.loading import LoadedPolicies
from auth.policy.model import Action, Obligations, Residual, ResidualPolicy

_FAILED: Final = re.compile(r"error while evaluating policy `([^`]+)`")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policies say to one subject about one resource."""

    permitted: bool
    permits: tuple[str, ...]
    """Policies that permit, by id, whether or not another forbids."""
    forbids: tuple[str, ...]
    """Policies that forbid, those that could not be evaluated among them."""
    failure: str = ""
    """Why nothing could be decided, where that is so."""


@dataclass(frozen=True, slots=True)
class Question:
    """One subject, one action, its circumstances: everything but the resource."""

    subject: EntityUid
    action: Action
    context: Mapping[str, Any]
    entities: Any
    """Parsed handle: the subjects with their roles."""
    facts: Sequence[Mapping[str, Any]]
    """The same subjects as JSON values, for what a residual may still name."""


def parse_entities(policies: LoadedPolicies, entities: Sequence[Mapping[str, Any]]) -> Any:
    """A reusable handle on entities. Raises ValueError where the schema does not take them."""
    return cedarpy.Entities.from_json_str(cedar_json(list(entities)), schema=policies.schema)


def accepts_attribute(policies: LoadedPolicies, name: str) -> bool:
    """Whether the schema lets a person have this attribute, as text."""
    probe = {"uid": {"type": "User", "id": "-"}, "attrs": {"attributes": {name: ""}}, "parents": []}
    try:
        parse_entities(policies, [probe])
    except ValueError:
        return False
    return True


def evaluate(policies: LoadedPolicies, question: Question, resources: Sequence[Mapping[str, Any]]) -> list[Verdict]:
    """Decide about each of the resources (as entities, all different). Raises ValueError where one is malformed."""
    entities = question.entities.with_added_json_str(cedar_json(list(resources)), policies.schema)
    requests = [
        {
            "principal": question.subject,
            "action": {"type": "Action", "id": question.action.value},
            "resource": resource["uid"],
            "context": cedar_json(question.context),
        }
        for resource in resources
    ]
    answers = cedarpy.is_authorized_batch(requests, policies.handle, entities, policies.schema)
    return [_verdict(policies, answer) for answer in answers]


def residual(policies: LoadedPolicies, question: Question) -> Residual:
    """What is left of the policies before the resource is known. Raises ValueError where the question is malformed."""
    answer = cedarpy.is_authorized_partial(
        {
            "principal": cedar_literal(question.subject),
            "action": f'Action::"{question.action.value}"',
            "context": cedar_json(question.context),
        },
        policies.handle,
        question.entities,
        policies.schema,
    )
    failed = _failed(policies, answer.diagnostics.errors)
    if failed.failure or failed.forbids:
        return closed()
    left = {key: policy for key, policy in answer.residuals.items() if not _never(policy)}
    permits = tuple(_policy(key, policy) for key, policy in sorted(left.items()) if policy["effect"] == "permit")
    forbids = tuple(_policy(key, policy) for key, policy in sorted(left.items()) if policy["effect"] != "permit")
    obligations = Obligations()
    for permit in permits:
        obligations = obligations.union(policies.obligations[permit.policy_id])
    constant: bool | None = None
    if not permits or any(map(_always, forbids)):
        constant = False
    elif not forbids and any(map(_always, permits)):
        constant = True
    return Residual(permits, forbids, obligations, _environment(question), constant)


def closed() -> Residual:
    """Nothing is permitted, whatever the resource."""
    return Residual((), (), Obligations(), constant=False)


def _verdict(policies: LoadedPolicies, answer: Any) -> Verdict:
    failed = _failed(policies, answer.diagnostics.errors)
    if failed.failure:
        return failed
    determining = tuple(sorted(answer.diagnostics.reasons))
    permits = tuple(key for key in determining if policies.effects[key] == "permit")
    forbids = tuple(key for key in determining if policies.effects[key] != "permit") + failed.forbids
    permitted = answer.decision is cedarpy.Decision.Allow and bool(permits) and not forbids
    return Verdict(permitted, permits, forbids)


def _failed(policies: LoadedPolicies, errors: Sequence[str]) -> Verdict:
    """What errors amount to: forbids that apply because they failed, or a failure of the whole."""
    forbids = []
    for error in errors:
        match = _FAILED.match(error)
        effect = policies.effects.get(match[1]) if match else None
        if match is None or effect is None:
            return Verdict(False, (), (), failure=error)
        if effect != "permit":
            forbids.append(match[1])
    return Verdict(False, (), tuple(sorted(forbids)))


def _policy(identifier: str, policy: Mapping[str, Any]) -> ResidualPolicy:
    conditions = tuple(policy["conditions"])
    for part in ("principal", "action", "resource"):
        if policy[part] != {"op": "All"}:
            raise ValueError(f"{identifier}: the residual still restricts its {part}")
    return ResidualPolicy(identifier, policy["effect"], conditions)


def _never(policy: Mapping[str, Any]) -> bool:
    return {"kind": "when", "body": {"Value": False}} in policy["conditions"]


def _always(policy: ResidualPolicy) -> bool:
    return all(condition == {"kind": "when", "body": {"Value": True}} for condition in policy.conditions)


def _environment(question: Question) -> dict[str, Any]:
    """What a residual may still name: Cedar leaves an expression as it is where it, or a neighbour, would fail."""
    return {
        "principal": {"__entity": question.subject},
        "context": dict(question.context),
        "entities": {(entity["uid"]["type"], entity["uid"]["id"]): entity for entity in question.facts},
    }
