"""Which labels an object gives its study, asked of the label rules of one policy set before the object is committed.

Fails closed: a rule that cannot be evaluated, or anything else that goes wrong, gives the label quarantine, which every
role's policies forbid. Nothing here raises.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import cedarpy

from auth.policy.attributes import cedar_json, circumstances, node_uid, object_entity, subject_entities
from auth.policy.loading import LoadedPolicies
from auth.policy.model import LABEL, QUARANTINE, AccessRequest

_FAILED: Final = re.compile(r"error while evaluating policy `([A-Za-z0-9._-]+)`")


@dataclass(frozen=True, slots=True)
class Labels:
    """What the rules say of one object."""

    first: frozenset[str] = frozenset()
    """Given if it is the first object of its study: a later one must not open a study to anybody."""
    always: frozenset[str] = frozenset()
    """Given with any object: those of rules for every object, and quarantine."""
    failures: tuple[str, ...] = ()
    """Which rules could not be evaluated, in words; nothing that the peer sent is in them."""


NO_LABELS: Final = Labels()


def labels_of(
    policies: LoadedPolicies,
    request: AccessRequest,
    attributes: Mapping[str, object],
    readable: Callable[[str], bool],
) -> Labels:
    """Ask every rule. ``attributes`` are the object's; ``request`` says who stores it; ``readable`` as elsewhere."""
    if not policies.rules.labels:
        return NO_LABELS
    try:
        return _asked(policies, request, attributes, readable)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong shuts the study
        return failed(f"the label rules could not be asked: {type(error).__name__}")


def failed(words: str) -> Labels:
    """What a failure amounts to."""
    return Labels(always=frozenset({QUARANTINE}), failures=(words,))


def _asked(
    policies: LoadedPolicies,
    request: AccessRequest,
    attributes: Mapping[str, object],
    readable: Callable[[str], bool],
) -> Labels:
    thing = object_entity(attributes)
    facts = [*subject_entities(request.node, request.principal, readable), thing]
    entities = cedarpy.Entities.from_json_str(cedar_json(facts), schema=policies.schema)
    asked = {
        "principal": node_uid(request.node),
        "action": {"type": "Action", "id": LABEL},
        "resource": thing["uid"],
        "context": cedar_json(circumstances(request)),
    }
    answer = cedarpy.is_authorized(asked, policies.rules.handle, entities, policies.schema)
    first: set[str] = set()
    always: set[str] = set()
    for identifier in answer.diagnostics.reasons:
        given = policies.rules.labels[identifier]
        (always if identifier in policies.rules.every else first).update(given)
    failures = sorted({_words(error) for error in answer.diagnostics.errors})
    if failures or QUARANTINE in first:
        # It can only shut a study, so it needs no first object.
        always.add(QUARANTINE)
    return Labels(frozenset(first - {QUARANTINE}), frozenset(always), tuple(failures))


def _words(error: str) -> str:
    """Cedar's own words may hold values of the object, so only the rule is named."""
    match = _FAILED.match(error)
    return f"the label rule {match[1]} could not be evaluated" if match else "the label rules could not be asked"
