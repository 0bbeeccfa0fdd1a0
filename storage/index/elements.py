"""Elements without a column of their own, as DICOM JSON (PS3.18 F), and read back from it.

A document is one JSON object of elements by tag. Beside DICOM JSON's own members an element of dates, times or names
has ``norm``: its values as they are compared, for the database to look at. A value that is larger than what is kept is
a ``BulkDataURI`` that names nothing: it is read from the object. DS and IS stay the text that was sent.
"""

import json
import math
import struct
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeAlias

from storage.index.moments import date_number, moment_span, time_span
from storage.index.text import NAME_GROUPS, Repertoire, decode, name_groups, repertoire
from storage.instance import Element, ElementValue, Item

Document: TypeAlias = Mapping[str, Mapping[str, Any]]
"""One data set or item, parsed: elements by tag in hexadecimal."""

VALUE, NORM, INLINE, BULK = "Value", "norm", "InlineBinary", "BulkDataURI"
_NAME_PARTS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_CHARACTER_SET: Final = 0x00080005
_CACHED_BYTES: Final = 256
_MULTIPLE: Final = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC", "UI"])
"""Text of which there may be several values; in LT, ST, UR and UT a backslash is a character (PS3.5 6.4)."""
_SINGLE: Final = frozenset({"LT", "ST", "UR", "UT"})
NUMBERS: Final = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
"""How the numbers of a VR are packed (PS3.5 6.2)."""
_LONGEST_NAME: Final = 1024
"""Characters of a name that has a normal form; PS3.5 6.2 allows a fifth of that. Some characters fold to eighteen."""


def _normal_name(text: str) -> dict[str, str] | None:
    if len(text) > _LONGEST_NAME:
        return None
    return {group: normal for group, normal in zip(NAME_GROUPS, name_groups(text), strict=True) if normal}


_NORMAL: Final[Mapping[str, Callable[[str], object]]] = {
    "DA": date_number,
    "TM": lambda text: span[0] if (span := time_span(text)) is not None else None,
    "DT": lambda text: span[0] if (span := moment_span(text)) is not None else None,
    "PN": _normal_name,
}


def key_of_tag(tag: int) -> str:
    """The name of a tag in a document."""
    return f"{tag:08X}"


def document_text(fragments: Iterable[str]) -> str | None:
    """One document of elements that were each made by `element_text`; None if there are none."""
    inside = ",".join(fragments)
    return f"{{{inside}}}" if inside else None


def element_text(tag: int, element: Element, encodings: Repertoire) -> str:
    """One element as a member of a document. Whatever its bytes are, it comes out."""
    vr, value = element
    if isinstance(value, bytes) and len(value) <= _CACHED_BYTES:
        # The objects of a series say the same in most elements.
        return _remembered(tag, vr, value, encodings)
    return _element_text(tag, vr, value, encodings)


def _element_text(tag: int, vr: bytes, value: ElementValue, encodings: Repertoire) -> str:
    return f'"{tag:08X}":{json.dumps(member(vr, value, encodings), ensure_ascii=False, separators=(",", ":"))}'


_remembered: Final = lru_cache(maxsize=4096)(_element_text)


def member(vr: bytes, value: ElementValue, encodings: Repertoire) -> dict[str, Any]:
    """One element as it stands in a document, parsed."""
    name = vr.decode("ascii", "replace") if vr.isalpha() else "UN"
    if value is None:
        return {"vr": name, BULK: ""}
    if isinstance(value, tuple):
        return {"vr": "SQ", VALUE: [_item(item, encodings) for item in value]}
    if name in _MULTIPLE or name in _SINGLE:
        return _text(name, value, encodings)
    if name in NUMBERS:
        numbers = _numbers(value, NUMBERS[name])
        return {"vr": name, VALUE: numbers} if numbers else {"vr": name}
    if name == "AT":
        tags = [f"{group:04X}{element:04X}" for group, element in struct.iter_unpack("<HH", value[: len(value) & ~3])]
        return {"vr": name, VALUE: tags} if tags else {"vr": name}
    return {"vr": name, INLINE: b64encode(value).decode("ascii")} if value else {"vr": name}


def _item(item: Item, encodings: Repertoire) -> dict[str, Any]:
    for tag, _, value in item:
        if tag == _CHARACTER_SET and isinstance(value, bytes):
            encodings = repertoire(value)
    return {f"{tag:08X}": member(vr, value, encodings) for tag, vr, value in item if tag & 0xFFFF}


def _text(name: str, value: bytes, encodings: Repertoire) -> dict[str, Any]:
    text = decode(value, encodings, name=name == "PN")
    if not text:
        return {"vr": name}
    values = [part.strip(" \0") or None for part in text.split("\\")] if name in _MULTIPLE else [text]
    normal = _NORMAL.get(name)
    made: dict[str, Any] = {"vr": name, VALUE: values}
    if name == "PN":
        made[VALUE] = [part and _name(part) for part in values]
    if normal is not None:
        made[NORM] = [None if part is None else normal(part) for part in values]
    return made


def _name(text: str) -> dict[str, str]:
    return {part: group for part, group in zip(_NAME_PARTS, text.split("=", 2), strict=False) if group}


def _numbers(value: bytes, code: str) -> list[int | float | str]:
    usable = value[: len(value) // struct.calcsize("<" + code) * struct.calcsize("<" + code)]
    # JSON has no infinities; PS3.18 F.2.5 writes such numbers as text.
    return [
        number if isinstance(number, int) or math.isfinite(number) else str(number)
        for (number,) in struct.iter_unpack("<" + code, usable)
    ]


def name_text(name: Mapping[str, str] | None) -> str:
    """A person name of a document as the value that was sent (PS3.5 6.2.1.1)."""
    return "=".join((name or {}).get(part, "") for part in _NAME_PARTS).rstrip("=")


def document_of(text: str | None) -> Document:
    """The inverse of `document_text`."""
    document: Document = json.loads(text) if text else {}
    return document
