"""Keys on elements without a column, sequences and what is in them included (PS3.4 C.2.2.2.6). Pure.

A sequence key has one item. Some stored item matches it where every key in it matches in that item; the answer holds
the items that match, with the elements that were asked for. A key, or an item, of zero length asks for everything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from storage.errors import IdentifierInvalid
from storage.index.elements import VALUE, Document, key_of_tag
from storage.index.keys import MATCHED, element_matching, stripped, universal
from storage.index.predicate import EVERYTHING, Predicate, SomeItem, Valueless, all_of, any_of
from storage.index.selection import selects


@dataclass(frozen=True, slots=True)
class QueryKey:
    """One element of an identifier. ``value`` is decoded text, padding and all; None or "" for zero length."""

    tag: int
    vr: str
    value: str | None
    items: tuple[tuple["QueryKey", ...], ...] | None = None
    """Of a sequence: the keys in its items; None where this is none."""

    @property
    def asks(self) -> bool:
        """Whether it is to be matched, itself or by something within it."""
        if self.items is None:
            return not universal((self.value or "").strip("\0 "))
        return any(key.asks for item in self.items for key in item)


@dataclass(frozen=True, slots=True)
class ItemKeys:
    """What is asked of the items of one sequence: which of them, and what of each."""

    tags: frozenset[int]
    term: Predicate
    sequences: Mapping[int, "ItemKeys"] = field(default_factory=dict)

    def of(self, items: list[Document]) -> list[Document]:
        """The items that match, with what was asked for; what an item lacks is there with no value."""
        return [self._within(item) for item in items if selects(self.term, item)]

    def _within(self, item: Document) -> Document:
        found: dict[str, Mapping[str, Any]] = {}
        for tag in sorted(self.tags):
            element = item.get(key_of_tag(tag))
            inner = self.sequences.get(tag)
            if element is not None and inner is not None:
                element = {**element, VALUE: inner.of(element.get(VALUE, []))}
            if element is not None:
                found[key_of_tag(tag)] = element
        return found


WHOLE: Final = None
"""Every item, and everything in it."""


def element_term(key: QueryKey, *, fuzzy: bool) -> tuple[Predicate, ItemKeys | None, bool]:
    """The condition of a key, what of a sequence is asked for, and whether all of it is matched.

    Raises:
        IdentifierInvalid: a value is none of its key's VR, or a sequence has several items.
    """
    if key.items is None:
        value = stripped(key.value)
        if universal(value):
            return EVERYTHING, WHOLE, True
        if key.vr not in MATCHED:
            return EVERYTHING, WHOLE, False
        return element_matching(key.tag, key.vr, value, fuzzy=fuzzy), WHOLE, True
    if len(key.items) > 1:
        raise IdentifierInvalid("a sequence key has more than one item")
    inner = key.items[0] if key.items else ()
    if not inner:
        return EVERYTHING, WHOLE, True
    terms, sequences, supported = [], {}, True
    for one in inner:
        term, items, matched = element_term(one, fuzzy=fuzzy)
        terms.append(term)
        supported &= matched
        if items is not None:
            sequences[one.tag] = items
    term = all_of(*terms)
    items = ItemKeys(frozenset(one.tag for one in inner), term, sequences)
    if term == EVERYTHING:
        return EVERYTHING, items, supported
    return any_of(SomeItem(key.tag, term), Valueless(key.tag)), items, supported
