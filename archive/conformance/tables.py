"""Markdown, and how UIDs are called."""

import textwrap
from collections.abc import Iterable, Sequence

from pydicom.uid import UID


def heading(text: str) -> list[str]:
    """A heading, an empty line behind it."""
    return [text, ""]


def prose(text: str) -> list[str]:
    """A paragraph in lines of readable length, an empty one behind it."""
    return [*textwrap.wrap(text, 118, break_long_words=False, break_on_hyphens=False), ""]


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines of a table, an empty one behind it."""
    lines = [_row(headings), "|" + "---|" * len(headings)]
    return [*lines, *(_row([str(cell) for cell in row]) for row in rows), ""]


def name_of(uid: str) -> str:
    """What PS3.6 calls a UID, without its remarks; the UID where the dictionary has none."""
    return str(UID(uid).name).replace("(Retired)", "(retired)").strip()


def hexadecimal(status: int) -> str:
    """A status as PS3.4 writes it."""
    return f"{status:04X}"


def tag(number: int) -> str:
    """A tag as the standard writes it."""
    return f"({number >> 16:04X},{number & 0xFFFF:04X})"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
