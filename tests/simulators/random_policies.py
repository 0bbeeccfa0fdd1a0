"""Cedar policies at random, over the shipped schema, together with studies at random that tell them apart.

Most policies guard what may be absent, as strict validation demands; ``reckless`` ones do not, so that the outcome of
an expression is often an error.
"""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from auth.policy import loading
from auth.policy.engine import PolicyEngine
from storage.instance import StudyFacts

SCHEMA = Path(__file__).parents[2] / "config" / "policies" / loading.SCHEMA_FILE
TEXTS = ("A", "B", "a", "A*", "[A]", "A%B", "A_B", "", "é", "X^Y", "?", "A\\")
LABELS = ("VIP", "research", "A", "B", "a")
PATTERNS = ("*", "A*", "*A*", "A%*", "A_B", "[A]", "?", "A\\*", "*B", "", "**")
OPTIONAL = ("patient_id", "institution", "department", "station", "referring_physician")
SETS = ("performing_physicians", "modalities", "body_parts", "labels")
FOREIGN = (
    "resource has study_date && resource.study_date + 1 > 2",
    "resource.labels.containsAny(resource.modalities)",
    "resource.labels == resource.modalities",
    '[resource.study_uid].contains("1.1")',
    '(if resource.labels.isEmpty() then "a" else "b") == "a"',
    "resource.labels.contains(resource.study_uid)",
)
"""Conditions that Cedar takes and rows cannot express."""
FOREIGN_SHARE = 0.025
"""Of policies that have one."""
PERSON = {"physician_name": "X^Y", "department": "A"}


def studies(random: Random, count: int) -> list[StudyFacts]:
    """Different studies, each with some attributes absent."""
    return [_study(random, number) for number in range(count)]


def policy_text(random: Random, *, reckless: bool, heads: bool = True) -> str:
    """One file of one to five policies; without ``heads`` all of them are about everybody and every study's action."""
    source = _Source(random, reckless=reckless, heads=heads)
    return "\n".join(source.policy(number) for number in range(random.randint(1, 5)))


def engine_of(directory: Path, text: str, *, validated: bool) -> PolicyEngine:
    """An engine on one file; without strict validation, expressions may fail while they are evaluated."""
    (directory / loading.SCHEMA_FILE).write_bytes(SCHEMA.read_bytes())
    (directory / "random.cedar").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        # Thousands of sets are loaded over one schema, which takes longer to try than all else of a set.
        patch.setattr(loading, "_schema", _schema)
        if not validated:
            patch.setattr(loading, "_validation_findings", lambda texts, schema: [])
        return PolicyEngine.load(directory)


@cache
def _schema(text: str, load: Callable[[str], Any] = loading._schema) -> Any:
    return load(text)


def _study(random: Random, number: int) -> StudyFacts:
    facts: dict[str, object] = {name: random.choice(TEXTS) for name in OPTIONAL if random.random() < 0.7}
    if random.random() < 0.7:
        facts["study_date"] = random.randint(0, 4)
    for name in SETS:
        values = LABELS if name == "labels" else TEXTS
        facts[name] = frozenset(random.sample(values, random.randint(0, 2)))
    return StudyFacts(study_uid=f"1.{number}", **facts)  # type: ignore[arg-type]


class _Source:
    def __init__(self, random: Random, *, reckless: bool, heads: bool) -> None:
        self._random = random
        self._reckless = reckless
        self._heads = heads

    def policy(self, number: int) -> str:
        pick = self._random.choice
        effect = pick(("permit", "permit", "forbid"))
        principal = pick(
            ("principal", "principal", 'principal in Role::"r"', "principal is User", 'principal == User::"alice"')
        )
        action = pick(("action", 'action == Action::"Query"', 'action in [Action::"Query", Action::"Retrieve"]'))
        resource = pick(("resource is Study", "resource is Study", 'resource == Study::"1.1"'))
        clauses = " ".join(
            f"{pick(('when', 'unless'))} {{ {self.condition(0)} }}" for _ in range(self._random.randint(0, 2))
        )
        if not self._heads:
            principal, action, resource = "principal", "action", "resource is Study"
            clauses = clauses or f"when {{ {self.condition(0)} }}"
        elif self._random.random() < FOREIGN_SHARE:
            clauses += f" when {{ {pick(FOREIGN)} }}"
        return f'@id("p{number}") {effect} ({principal}, {action}, {resource}) {clauses};'

    def condition(self, depth: int) -> str:
        pick = self._random.choice
        if depth < 4 and self._random.random() < 0.5:
            form = pick(("and", "or", "not", "if", "same"))
            one, two = self.condition(depth + 1), self.condition(depth + 1)
            if form == "not":
                return f"!({one})"
            if form == "if":
                return f"(if {one} then {two} else {self.condition(depth + 1)})"
            return f"(({one}) {({'and': '&&', 'or': '||'}).get(form) or pick(('==', '!='))} ({two}))"
        return pick(tuple(self._leaves()))

    def _leaves(self) -> Iterator[str]:
        pick, random = self._random.choice, self._random
        text, number, name, attribute = self._text(), self._number(), pick(OPTIONAL), pick(SETS)
        some = self._set()
        guard = "" if self._reckless and random.random() < 0.7 else f"resource has {name} && "
        dated = "" if self._reckless and random.random() < 0.7 else "resource has study_date && "
        yield f"({guard}resource.{name} {pick(('==', '!='))} {text})"
        yield f"({guard}resource.{name} like {json.dumps(pick(PATTERNS)).replace(chr(92) * 2 + '*', chr(92) + '*')})"
        yield f"({guard}{some}.contains(resource.{name}))"
        yield f"({dated}resource.study_date {pick(('<', '<=', '>', '>=', '==', '!='))} {number})"
        yield f"({dated}{number} {pick(('<', '<=', '>', '>='))} resource.study_date)"
        yield f"resource has {pick((*OPTIONAL, 'study_date', 'labels'))}"
        yield f"resource.{attribute}.contains({text})"
        yield f"resource.{attribute}.{pick(('containsAny', 'containsAll'))}({some})"
        yield f"{some}.{pick(('containsAny', 'containsAll'))}(resource.{attribute})"
        yield f"resource.{attribute}.isEmpty()"
        yield f"resource.{attribute} {pick(('==', '!='))} {some}"
        yield pick(('resource == Study::"1.3"', 'resource != Study::"1.2"', 'resource in Study::"1.4"'))
        yield '[Study::"1.1", Study::"1.5"].contains(resource)'
        yield pick(
            ("context.tls", "context has sop_class", "context has person", 'principal in Role::"r"', "true", "false")
        )
        yield "(context has identity_type && context.identity_type == 2)"
        yield 'context.node in Role::"r"'

    def _text(self) -> str:
        if self._random.random() < 0.25:
            return '(if context has person && context.person.attributes has department then "A" else "B")'
        if self._reckless and self._random.random() < 0.3:
            return "context.person.attributes.physician_name"
        return json.dumps(self._random.choice(TEXTS), ensure_ascii=False)

    def _number(self) -> str:
        if self._reckless and self._random.random() < 0.2:
            return "context.identity_type"
        return str(self._random.randint(0, 4))

    def _set(self) -> str:
        chosen = self._random.sample(TEXTS + LABELS, self._random.randint(1, 3))
        return f"[{', '.join(json.dumps(text, ensure_ascii=False) for text in chosen)}]"
