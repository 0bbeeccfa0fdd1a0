"""How one key with a value is matched against one attribute or element (PS3.4 C.2.2.2). Pure.

Text is compared exactly, dates and times by what they mean, and person names without case and accents, group by
group, trailing empty components not counting. A name key without ``=`` that is ASCII once folded asks for the
alphabetic group; any other asks for any group. Fuzzy matching of names, where it was negotiated, asks for each word of
the key at the beginning of some word of the name, in any order and group.
"""

import re
from collections.abc import Sequence
from typing import Final

from storage.errors import IdentifierInvalid
from storage.index.columns import Attribute, Comparison, comparison_of
from storage.index.predicate import (
    EVERYTHING,
    NOTHING,
    VALUE,
    Compare,
    Holds,
    HoldsMatching,
    Kind,
    OneOf,
    Pattern,
    Predicate,
    Present,
    SomeValue,
    Valueless,
    Wild,
    all_of,
    any_of,
)
from storage.index.ranges import date_range, moment_range, time_range
from storage.index.text import NAME_GROUPS, folded

MAX_VALUES: Final = 10_000
"""Most values in one list; below the number of values that SQLite binds."""
MAX_WILDCARDS: Final = 64
"""Most wildcards in one key."""

MAX_WORDS: Final = 16
"""Most words in a name that is matched fuzzily."""

MATCHED: Final = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "SV", "TM", "UC", "UI"}
    | {"UL", "UR", "US", "UT", "UV"}
)
"""VRs whose values can be matched at all; of the others an element can only be asked for."""
_MULTIPLE: Final = MATCHED - {"LT", "ST", "UR", "UT"}
"""In the others a backslash is a character (PS3.5 6.4)."""
_KINDS: Final = {
    Comparison.NAME: Kind.NAME,
    Comparison.DATE: Kind.NUMBER,
    Comparison.TIME: Kind.NUMBER,
    Comparison.MOMENT: Kind.NUMBER,
}
_SEPARATORS: Final = re.compile(r"[\s^=,*?\\]+")
_BEFORE_WORD: Final = ("^", " ", "-")
_NO_WILDCARDS: Final = frozenset({"DA", "TM", "DT", "UI", "IS", "DS", "US", "SS", "UL", "SL", "AS", "AT", "UV", "SV"})


def stripped(value: str | None) -> str:
    """A key's value without padding (PS3.5 6.2).

    Raises:
        IdentifierInvalid: it is no text that could be stored.
    """
    text = (value or "").rstrip("\0 ").lstrip(" ")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise IdentifierInvalid("a key is not text")
    return text


def universal(value: str) -> bool:
    """Whether a stripped value matches everything (PS3.4 C.2.2.2.3, and C.2.2.2.4 for ``*`` alone)."""
    return value.strip("*") == ""


def listed(value: str) -> list[str]:
    """The values of a list, empty ones left out (PS3.4 C.2.2.2.2).

    Raises:
        IdentifierInvalid: they are more than `MAX_VALUES`.
    """
    values = [text for one in value.split("\\") if (text := one.strip("\0 "))]
    if len(values) > MAX_VALUES:
        raise IdentifierInvalid(f"a list of more than {MAX_VALUES} values")
    return values


def matching(attribute: Attribute, value: str, *, unique: bool, fuzzy: bool = False) -> Predicate:
    """The condition that a key puts on its attribute (PS3.4 C.2.2.2.1 to C.2.2.2.5).

    A key other than the level's ``unique`` one is satisfied too where the stored value has zero length (C.2.2.1.2).

    Raises:
        IdentifierInvalid: the value is none of the key's VR.
    """
    if attribute.comparison is Comparison.SET:
        return _in_set(attribute, value)
    wanted = _wanted(attribute.comparison, attribute.column, attribute.vr, value, fuzzy=fuzzy)
    return wanted if unique else any_of(wanted, _unknown(attribute))


def element_matching(tag: int, vr: str, value: str, *, fuzzy: bool = False) -> Predicate:
    """As `matching`, for an element without a column: some value of it matches some value of the key.

    Raises:
        IdentifierInvalid: a value is none of the key's VR.
    """
    comparison = comparison_of(vr)
    several = vr in _MULTIPLE and comparison not in (Comparison.UID, Comparison.NAME)
    values = listed(value) if several else [value]
    if sum(one.count(wild.value) for one in values for wild in Wild) > MAX_WILDCARDS:
        raise IdentifierInvalid(f"a key with more than {MAX_WILDCARDS} wildcards")
    wanted = any_of(*(_wanted(comparison, VALUE, vr, one, fuzzy=fuzzy) for one in values))
    return any_of(SomeValue(tag, _KINDS.get(comparison, Kind.TEXT), wanted), Valueless(tag))


def combined_matching(date: Attribute, dates: str, time: Attribute, times: str) -> Predicate:
    """A date and a time as one moment, for a range of moments (PS3.4 C.2.2.2.5.1.4, where it was negotiated).

    Raises:
        IdentifierInvalid: a value is none of its key's VR.
    """
    (first_date, last_date), (first_time, last_time) = date_range(dates), time_range(times)
    after = any_of(
        Compare(date.column, ">", first_date),
        all_of(Compare(date.column, "==", first_date), Compare(time.column, ">=", first_time)),
    )
    before = any_of(
        Compare(date.column, "<", last_date),
        all_of(Compare(date.column, "==", last_date), Compare(time.column, "<=", last_time)),
    )
    return any_of(all_of(after, before), _unknown(date), all_of(_range_of(date, dates), _unknown(time)))


