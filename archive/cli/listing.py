"""Long listings: one element after another, so that a million of them take no more memory than one."""

import json
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, TypeVar

from archive.errors import UsageInvalid

_Element = TypeVar("_Element")
_CONTROLS: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def print_json_each(values: Iterable[object]) -> None:
    """Print one JSON list, an element a line, as it comes (`archive.cli.frame.print_json` of a list)."""
    before = "["
    for value in values:
        sys.stdout.write(f"{before}\n{json.dumps(value)}")
        before = ","
    sys.stdout.write("[]\n" if before == "[" else "\n]\n")


def last(elements: Iterable[_Element], count: int | None) -> Iterator[_Element]:
    """All elements, or the last so many."""
    return iter(elements if count is None else deque(elements, maxlen=count))


def moment(text: str | None, option: str) -> datetime | None:
    """A time from the command line: ISO 8601, a day or more exactly; without a zone it is the machine's.

    Raises:
        UsageInvalid: it is none.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise UsageInvalid(f"{option} is {text!r:.40}: write it as 2026-01-31 or 2026-01-31T08:00+01:00") from None


def printable_xml(text: str) -> str:
    """XML without anything that could move a terminal's cursor: such characters as references, which mean the same."""
    return _CONTROLS.sub(lambda found: f"&#{ord(found.group())};", text)
