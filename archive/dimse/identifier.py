"""Identifiers as they come in: a requestor's keys (PS3.4 C.4.1.1.3; PS3.5 7).

Bounded and strict before anything is made of them. Here: decoding only. What a key means is for
`storage.index.matching`, and what is answered for `archive.dimse.response`.
"""

import struct
from functools import lru_cache
from typing import Final

from pydicom.datadict import dictionary_VR

from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.index.elements import NUMBERS
from storage.index.sequences import QueryKey
from storage.index.text import DEFAULT_REPERTOIRE, Repertoire, decode, repertoire
from storage.transfer_syntax import TransferSyntax

MAX_ELEMENTS: Final = 4096
"""Elements and items in one identifier, nested ones included."""
MAX_DEPTH: Final = 16
"""Sequences within sequences."""

CHARACTER_SET: Final = 0x00080005
QUERY_RETRIEVE_LEVEL: Final = 0x00080052
RETRIEVE_AE_TITLE: Final = 0x00080054

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
LONG_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT: Final = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI"}
    | {"UL", "US"}
)


@lru_cache(maxsize=4096)
def dictionary_vr(tag: int) -> str | None:
    """The VR of a tag by PS3.6, the first where there is a choice; None if it has none."""
    try:
        return str(dictionary_VR(tag))[:2]
    except KeyError:
        return None


def decode_identifier(data: bytes, syntax: TransferSyntax) -> tuple[QueryKey, ...]:
    """The keys of an identifier, in order; group lengths left out, the character set applied.

    Raises:
        MalformedDataSet: not a data set in this syntax: order, lengths, delimiters, an unknown VR.
        DataSetLimitExceeded: more elements or levels than a query needs.
    """
    reader = _Reader(data, syntax)
    return reader.keys(len(data), DEFAULT_REPERTOIRE, 0)


class _Reader:
    """A position in an identifier. Every step is checked against what is there."""

    def __init__(self, data: bytes, syntax: TransferSyntax) -> None:
        self._data = data
        self._explicit = syntax.explicit
        order = "<" if syntax.little_endian else ">"
        self._order = order
        self._tag = struct.Struct(order + "HH")
        self._short = struct.Struct(order + "H")
        self._long = struct.Struct(order + "L")
        self._elements = 0
        self.position = 0

    def header(self) -> tuple[int, str | None, int]:
        """Tag, VR (None in implicit VR and for items) and length of the next element (PS3.5 7.1)."""
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise DataSetLimitExceeded(f"more than {MAX_ELEMENTS} elements in an identifier")
        group, element = self._tag.unpack(self.take(4))
        tag = group << 16 | element
        if not self._explicit or group == 0xFFFE:
            return tag, None, self._long.unpack(self.take(4))[0]
        vr = self.take(2).decode("latin-1")
        if vr in _SHORT:
            return tag, vr, self._short.unpack(self.take(2))[0]
        if vr not in LONG_VRS:
            raise MalformedDataSet("an element of the identifier has no VR of PS3.5 6.2")
        self.take(2)
        length = self._long.unpack(self.take(4))[0]
        if length == _UNDEFINED and vr != "SQ":
            raise MalformedDataSet("an element of the identifier that is no sequence has no length")
        return tag, vr, length

    def take(self, length: int) -> bytes:
        """The next bytes."""
        end = self.position + length
        if length % 2 or end > len(self._data):
            raise MalformedDataSet("the identifier ends inside an element, or one has an odd length")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def numbers(self, value: bytes, code: str) -> str:
        """Binary numbers as the text that the index compares."""
        size = struct.calcsize(self._order + code)
        if len(value) % size:
            raise MalformedDataSet("a number of the identifier is cut short")
        return "\\".join(str(number) for (number,) in struct.iter_unpack(self._order + code, value))

    def keys(self, end: int, encodings: Repertoire, depth: int, *, delimited: bool = False) -> tuple[QueryKey, ...]:
        """The keys up to ``end``, or up to the delimiter of an item."""
        keys: list[QueryKey] = []
        previous = -1
        while delimited or self.position < end:
            tag, vr, length = self.header()
            if delimited and tag == _ITEM_END and not length:
                break
            if tag <= previous or tag >> 16 == 0xFFFE:
                raise MalformedDataSet("the elements of the identifier are not in order")
            previous = tag
            known = dictionary_vr(tag) or vr or "UN"
            if vr == "SQ" or length == _UNDEFINED or (vr is None and known == "SQ"):
                items = self.items(length, end, encodings, depth + 1)
                keys.append(QueryKey(tag, "SQ", None, items))
                continue
            value = self.take(length)
            if self.position > end:
                raise MalformedDataSet("an element of the identifier reaches out of its item or sequence")
            if tag & 0xFFFF == 0:
                continue
            if tag == CHARACTER_SET:
                encodings = repertoire(value)
            number = NUMBERS.get(known)
            text = self.numbers(value, number) if number else decode(value, encodings, name=known == "PN")
            keys.append(QueryKey(tag, known, text or None))
        return tuple(keys)

    def items(self, length: int, limit: int, encodings: Repertoire, depth: int) -> tuple[tuple[QueryKey, ...], ...]:
        """The items of a sequence whose header was read."""
        if depth > MAX_DEPTH:
            raise DataSetLimitExceeded(f"sequences more than {MAX_DEPTH} deep in an identifier")
        end = self._end(length, limit)
        items: list[tuple[QueryKey, ...]] = []
        while end is None or self.position < end:
            tag, _, length = self.header()
            if end is None and tag == _SEQUENCE_END and not length:
                break
            if tag != _ITEM:
                raise MalformedDataSet("a sequence of the identifier holds something else than items")
            inside = self._end(length, limit if end is None else end)
            last = limit if end is None else end
            items.append(self.keys(last if inside is None else inside, encodings, depth, delimited=inside is None))
        if end is not None and self.position > end:
            raise MalformedDataSet("an item of the identifier reaches out of its sequence")
        return tuple(items)

    def _end(self, length: int, limit: int) -> int | None:
        if length == _UNDEFINED:
            return None
        if length % 2 or self.position + length > limit:
            raise MalformedDataSet("an item of the identifier is longer than what holds it")
        return self.position + length
