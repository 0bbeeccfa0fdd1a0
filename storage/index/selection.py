"""Which items of a sequence satisfy a predicate, where they are in hand already: the meaning of the compiled SQL.

Only for what leaves with a match that the database selected: which items of its sequences. What a person may see is
never decided here.
"""

import operator
from typing import Any, Final

from storage.errors import IndexFault
from storage.index.elements import NORM, VALUE, Document, key_of_tag
from storage.index.predicate import VALUE as THE_VALUE
from storage.index.predicate import (
    AllOf,
    AnyOf,
    Compare,
    Constant,
    Kind,
    OneOf,
    Parameter,
    Pattern,
    PatternParameter,
    Predicate,
    SomeItem,
    SomeValue,
    Valueless,
    Wild,
)

_COMPARE: Final = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def selects(predicate: Predicate, item: Document) -> bool:
    """Whether an item satisfies a predicate about its elements."""
    match predicate:
        case Constant(value):
            return value
        case AllOf(terms):
            return all(selects(term, item) for term in terms)
        case AnyOf(terms):
            return any(selects(term, item) for term in terms)
        case SomeValue(tag, kind, term):
            values = item.get(key_of_tag(tag), {}).get(VALUE if kind is Kind.TEXT else NORM, [])
            return any(_holds(term, value) for value in values if value is not None)
        case SomeItem(tag, term):
            return any(selects(term, inner) for inner in item.get(key_of_tag(tag), {}).get(VALUE, []))
        case Valueless(tag):
            return not item.get(key_of_tag(tag), {}).get(VALUE)
    raise IndexFault("a predicate on items names what only rows have")


def _holds(term: Predicate, value: Any) -> bool:
    """Whether one value satisfies a term; a value that is absent satisfies none."""
    match term:
        case Constant(truth):
            return truth
        case AllOf(terms):
            return all(_holds(each, value) for each in terms)
        case AnyOf(terms):
            return any(_holds(each, value) for each in terms)
        case Compare(attribute, comparison, wanted) if not isinstance(wanted, Parameter):
            found = _named(attribute, value, number=isinstance(wanted, int))
            return found is not None and bool(_COMPARE[comparison](found, wanted))
        case OneOf(attribute, values, negated):
            found = _named(attribute, value)
            return found is not None and (found in values) is not negated
        case Pattern(attribute, parts, negated) if not isinstance(parts, PatternParameter):
            found = _named(attribute, value)
            return found is not None and _matches(parts, str(found)) is not negated
    raise IndexFault("a predicate on values names something else")


def _named(attribute: str, value: Any, *, number: bool = False) -> Any:
    """What of a value a term compares: text, a number, or one group of a name."""
    if attribute != THE_VALUE:
        return value.get(attribute.removeprefix(f"{THE_VALUE}_")) if isinstance(value, dict) else None
    return value if number else str(value)


def _matches(parts: tuple[str | Wild, ...], text: str) -> bool:
    """Whether a whole text matches; in time linear in the text for each literal, however many wildcards there are."""
    reached = {0}
    for part in parts:
        if part is Wild.ANY:
            reached = set(range(min(reached), len(text) + 1)) if reached else set()
        elif part is Wild.ONE:
            reached = {at + 1 for at in reached if at < len(text)}
        else:
            assert isinstance(part, str)
            reached = {at + len(part) for at in reached if text.startswith(part, at)}
        if not reached:
            return False
    return len(text) in reached
