"""The values that a residual speaks of, and Cedar's operators on them, the study being unknown.

A value is known, or is an attribute of the study, or the study, or could not be computed. Operators follow Cedar:
values of different types are unequal, but ordering or matching them is an error; so is reading an absent attribute.
"""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from archive.enforcement.truth import FAILS, NO, YES, NotCompilable, Truth, always, decided, equality
from auth.policy.attributes import ALWAYS_PRESENT, STUDY, STUDY_ATTRIBUTES
from storage.index.predicate import (
    NOTHING,
    Compare,
    Holds,
    OneOf,
    OnlyHolds,
    Operator,
    Pattern,
    Predicate,
    Present,
    Scalar,
    Wild,
    all_of,
    any_of,
)

IDENTITY: Final = "study_uid"
"""The attribute that is also the name of the study's entity."""

Kind: TypeAlias = Literal["string", "long", "bool", "entity"]


@dataclass(frozen=True, slots=True)
class Known:
    """A single value known when the request is made. The kind keeps ``true`` and ``1`` apart."""

    kind: Kind
    value: Any


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A set of single values known when the request is made."""

    values: frozenset[Known]

    def strings(self) -> tuple[Scalar, ...]:
        """Its strings, in order."""
        return tuple(sorted(known.value for known in self.values if known.kind == "string"))


@dataclass(frozen=True, slots=True)
class Record:
    """A record known when the request is made; fields as Cedar's JSON."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ScalarAttribute:
    """An attribute of the study with a single value, perhaps absent."""

    name: str
    kind: Kind

    def truth(self, true: Predicate, false: Predicate) -> Truth:
        """A comparison that reads the attribute, and so fails where it is absent."""
        needs = frozenset() if self.name in ALWAYS_PRESENT else frozenset({self.name})
        return Truth(true, false, needs, needs, needs)

    def unlike(self) -> Truth:
        """Compared to a value of another type."""
        return self.truth(NOTHING, Present(self.name))


@dataclass(frozen=True, slots=True)
class SetAttribute:
    """An attribute of the study that is a set of strings, perhaps empty."""

    name: str


class Study:
    """The study itself."""


class Failure:
    """A value that could not be computed."""


THE_STUDY: Final = Study()
FAILURE: Final = Failure()
Value: TypeAlias = Known | KnownSet | Record | ScalarAttribute | SetAttribute | Study | Failure | Truth

