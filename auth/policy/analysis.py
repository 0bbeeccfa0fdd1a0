"""Rules that can make no difference, found from their form alone: never one that could, and not every one that cannot.

- *dead*: a clause that is never true, or a permit of which a forbid covers everything;
- *shadowed*: a permit of which another permits everything and obliges to no less; a forbid of which another forbids
  everything.

One rule covers another if its head takes whatever the other's does and each of its clauses is one of the other's.
"""

from collections.abc import Mapping
from typing import Any

from cedarpy import pst

from auth.policy.model import Obligations


def idle_rules(policies: Mapping[str, Any], obligations: Mapping[str, Obligations]) -> list[str]:
    """What is said of each rule that makes no difference; ``policies`` by id, in the order of their files."""
    said = []
    for identifier, policy in policies.items():
        if any(_never(clause) for clause in policy.clauses):
            said.append(f"{identifier}: dead: one of its clauses is never true")
            continue
        others = [other for other in policies.values() if other is not policy and _covers(other, policy)]
        forbids = [other.id for other in others if other.effect == "forbid"]
        if policy.effect == "permit" and forbids:
            said.append(f"{identifier}: dead: {forbids[0]} forbids all that it permits")
            continue
        same = [other for other in others if other.effect == policy.effect and _no_less(other, policy, obligations)]
        # Of two that cover each other the later one is idle.
        order = list(policies)
        idle = [
            other.id for other in same if not _covers(policy, other) or order.index(other.id) < order.index(identifier)
        ]
        if idle:
            said.append(f"{identifier}: shadowed: {idle[0]} {policy.effect}s all that it does")
    return said


def _never(clause: Any) -> bool:
    return bool(clause.expr == pst.BoolLit(isinstance(clause, pst.Unless)))


def _no_less(other: Any, policy: Any, obligations: Mapping[str, Obligations]) -> bool:
    """Whether leaving the policy out changes no obligation: those of everything that permits are united."""
    both = obligations[other.id].union(obligations[policy.id])
    return both == obligations[other.id]


def _covers(broad: Any, narrow: Any) -> bool:
    return (
        _scope_covers(broad.principal, narrow.principal)
        and _scope_covers(broad.resource, narrow.resource)
        and _action_covers(broad.action, narrow.action)
        and all(clause in narrow.clauses for clause in broad.clauses)
    )


def _scope_covers(broad: Any, narrow: Any) -> bool:
    if isinstance(broad, pst.ScopeAny) or broad == narrow:
        return True
    if isinstance(broad, pst.ScopeIs):
        kind = getattr(narrow, "entity_type", None) or getattr(getattr(narrow, "entity", None), "type", None)
        return kind == broad.entity_type and isinstance(narrow, pst.ScopeEq | pst.ScopeIsIn)
    return isinstance(broad, pst.ScopeIn) and isinstance(narrow, pst.ScopeIsIn) and narrow.entity == broad.entity


def _action_covers(broad: Any, narrow: Any) -> bool:
    if isinstance(broad, pst.ScopeAny):
        return True
    some, more = _actions(narrow), _actions(broad)
    return some is not None and more is not None and some <= more


def _actions(action: Any) -> frozenset[str] | None:
    if isinstance(action, pst.ActionEq):
        return frozenset({action.entity.id})
    if isinstance(action, pst.ActionIn):
        return frozenset(entity.id for entity in action.entities)
    return None