def _range_of(date: Attribute, dates: str) -> Predicate:
    return _between(date.column, *date_range(dates))


def _wanted(comparison: Comparison, column: str, vr: str, value: str, *, fuzzy: bool) -> Predicate:
    """Which stored values a key asks for."""
    match comparison:
        case Comparison.UID:
            return OneOf(column, tuple(listed(value)))
        case Comparison.DATE:
            return _between(column, *date_range(value))
        case Comparison.TIME:
            return _between(column, *time_range(value))
        case Comparison.MOMENT:
            return _between(column, *moment_range(value))
        case Comparison.NAME:
            return _fuzzy_name(column, value) if fuzzy else _name(column, value)
        case _:
            return _text(column, _parts(vr, value))


def _unknown(attribute: Attribute) -> Predicate:
    """Where the stored value has zero length, or is a name of nothing but delimiters."""
    if attribute.comparison is Comparison.NAME:
        return all_of(*(Present(f"{attribute.column}_{group}", present=False) for group in NAME_GROUPS))
    return Present(attribute.text_column, present=False)


def _in_set(attribute: Attribute, value: str) -> Predicate:
    """Any element matches any value of the key, and so does an empty set."""
    values = listed(value)
    terms: list[Predicate] = [_unknown(attribute)]
    patterns = [_parts(attribute.vr, one) for one in values]
    if sum(map(_is_wild, patterns)) > MAX_WILDCARDS:
        raise IdentifierInvalid(f"a key with more than {MAX_WILDCARDS} wildcards")
    terms += [HoldsMatching(attribute.column, parts) for parts in patterns if _is_wild(parts)]
    terms.append(Holds(attribute.column, tuple(one for one in values if not _is_wild(_parts(attribute.vr, one)))))
    return any_of(*terms)


def _parts(vr: str, value: str) -> tuple[str | Wild, ...]:
    """A key as literals and wildcards, where its VR allows wildcards (PS3.4 C.2.2.2.4); otherwise as one literal."""
    if vr in _NO_WILDCARDS or not ("*" in value or "?" in value):
        return (value,)
    if sum(map(value.count, "*?")) > MAX_WILDCARDS:
        raise IdentifierInvalid(f"a key with more than {MAX_WILDCARDS} wildcards")
    parts: list[str | Wild] = []
    for character in value:
        if character in "*?":
            wild = Wild(character)
            if not (wild is Wild.ANY and parts and parts[-1] is Wild.ANY):
                parts.append(wild)
        elif parts and isinstance(parts[-1], str):
            parts[-1] += character
        else:
            parts.append(character)
    return tuple(parts)


def _is_wild(parts: Sequence[str | Wild]) -> bool:
    return any(isinstance(part, Wild) for part in parts)


def _text(column: str, parts: tuple[str | Wild, ...]) -> Predicate:
    if _is_wild(parts):
        return Pattern(column, parts)
    return Compare(column, "==", "".join(part for part in parts if isinstance(part, str)))


def _name(column: str, value: str) -> Predicate:
    """Person names (PS3.4 C.2.2.2.1.1: without case), group by group (PS3.5 6.2.1.2)."""
    columns = [f"{column}_{group}" for group in NAME_GROUPS]
    if "=" in value:
        groups = zip(columns, value.split("=", 2), strict=False)
        return all_of(*(_name_group(column, group) for column, group in groups if not universal(group.strip(" ^"))))
    return any_of(*(_name_group(column, value) for column in (columns[:1] if folded(value).isascii() else columns)))


def _fuzzy_name(column: str, value: str) -> Predicate:
    """Each word of the key begins some word of the name (PS3.4 C.2.2.2.1.1, where it was negotiated)."""
    words = _SEPARATORS.sub(" ", folded(value)).split()
    if len(words) > MAX_WORDS:
        raise IdentifierInvalid(f"a name of more than {MAX_WORDS} words")
    columns = [f"{column}_{group}" for group in NAME_GROUPS]
    begins = [
        any_of(
            *(Pattern(group, (word, Wild.ANY)) for group in columns),
            *(Pattern(group, (Wild.ANY, before + word, Wild.ANY)) for group in columns for before in _BEFORE_WORD),
        )
        for word in words
    ]
    return all_of(*begins)


def _name_group(column: str, value: str) -> Predicate:
    """One group, whatever number of empty components ends the name: ``DOE^*`` finds ``DOE`` too."""
    parts = [part if isinstance(part, Wild) else folded(part) for part in _parts("PN", value.strip(" "))]
    if isinstance(parts[0], str):
        parts[0] = parts[0].lstrip(" ")
    _trim(parts)
    found = [_text(column, tuple(parts))] if parts else []
    # A stored name equals itself with empty components appended, so a final ``^*`` may match nothing at all.
    while len(parts) > 1 and parts[-1] is Wild.ANY and isinstance(parts[-2], str) and parts[-2].endswith("^"):
        parts.pop()
        _trim(parts)
        if not parts:
            break
        found.append(_text(column, tuple(parts)))
    return any_of(*found) if found else EVERYTHING


def _trim(parts: list[str | Wild]) -> None:
    """Drop empty components at the end."""
    while parts and isinstance(last := parts[-1], str):
        parts[-1] = last.rstrip("^ ")
        if parts[-1]:
            return
        parts.pop()


def _between(column: str, first: int, last: int) -> Predicate:
    if first > last:
        return NOTHING  # from ten at night until six reaches no time: ranges do not cross midnight (C.2.2.2.5)
    if first == last:
        return Compare(column, "==", first)
    return all_of(Compare(column, ">=", first), Compare(column, "<=", last))
