"""What a date, time or moment key reaches, as numbers with both ends included (PS3.4 C.2.2.2.1, C.2.2.2.5). Pure."""

from storage.errors import IdentifierInvalid
from storage.index.moments import (
    FIRST_DATE,
    FIRST_MOMENT,
    FIRST_TIME,
    LAST_DATE,
    LAST_MOMENT,
    LAST_TIME,
    date_number,
    moment_span,
    time_span,
)


def date_range(value: str) -> tuple[int, int]:
    """The dates of a key, both ends included; a single date is its own range."""
    if "-" not in value:
        return (date := _date(value)), date
    first, last = _ends(value)
    return (_date(first) if first else FIRST_DATE), (_date(last) if last else LAST_DATE)


def time_range(value: str) -> tuple[int, int]:
    """The microseconds of a key: a single value is a moment, and the end of a range lasts as long as it says."""
    if "-" not in value:
        return (time := _time(value)[0]), time
    first, last = _ends(value)
    return (_time(first)[0] if first else FIRST_TIME), (_time(last)[1] if last else LAST_TIME)


def moment_range(value: str) -> tuple[int, int]:
    """The microseconds of a key. A hyphen parts a range where both sides are moments (PS3.4 C.2.2.2.5.1.3)."""
    hyphens = [at for at, character in enumerate(value) if character == "-"]
    for at in hyphens:
        first, last = value[:at].strip(" "), value[at + 1 :].strip(" ")
        begin = (FIRST_MOMENT, 0) if not first else moment_span(first)
        end = (0, LAST_MOMENT) if not last else moment_span(last)
        if (first or last) and begin is not None and end is not None:
            return begin[0], end[1]
    span = moment_span(value)
    if span is None:
        raise IdentifierInvalid("a key is not a date and time (YYYYMMDDHHMMSS.FFFFFF&ZZXX) or a range of them")
    return span[0], span[0]


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
