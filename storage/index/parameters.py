"""Predicates apart from their values, so that queries which differ in values alone are one statement to the database.

To write a statement costs many times what most statements cost to run. What must never live here: SQL but for the text
of patterns.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from storage.index.predicate import (
    AllOf,
    Among,
    AnyOf,
    Compare,
    NotTrue,
    OneOf,
    Parameter,
    Pattern,
    PatternParameter,
    Predicate,
    Scalar,
    SomeItem,
    SomeValue,
    Wild,
)

_LAST_CODE_POINT: Final = "\U0010ffff"
_MOST_LISTED: Final = 16
"""A longer list stays in the statement: lists of a length seldom come twice."""


class Apart:
    """A predicate whose values were taken out, and the values."""

    __slots__ = ("_values", "predicate")

    def __init__(self, predicate: Predicate) -> None:
        self._values: list[Scalar | tuple[Any, ...]] = []
        self.predicate = self._without(predicate)

    def arguments(self, dialect: str) -> dict[str, object]:
        """The values, by the names of their parameters."""
        arguments: dict[str, object] = {}
        for number, value in enumerate(self._values):
            if not isinstance(value, tuple):
                arguments[scalar_name(number)] = value
            elif not value or isinstance(value[0], int):
                arguments[scalar_name(number)] = json.dumps(value) if dialect == "sqlite" else list(value)
            elif dialect != "sqlite":
                arguments[pattern_name(number)] = like_text(value)
            else:
                arguments[pattern_name(number)] = glob_text(value)
                if isinstance(value[0], str):
                    low, high = bound_names(number)
                    arguments |= {low: value[0], high: successor(value[0])}
        return arguments

    def _without(self, predicate: Predicate) -> Predicate:
        match predicate:
            case AllOf(terms):
                return AllOf(tuple(map(self._without, terms)))
            case AnyOf(terms):
                return AnyOf(tuple(map(self._without, terms)))
            case NotTrue(term):
                return NotTrue(self._without(term))
            case SomeValue(tag, kind, term):
                return SomeValue(tag, kind, self._without(term))
            case SomeItem(tag, term):
                return SomeItem(tag, self._without(term))
            case Among(keys, term) if not isinstance(keys, Parameter):
                self._values.append(keys)
                return Among(Parameter(len(self._values) - 1, tuple), self._without(term))
            case Compare(attribute, comparison, value):
                return Compare(attribute, comparison, self._parameter(value))
            case OneOf(attribute, values, negated) if len(values) <= _MOST_LISTED:
                return OneOf(attribute, tuple(map(self._parameter, values)), negated)
            case Pattern(attribute, parts, negated) if not isinstance(parts, PatternParameter):
                return Pattern(attribute, self._pattern(parts), negated)
        return predicate

    def _parameter(self, value: Scalar) -> Parameter:
        if isinstance(value, Parameter):
            return value
        self._values.append(value)
        return Parameter(len(self._values) - 1, type(value))

    def _pattern(self, parts: tuple[str | Wild, ...]) -> tuple[str | Wild, ...] | PatternParameter:
        merged = merged_parts(parts)
        literals = [part for part in merged if isinstance(part, str)]
        begins = bool(merged) and isinstance(merged[0], str)
        if len(literals) == len(merged) or any("\0" in part for part in literals):
            return parts
        if begins and successor(literals[0]) is None:
            return parts
        self._values.append(tuple(merged))
        return PatternParameter(len(self._values) - 1, begins)


def scalar_name(number: int) -> str:
    """The parameter of a single value."""
    return f"v{number}"


def pattern_name(number: int) -> str:
    """The parameter of a pattern's text."""
    return f"v{number}_pattern"


def bound_names(number: int) -> tuple[str, str]:
    """The parameters of the range that a pattern begins in, on SQLite: the first text in it, and the first beyond."""
    return f"v{number}_low", f"v{number}_high"


def merged_parts(parts: Sequence[str | Wild]) -> list[str | Wild]:
    """Adjacent literals joined, empty ones dropped, runs of ``*`` made one."""
    merged: list[str | Wild] = []
    for part in parts:
        last = merged[-1] if merged else None
        if part == "" or (part is Wild.ANY and last is Wild.ANY):
            continue
        if isinstance(part, str) and isinstance(last, str):
            merged[-1] = last + part
        else:
            merged.append(part)
    return merged


def glob_text(parts: Sequence[str | Wild]) -> str:
    """A GLOB pattern in which only the wildcards are special."""
    bracketed = str.maketrans({"*": "[*]", "?": "[?]", "[": "[[]"})
    return "".join(part.value if isinstance(part, Wild) else part.translate(bracketed) for part in parts)


def like_text(parts: Sequence[str | Wild]) -> str:
    r"""A LIKE pattern, escaped with ``\``, in which only the wildcards are special."""
    wild = {Wild.ANY: "%", Wild.ONE: "_"}
    escaped = str.maketrans({"%": "\\%", "_": "\\_", "\\": "\\\\"})
    return "".join(wild[part] if isinstance(part, Wild) else part.translate(escaped) for part in parts)


def successor(prefix: str) -> str | None:
    """The least text above every text that begins with the prefix; None if there is none."""
    head = prefix.rstrip(_LAST_CODE_POINT)
    if not head:
        return None
    following = ord(head[-1]) + 1
    return head[:-1] + chr(0xE000 if 0xD800 <= following <= 0xDFFF else following)
