"""What a predicate selects, said in plain Python: the judge of `storage.index.compiler` and of compiled policies.

Written from the words of `storage.index.predicate` alone. True, False, or None for *unknown*.
"""

import re
from collections.abc import Collection, Mapping
from typing import TypeAlias

from storage.index.predicate import (
    AllOf,
    Among,
    AnyOf,
    Compare,
    Constant,
    Holds,
    HoldsMatching,
    NotTrue,
    OneOf,
    OnlyHolds,
    Pattern,
    Predicate,
    Present,
    SomeItem,
    SomeValue,
    Valueless,
    Wild,
)

Row: TypeAlias = Mapping[str, object]
"""Scalars by attribute name, None or missing where absent; sets as collections; elements of documents by tag."""


def selects(predicate: Predicate, row: Row) -> bool:
    """Whether a row is selected: only where the whole predicate is true."""
    return judged(predicate, row) is True


def judged(predicate: Predicate, row: Row) -> bool | None:
    """The value of a predicate on a row."""
    match predicate:
        case Constant(value):
            return value
        case AllOf(terms):
            values = [judged(term, row) for term in terms]
            return False if False in values else None if None in values else True
        case AnyOf(terms):
            values = [judged(term, row) for term in terms]
            return True if True in values else None if None in values else False
        case NotTrue(term):
            return judged(term, row) is not True
        case Among(_, term):
            return judged(term, row)
        case Present(attribute, present):
            return (row.get(attribute) is not None) is present
        case SomeValue() | SomeItem() | Valueless():
            return _inside(predicate, row)
        case Compare() | OneOf() | Pattern():
            found = row.get(predicate.attribute)
            return None if found is None else _scalar(predicate, found)
    return _set(predicate, row)


def _inside(predicate: SomeValue | SomeItem | Valueless, row: Row) -> bool:
    """What is asked of elements without a column, and of the elements in an item: both are named by tags here."""
    element = row.get(f"{predicate.tag:08X}") or {}
    assert isinstance(element, Mapping)
    values = [value for value in element.get("Value", []) if value is not None]
    match predicate:
        case Valueless():
            return not element.get("Value")
        case SomeItem(_, term):
            return any(selects(term, item) for item in values)
    names = {"text": ("Value", str), "number": ("norm", int), "name": ("norm", dict)}
    member, kind = names[predicate.kind.value]
    compared = [kind(value) for value in element.get(member, []) if value is not None]
    if kind is dict:
        rows: list[Row] = [{f"value_{group}": name for group, name in value.items()} for value in compared]
    else:
        rows = [{"value": value} for value in compared]
    return any(selects(predicate.term, each) for each in rows)


def _scalar(predicate: Compare | OneOf | Pattern, found: object) -> bool:
    match predicate:
        case OneOf(_, values, negated):
            return (found in values) is not negated
        case Pattern(_, parts, negated):
            assert isinstance(found, str)
            return _matches(parts, found) is not negated
    wanted = predicate.value
    assert type(found) is type(wanted)
    match predicate.operator:
        case "==":
            return found == wanted
        case "!=":
            return found != wanted
    assert isinstance(found, int | str)
    assert isinstance(wanted, int | str)
    return {"<": found < wanted, "<=": found <= wanted, ">": found > wanted, ">=": found >= wanted}[predicate.operator]


def _set(predicate: Predicate, row: Row) -> bool:
    match predicate:
        case Holds(attribute, values, every, negated):
            held = _elements(row, attribute)
            return (all if every else any)(value in held for value in values) is not negated
        case HoldsMatching(attribute, parts):
            return any(_matches(parts, str(element)) for element in _elements(row, attribute))
        case OnlyHolds(attribute, values, negated):
            return (set(_elements(row, attribute)) <= set(values)) is not negated
    raise AssertionError(f"not a predicate: {predicate!r}")


def _elements(row: Row, attribute: str) -> Collection[object]:
    held = row[attribute]
    assert isinstance(held, Collection)
    return held


def _matches(parts: tuple[str | Wild, ...], text: str) -> bool:
    wild = {Wild.ANY: ".*", Wild.ONE: "."}
    pattern = "".join(wild[part] if isinstance(part, Wild) else re.escape(part) for part in parts)
    return re.fullmatch(pattern, text, re.DOTALL) is not None