_NEGATED: Final[Mapping[Operator, Operator]] = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_MIRRORED: Final[Mapping[Operator, Operator]] = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_ORDER: Final[Mapping[Operator, Callable[[int, int], bool]]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def literal(value: Any) -> Value:
    """A value in Cedar's JSON. Raises `NotCompilable` for date, address and decimal values."""
    if isinstance(value, bool):
        return Known("bool", value)
    if isinstance(value, int):
        return Known("long", value)
    if isinstance(value, str):
        return Known("string", value)
    if isinstance(value, list):
        return known_set([literal(element) for element in value])
    if "__entity" in value:
        return Known("entity", (value["__entity"]["type"], value["__entity"]["id"]))
    if "__extn" in value:
        raise NotCompilable("a value of an extension type")
    return Record(value)


def known_set(values: Sequence[Value]) -> Value:
    """A set of what was computed. Raises `NotCompilable` where an element reads the study or is no single value."""
    if any(isinstance(value, Failure) for value in values):
        return FAILURE
    known = frozenset(value for value in values if isinstance(value, Known))
    if not all(isinstance(value, Known) for value in values):
        raise NotCompilable("a set whose elements are not single values known before the study is")
    return KnownSet(known)


def attribute(name: str) -> Value:
    """``resource.name``; a failure where studies have no such attribute."""
    kind = STUDY_ATTRIBUTES.get(name)
    if kind is None:
        return FAILURE
    return SetAttribute(name) if kind == "set" else ScalarAttribute(name, kind)


def has(name: str) -> Truth:
    """``resource has name``"""
    if name not in STUDY_ATTRIBUTES:
        return NO
    if name in ALWAYS_PRESENT:
        return YES
    return Truth(Present(name), Present(name, present=False), present_if_true=frozenset({name}))


def is_a(value: Value, entity_type: str) -> Truth:
    """``value is Type``"""
    if isinstance(value, Study):
        return always(entity_type == STUDY)
    if isinstance(value, Known) and value.kind == "entity":
        return always(value.value[0] == entity_type)
    return FAILS


def study_among(uids: Set[tuple[str, str]]) -> Truth:
    """Whether the study is one of these entities."""
    studies = tuple(sorted(identifier for entity_type, identifier in uids if entity_type == STUDY))
    if not studies:
        return NO
    if len(studies) == 1:
        return Truth(Compare(IDENTITY, "==", studies[0]), Compare(IDENTITY, "!=", studies[0]))
    return Truth(OneOf(IDENTITY, studies), OneOf(IDENTITY, studies, negated=True))


def equal(left: Value, right: Value) -> Truth:
    """``left == right``"""
    match left, right:
        case (Failure(), _) | (_, Failure()):
            return FAILS
        case Known(), Known():
            return always(left == right)
        case KnownSet(), KnownSet():
            return always(left == right)
        case Study(), Study():
            return YES
        case (Study(), Known(kind="entity", value=uid)) | (Known(kind="entity", value=uid), Study()):
            return study_among({uid})
        case (ScalarAttribute() as column, Known() as known) | (Known() as known, ScalarAttribute() as column):
            if known.kind != column.kind:
                return column.unlike()
            return column.truth(Compare(column.name, "==", known.value), Compare(column.name, "!=", known.value))
        case (SetAttribute() as column, KnownSet() as known) | (KnownSet() as known, SetAttribute() as column):
            return _same_set(column.name, known)
        case Truth(), Truth():
            return equality(left, right)
        case (Truth() as truth, Known(kind="bool", value=value)) | (Known(kind="bool", value=value), Truth() as truth):
            return equality(truth, always(value))
        case (ScalarAttribute() | SetAttribute() | Record(), ScalarAttribute() | SetAttribute() | Record()):
            raise NotCompilable("a comparison of two attributes of the study, or of records")
    return _unlike(left, right)


def ordered(operator: Operator, left: Value, right: Value) -> Truth:
    """``left < right`` and its kin, on whole numbers; an error on anything else."""
    match left, right:
        case Known(kind="long"), Known(kind="long"):
            return always(_ORDER[operator](left.value, right.value))
        case ScalarAttribute(kind="long"), Known(kind="long"):
            return left.truth(
                Compare(left.name, operator, right.value), Compare(left.name, _NEGATED[operator], right.value)
            )
        case Known(kind="long"), ScalarAttribute(kind="long"):
            return ordered(_MIRRORED[operator], right, left)
        case ScalarAttribute(), ScalarAttribute():
            raise NotCompilable("a comparison of two attributes of the study")
    return FAILS


def like(value: Value, parts: tuple[str | Wild, ...]) -> Truth:
    """``value like "..."``; the only wildcard is ``*``."""
    if isinstance(value, Known) and value.kind == "string":
        expression = "".join(".*" if isinstance(part, Wild) else re.escape(part) for part in parts)
        return always(re.fullmatch(expression, value.value, re.DOTALL) is not None)
    if isinstance(value, ScalarAttribute) and value.kind == "string":
        if not any(isinstance(part, Wild) for part in parts):
            return equal(value, Known("string", "".join(map(str, parts))))
        return value.truth(Pattern(value.name, parts), Pattern(value.name, parts, negated=True))
    return FAILS


def is_empty(value: Value) -> Truth:
    """``value.isEmpty()``"""
    if isinstance(value, KnownSet):
        return always(not value.values)
    if isinstance(value, SetAttribute):
        return Truth(OnlyHolds(value.name, ()), OnlyHolds(value.name, (), negated=True))
    return FAILS


def contains(left: Value, right: Value) -> Truth:
    """``left.contains(right)``"""
    match left, right:
        case (Failure(), _) | (_, Failure()):
            return FAILS
        case KnownSet(), Known():
            return always(right in left.values)
        case KnownSet(), ScalarAttribute():
            values = tuple(sorted(known.value for known in left.values if known.kind == right.kind))
            if not values:
                return right.unlike()
            return right.truth(OneOf(right.name, values), OneOf(right.name, values, negated=True))
        case KnownSet(), Study():
            return study_among({known.value for known in left.values if known.kind == "entity"})
        case KnownSet(), Truth():
            return _among_booleans(left, right)
        case SetAttribute(), Known():
            return _holds(left.name, (right.value,)) if right.kind == "string" else NO
        case SetAttribute(), ScalarAttribute():
            raise NotCompilable("a comparison of two attributes of the study")
        case (KnownSet() | SetAttribute(), _):
            return _unlike(left, right)
    return FAILS


def contains_all(left: Value, right: Value) -> Truth:
    """``left.containsAll(right)``"""
    match left, right:
        case KnownSet(), KnownSet():
            return always(right.values <= left.values)
        case SetAttribute(), KnownSet():
            return _holds(left.name, right.strings(), every=True) if _only_strings(right) else NO
        case KnownSet(), SetAttribute():
            values = left.strings()
            return Truth(OnlyHolds(right.name, values), OnlyHolds(right.name, values, negated=True))
        case SetAttribute(), SetAttribute():
            raise NotCompilable("a comparison of two attributes of the study")
    return FAILS


def contains_any(left: Value, right: Value) -> Truth:
    """``left.containsAny(right)``"""
    match left, right:
        case KnownSet(), KnownSet():
            return always(bool(right.values & left.values))
        case (SetAttribute() as column, KnownSet() as known) | (KnownSet() as known, SetAttribute() as column):
            return _holds(column.name, known.strings())
        case SetAttribute(), SetAttribute():
            raise NotCompilable("a comparison of two attributes of the study")
    return FAILS


def _holds(name: str, values: tuple[Scalar, ...], *, every: bool = False) -> Truth:
    if not values:
        return always(every)
    return Truth(Holds(name, values, every=every), Holds(name, values, every=every, negated=True))


def _only_strings(known: KnownSet) -> bool:
    return all(value.kind == "string" for value in known.values)


def _same_set(name: str, known: KnownSet) -> Truth:
    if not _only_strings(known):
        return NO
    values = known.strings()
    held = _holds(name, values, every=True)
    return Truth(
        all_of(held.true, OnlyHolds(name, values)), any_of(held.false, OnlyHolds(name, values, negated=True)), size=2
    )


def _among_booleans(known: KnownSet, truth: Truth) -> Truth:
    yes, no = Known("bool", True) in known.values, Known("bool", False) in known.values
    chosen = [part for part, wanted in ((truth.true, yes), (truth.false, no)) if wanted]
    others = [part for part, wanted in ((truth.true, yes), (truth.false, no)) if not wanted]
    return Truth(any_of(*chosen), any_of(*others), truth.needs, size=truth.size)


def _unlike(*values: Value) -> Truth:
    """Values of different types are unequal, provided that they can be computed at all."""
    computed = []
    needs: frozenset[str] = frozenset()
    for value in values:
        if isinstance(value, ScalarAttribute):
            computed.append(value.unlike().false if value.name not in ALWAYS_PRESENT else Present(value.name))
            needs |= value.unlike().needs
        elif isinstance(value, Truth):
            computed.append(decided(value))
            needs |= value.needs
    return Truth(NOTHING, all_of(*computed), needs)
