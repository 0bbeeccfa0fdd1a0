"""Dates and times of day as numbers, so that they compare by what they mean (PS3.5 6.2, PS3.4 C.2.2.2.1)."""

import re
from calendar import isleap, monthrange
from datetime import date
from typing import Final

_DATE: Final = re.compile(r"(\d{4})(?:\.(\d{2})\.(\d{2})|(\d{2})(\d{2}))", re.ASCII)
_TIME: Final = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?", re.ASCII)

_MOMENT: Final = re.compile(
    r"(\d{4})(?:(\d{2})(?:(\d{2})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,6})?)?)?)?)?)?([+-]\d{4})?", re.ASCII
)

_MICROSECOND: Final = 1
_SECOND: Final = 1_000_000 * _MICROSECOND
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR

FIRST_DATE: Final = 0
LAST_DATE: Final = 99_991_231
FIRST_TIME: Final = 0
LAST_TIME: Final = 24 * _HOUR + _SECOND
FIRST_MOMENT: Final = -_DAY
LAST_MOMENT: Final = 3_652_060 * _DAY + _DAY


def date_number(text: str) -> int | None:
    """A DA value as the number YYYYMMDD, its retired form YYYY.MM.DD included; None if it is no date."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    year, month, day = (int(part) for part in found.groups() if part is not None)
    return year * 10_000 + month * 100 + day if 1 <= month <= 12 and 1 <= day <= 31 else None


def time_span(text: str) -> tuple[int, int] | None:
    """A TM value as its first and last microsecond of the day; None if it is no time.

    ``10`` spans its hour and ``1030`` its minute; the retired form HH:MM:SS is read, and second 60 is a leap second.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hours, minutes, seconds, fraction = found.groups()
    if int(hours) > 23 or int(minutes or 0) > 59 or int(seconds or 0) > 60:
        return None
    start = int(hours) * _HOUR + int(minutes or 0) * _MINUTE + int(seconds or 0) * _SECOND
    start += int((fraction or "").ljust(6, "0"))
    if fraction is not None:
        unit = 10 ** (6 - len(fraction))
    else:
        unit = _SECOND if seconds is not None else _MINUTE if minutes is not None else _HOUR
    return start, start + unit - 1


def moment_span(text: str) -> tuple[int, int] | None:
    """A DT value as its first and last microsecond since year 0 in UTC; None if it is none (PS3.5 6.2).

    A value without an offset is read as UTC. What it leaves out is spanned: ``2020`` is its whole year.
    """
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    year, month, day, clock, offset = found.groups()
    if not 1 <= int(month or 1) <= 12 or not 1 <= int(day or 1) <= 31:
        return None
    try:
        first = date(int(year), int(month or 1), int(day or 1)).toordinal()
    except ValueError:
        return None
    span = time_span(clock) if clock else None
    if clock and span is None:
        return None
    if span is not None:
        begin, end = first * _DAY + span[0], first * _DAY + span[1]
    else:
        begin, end = first * _DAY, _day_after(int(year), month, day, first) * _DAY - 1
    sign = -1 if (offset or "").startswith("-") else 1
    shift = sign * (int(offset[1:3]) * _HOUR + int(offset[3:]) * _MINUTE) if offset else 0
    return begin - shift, end - shift


def _day_after(year: int, month: str | None, day: str | None, first: int) -> int:
    """The ordinal of the day after the span of a date that may lack its day, or its month too."""
    if day is not None:
        return first + 1
    if month is None:
        return first + (366 if isleap(year) else 365)
    return first + monthrange(year, int(month))[1]
