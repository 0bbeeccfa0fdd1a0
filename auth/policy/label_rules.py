"""Label rules: permits of the action ``Label`` with ``@label``; they say what an arriving object labels its study with.

Loaded and checked here with the policy set that they lie beside; asked by `auth.policy.labelling`. They never permit
anybody anything, so they are kept apart from the policies that do, and their conditions become no SQL: of the object
they may ask whatever Cedar can. What a rule has to be:

1. a permit, whose head asks for ``action == Action::"Label"`` alone;
2. ``@label`` names the labels: words of letters, digits, dots, hyphens and underscores;
3. ``@objects("every")`` is all that can be said of which objects count; left out, the study's first one does;
4. where there is a rule, some forbid keeps shut, for everybody and with no condition more, what is labelled quarantine:
   that is what a rule that fails relies on.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import cedarpy
from cedarpy import pst

from auth.policy.attributes import OBJECT, OBJECT_ATTRIBUTES, PROBE_VALUES, cedar_json, object_entity
from auth.policy.model import LABEL, OPENS_A_STUDY, QUARANTINE

_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_UNDERSTOOD: Final = frozenset({"id", "reason", "label", "objects"})
_QUARANTINED: Final = pst.When(
    pst.BinaryOp("contains", pst.GetAttr(pst.Var("resource"), "labels"), pst.StringLit(QUARANTINE))
)


@dataclass(frozen=True, slots=True)
class LabelRules:
    """The label rules of one policy set."""

    labels: Mapping[str, frozenset[str]]
    """What each gives, by its id."""
    every: frozenset[str]
    """Rules that count with every object, not only with the first of a study."""
    handle: Any = field(repr=False)


def is_label_rule(policy: Any) -> bool:
    """Whether a policy is meant as a label rule, well-formed or not."""
    action = policy.action
    named = [action.entity] if isinstance(action, pst.ActionEq) else getattr(action, "entities", ())
    return "label" in policy.annotations or any(entity.id == LABEL for entity in named)


def findings_of(policy: Any) -> list[str]:
    """What is wrong with one rule (1 to 3)."""
    found = []
    if policy.effect != "permit":
        found.append("a label rule is a permit")
    if not (isinstance(policy.action, pst.ActionEq) and policy.action.entity.id == LABEL):
        found.append(f'a label rule has the head `action == Action::"{LABEL}"`, and no other policy has @label')
    words = _words(policy.annotations.get("label") or "")
    if not words:
        found.append("a label rule says with @label which labels it gives")
    found += [
        f"@label: {word!r:.70} is no word of at most 64 letters, digits, `.`, `_` and `-`"
        for word in sorted(words)
        if _LABEL.fullmatch(word) is None
    ]
    if policy.annotations.get("objects", "every") != "every":
        found.append('@objects can only say "every"')
    pointless = sorted(set(policy.annotations) - _UNDERSTOOD)
    return found + [f"@{name} on a label rule obliges nobody" for name in pointless]


def quarantine_findings(policies: Mapping[str, Any]) -> list[str]:
    """What the other policies leave open of a study that is labelled quarantine (4)."""
    shut: set[str] = set()
    for policy in policies.values():
        if _shuts_for_everybody(policy):
            shut |= _actions(policy.action)
    left = sorted(action.value for action in OPENS_A_STUDY if action.value not in shut)
    if not left:
        return []
    return [
        f"there are label rules, and no forbid shuts studies labelled {QUARANTINE} to {', '.join(left)}:"
        ' when { resource.labels.contains("quarantine") }'
    ]


def schema_findings(schema: Any) -> list[str]:
    """Why the schema does not take the requests by which rules are asked."""
    probe = object_entity({name: PROBE_VALUES[kind] for name, kind in OBJECT_ATTRIBUTES.items()})
    try:
        cedarpy.Entities.from_json_str(cedar_json([probe]), schema=schema)
    except ValueError as error:
        return [f"{OBJECT}: {next(iter(str(error).splitlines()), 'refused')}"]
    return []


def rules_of(rules: Mapping[str, Any]) -> LabelRules:
    """The rules, ready to be asked."""
    return LabelRules(
        labels={identifier: _words(rule.annotations["label"]) for identifier, rule in rules.items()},
        every=frozenset(identifier for identifier, rule in rules.items() if "objects" in rule.annotations),
        handle=cedarpy.PolicySet.from_pst(pst.PolicySet(templates={}, static_policies=dict(rules), template_links=())),
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(word.strip() for word in text.split(",")) - {""}


def _shuts_for_everybody(policy: Any) -> bool:
    anything = isinstance(policy.resource, pst.ScopeAny) or (
        isinstance(policy.resource, pst.ScopeIs) and str(policy.resource.entity_type) == "Study"
    )
    anybody = isinstance(policy.principal, pst.ScopeAny)
    return bool(policy.effect == "forbid" and anybody and anything and policy.clauses == (_QUARANTINED,))


def _actions(action: Any) -> frozenset[str]:
    if isinstance(action, pst.ScopeAny):
        return frozenset(known.value for known in OPENS_A_STUDY)
    entities = [action.entity] if isinstance(action, pst.ActionEq) else action.entities
    return frozenset(entity.id for entity in entities)
