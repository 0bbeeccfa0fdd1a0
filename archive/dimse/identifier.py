"""Identifiers on the wire: a requestor's keys in, matches out (PS3.4 C.4.1.1.3, C.4.3.1.3; PS3.5 7).

Both directions are written by hand: what comes in is bounded and strict before anything is made of it, and what goes
out is written thousands of times in a row. Here: encoding only. What a key means is for `storage.index.matching`.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydicom.datadict import dictionary_VR

from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.index.matching import QueryKey
from storage.index.text import DEFAULT_REPERTOIRE, decode, repertoire
from storage.transfer_syntax import TransferSyntax

MAX_ELEMENTS: Final = 4096
"""Elements and items in one identifier, nested ones included."""
MAX_DEPTH: Final = 16
"""Sequences within sequences."""

CHARACTER_SET: Final = 0x00080005
QUERY_RETRIEVE_LEVEL: Final = 0x00080052
RETRIEVE_AE_TITLE: Final = 0x00080054
INSTANCE_AVAILABILITY: Final = 0x00080056
FAILED_UIDS: Final = 0x00080058

_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD
_LONG: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_SHORT: Final = frozenset(
    {"AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI"}
    | {"UL", "US"}
)
_MAX_SHORT: Final = 0xFFFE
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "L", "SL": "l"}
_NOT_EMPTY: Final = "(items)"
"""Stands for a sequence that asks for something; sequences are not matched, so what it asks is not kept."""


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
    encodings = DEFAULT_REPERTOIRE
    keys = []
    previous = -1
    while reader.position < len(data):
        tag, vr, length = reader.header()
        if tag <= previous or tag >> 16 == 0xFFFE:
            raise MalformedDataSet("the elements of the identifier are not in order")
        previous = tag
        known = dictionary_vr(tag) or vr or "UN"
        if vr == "SQ" or length == _UNDEFINED or (not syntax.explicit and known == "SQ"):
            asks = reader.skip_sequence(length)
            keys.append(QueryKey(tag, "SQ", _NOT_EMPTY if asks else None, sequence=True))
            continue
        value = reader.take(length)
        if tag & 0xFFFF == 0:
            continue
        if tag == CHARACTER_SET:
            encodings = repertoire(value)
        number = _NUMBERS.get(known)
        text = reader.numbers(value, number) if number else decode(value, encodings, name=known == "PN")
        keys.append(QueryKey(tag, known, text or None))
    return tuple(keys)


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
        if vr not in _LONG:
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

    def skip_sequence(self, length: int) -> bool:
        """Pass over a sequence whose header was read; whether any element in it has a value."""
        asks = False
        # What is open, outermost first: (an item rather than a sequence, where it ends or None if undefined).
        opened = [(False, self._end(length, len(self._data)))]
        limit = len(self._data)
        while opened:
            inside_item, end = opened[-1]
            if end is not None and self.position >= end:
                if self.position > end:
                    raise MalformedDataSet("an element of the identifier reaches out of its item or sequence")
                opened.pop()
                continue
            tag, vr, length = self.header()
            if tag == (_ITEM_END if inside_item else _SEQUENCE_END):
                if end is not None or length:
                    raise MalformedDataSet("a delimiter of the identifier delimits nothing")
                opened.pop()
            elif not inside_item:
                if tag != _ITEM:
                    raise MalformedDataSet("a sequence of the identifier holds something else than items")
                opened.append((True, self._end(length, limit if end is None else end)))
            elif tag >> 16 == 0xFFFE:
                raise MalformedDataSet("a delimiter of the identifier stands where an element should")
            elif vr == "SQ" or length == _UNDEFINED or (vr is None and dictionary_vr(tag) == "SQ"):
                if len(opened) >= 2 * MAX_DEPTH:
                    raise DataSetLimitExceeded(f"sequences more than {MAX_DEPTH} deep in an identifier")
                opened.append((False, self._end(length, limit if end is None else end)))
            else:
                asks = bool(self.take(length)) or asks
        return asks

    def _end(self, length: int, limit: int) -> int | None:
        if length == _UNDEFINED:
            return None
        if length % 2 or self.position + length > limit:
            raise MalformedDataSet("an item of the identifier is longer than what holds it")
        return self.position + length


class ResponseWriter:
    """Encodes the identifiers of one query's responses: everything that is the same in all of them only once.

    A response holds the requested attributes, the level and Retrieve AE Title, and Specific Character Set where a value
    needs one: text is UTF-8 (PS3.4 C.4.1.1.3.2).
    """

    def __init__(
        self, syntax: TransferSyntax, *, level: str, retrieve_ae_title: str, returned: Sequence[int], online: bool
    ) -> None:
        """``returned``: tags to answer with; ``online``: Instance Availability was asked for."""
        self._order = "<" if syntax.little_endian else ">"
        fixed = {QUERY_RETRIEVE_LEVEL: level, RETRIEVE_AE_TITLE: retrieve_ae_title}
        if online:
            fixed[INSTANCE_AVAILABILITY] = "ONLINE"
        self._character_set = _element(CHARACTER_SET, "CS", b"ISO_IR 192", syntax)
        self._elements = []
        for tag in sorted({*fixed, *returned} - {CHARACTER_SET}):
            vr = dictionary_vr(tag)
            if vr is None:
                continue
            value = fixed.get(tag)
            empty = _element(tag, vr, b"" if value is None else _padded(value.encode("ascii"), vr), syntax)
            wide = not syntax.explicit or vr in _LONG
            prefix = empty[: len(empty) - 4 if wide else len(empty) - 2] if value is None else b""
            length = struct.Struct(self._order + ("L" if wide else "H"))
            limit = _UNDEFINED - 1 if wide else _MAX_SHORT
            self._elements.append(
                (tag, empty, prefix, length.pack, b"\0" if vr == "UI" else b" ", limit, _NUMBERS.get(vr))
            )
        self._fixed = frozenset(fixed)

    def encode(self, values: Mapping[int, str | None]) -> bytes:
        """One match. A value that has no form in its VR is answered with zero length, as an unknown one is."""
        parts = [b""]
        ascii_only = True
        for tag, empty, prefix, length, pad, limit, number in self._elements:
            value = values.get(tag) if prefix else None
            if not value:
                parts.append(empty)
                continue
            raw = value.encode("utf-8", "replace") if number is None else self._numbers(value, number)
            if len(raw) % 2:
                raw += pad
            if len(raw) > limit:
                parts.append(empty)
                continue
            ascii_only = ascii_only and value.isascii()
            parts.append(prefix + length(len(raw)) + raw)
        if not ascii_only:
            parts[0] = self._character_set
        return b"".join(parts)

    def _numbers(self, value: str, code: str) -> bytes:
        try:
            return b"".join(struct.pack(self._order + code, int(one)) for one in value.split("\\"))
        except (ValueError, struct.error):
            return b""


def failed_instances(uids: Iterable[str], syntax: TransferSyntax) -> bytes:
    """The identifier of a final C-GET response: Failed SOP Instance UID List (PS3.4 C.4.3.1.3.2).

    Explicit VR gives a UI element 16 bits of length (PS3.5 7.1.2), so there the list ends where that is full.
    """
    limit = _MAX_SHORT if syntax.explicit else _UNDEFINED - 1
    listed: list[str] = []
    size = 0
    for uid in uids:
        size += len(uid) + 1
        if size > limit:
            break
        listed.append(uid)
    return _element(FAILED_UIDS, "UI", _padded("\\".join(listed).encode("ascii"), "UI"), syntax)


def _padded(value: bytes, vr: str) -> bytes:
    return value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)


def _element(tag: int, vr: str, value: bytes, syntax: TransferSyntax) -> bytes:
    order = "<" if syntax.little_endian else ">"
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if not syntax.explicit:
        return head + struct.pack(order + "L", len(value)) + value
    if vr in _LONG:
        return head + vr.encode("ascii") + struct.pack(order + "HL", 0, len(value)) + value
    return head + vr.encode("ascii") + struct.pack(order + "H", len(value)) + value
