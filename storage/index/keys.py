"""How one key with a value is matched against one attribute (PS3.4 C.2.2.2). Pure.

Text is compared exactly, dates and times by what they mean, and person names without case and accents, group by
group, trailing empty components not counting. A name key without ``=`` that is ASCII once folded asks for the
alphabetic group; any other asks for any group.
"""

from collections.abc import Sequence
from typing import Final

from storage.errors import IdentifierInvalid
from storage.index.columns import NAME_GROUPS, Attribute, Comparison
from storage.index.moments import FIRST_DATE, FIRST_TIME, LAST_DATE, LAST_TIME, date_number, time_span
from storage.index.predicate import (
    EVERYTHING,
    NOTHING,
    Compare,
    Holds,
    HoldsMatching,
    OneOf,
    OnlyHolds,
    Pattern,
    Predicate,
    Present,
    Wild,
    all_of,
    any_of,
)
from storage.index.text import folded

MAX_VALUES: Final = 10_000
"""Most values in one list; below the number of values that SQLite binds."""
MAX_WILDCARDS: Final = 64
"""Most wildcards in one key."""

_NO_WILDCARDS: Final = frozenset({"DA", "TM", "DT", "UI", "IS", "DS", "US", "SS", "UL", "SL", "AS", "AT", "FL", "FD"})


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


def matching(attribute: Attribute, value: str, *, unique: bool) -> Predicate:
    """The condition that a key puts on its attribute (PS3.4 C.2.2.2.1 to C.2.2.2.5).

    A key other than the level's ``unique`` one is satisfied too where the stored value has zero length (C.2.2.1.2).

    Raises:
        IdentifierInvalid: the value is none of the key's VR.
    """
    wanted: Predicate
    match attribute.comparison:
        case Comparison.UID:
            wanted = OneOf(attribute.column, tuple(listed(value)))
        case Comparison.SET:
            return _in_set(attribute, value)
        case Comparison.DATE:
            wanted = _between(attribute.column, *date_range(value))
        case Comparison.TIME:
            wanted = _between(attribute.column, *_time_range(value))
        case Comparison.NAME:
            wanted = _name(attribute, value)
        case _:
            wanted = _text(attribute.column, _parts(attribute.vr, value))
    return wanted if unique else any_of(wanted, _unknown(attribute))


def _unknown(attribute: Attribute) -> Predicate:
    """Where the stored value has zero length, or is a name of nothing but delimiters."""
    if attribute.comparison is Comparison.NAME:
        return all_of(*(Present(f"{attribute.column}_{group}", present=False) for group in NAME_GROUPS))
    return Present(attribute.text_column, present=False)


def _in_set(attribute: Attribute, value: str) -> Predicate:
    """Any element matches any value of the key, and so does an empty set."""
    values = listed(value)
    terms: list[Predicate] = [OnlyHolds(attribute.column, ())]
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


def _name(attribute: Attribute, value: str) -> Predicate:
    """Person names (PS3.4 C.2.2.2.1.1: without case), group by group (PS3.5 6.2.1.2)."""
    columns = [f"{attribute.column}_{group}" for group in NAME_GROUPS]
    if "=" in value:
        groups = zip(columns, value.split("=", 2), strict=False)
        return all_of(*(_name_group(column, group) for column, group in groups if not universal(group.strip(" ^"))))
    return any_of(*(_name_group(column, value) for column in (columns[:1] if folded(value).isascii() else columns)))


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


def date_range(value: str) -> tuple[int, int]:
    """The dates of a key, both ends included; a single date is its own range."""
    if "-" not in value:
        return (date := _date(value)), date
    first, last = _ends(value)
    return (_date(first) if first else FIRST_DATE), (_date(last) if last else LAST_DATE)


def _time_range(value: str) -> tuple[int, int]:
    """The microseconds of a key: a single value is a moment, and the end of a range lasts as long as it says."""
    if "-" not in value:
        return (time := _time(value)[0]), time
    first, last = _ends(value)
    return (_time(first)[0] if first else FIRST_TIME), (_time(last)[1] if last else LAST_TIME)


def _ends(value: str) -> tuple[str, str]:
    first, _, last = value.partition("-")
    first, last = first.strip(" "), last.strip(" ")
    if not first and not last:
        raise IdentifierInvalid("a range without ends")
    return first, last


def _date(text: str) -> int:
    number = date_number(text)
    if number is None:
        raise IdentifierInvalid("a date key is not a date (YYYYMMDD) or a range of dates")
    return number


def _time(text: str) -> tuple[int, int]:
    span = time_span(text)
    if span is None:
        raise IdentifierInvalid("a time key is not a time (HHMMSS.FFFFFF) or a range of times")
    return span
