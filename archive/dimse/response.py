"""Identifiers as they go out: matches, and lists of what failed (PS3.4 C.4.1.1.3, C.4.3.1.3; PS3.5 7).

Written by hand, since it is done thousands of times in a row. Here: encoding only.
"""

import struct
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

from archive.dimse.character_sets import Encoder, Unencodable, encoders
from archive.dimse.identifier import CHARACTER_SET, LONG_VRS, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, dictionary_vr
from storage.index.elements import INLINE, NUMBERS, VALUE, Document, name_text
from storage.index.finding import Match
from storage.integrity.value_representation import WORD, swapped
from storage.transfer_syntax import TransferSyntax

INSTANCE_AVAILABILITY: Final = 0x00080056
FAILED_UIDS: Final = 0x00080058
_ITEM: Final = 0xFFFEE000
_UNDEFINED: Final = 0xFFFFFFFF
_MAX_SHORT: Final = 0xFFFE


@dataclass(frozen=True, slots=True)
class _Part:
    """One element of every response."""

    tag: int
    vr: str
    at: int
    """Where its value stands in a match; -1 where it never has one."""
    empty: bytes
    """The element with no value, or with the one that it has in every response."""
    pad: bytes
    number: str | None


_SHORT_VALUE: Final = 80
"""Values below this many characters take the shortcut."""
_Shortcut: TypeAlias = tuple[int, tuple[bytes, ...] | None, bytes, bytes]
"""Of one element: its place in a match, what stands before a value of each length, the element empty, its padding."""


class ResponseWriter:
    """Encodes the identifiers of one query's responses: everything that is the same in all of them only once.

    A response holds the requested attributes, the level and Retrieve AE Title, and Specific Character Set where a value
    needs one.
    """

    def __init__(
        self,
        syntax: TransferSyntax,
        *,
        level: str | None,
        retrieve_ae_title: str,
        returned: Sequence[int],
        values: Sequence[int],
        online: bool,
        character_set: bytes = b"",
    ) -> None:
        """Prepare.

        Args:
            syntax: of the presentation context.
            level: the query's; None where its information model has none.
            retrieve_ae_title: ours.
            returned: tags to answer with.
            values: tags of the values of each match, in their order; other returned ones are answered empty.
            online: Instance Availability was asked for.
            character_set: Specific Character Set of the request; empty if it had none.
        """
        self._syntax = syntax
        self._elements = _Elements(syntax)
        self._encoders = encoders(character_set)
        fixed = {RETRIEVE_AE_TITLE: retrieve_ae_title}
        if level is not None:
            fixed[QUERY_RETRIEVE_LEVEL] = level
        if online:
            fixed[INSTANCE_AVAILABILITY] = "ONLINE"
        places = {tag: at for at, tag in enumerate(values)}
        self._parts = [
            self._part(tag, -1 if tag in fixed else places.get(tag, -1), fixed.get(tag, ""))
            for tag in sorted({*fixed, *returned} - {CHARACTER_SET})
            if tag in places or dictionary_vr(tag) is not None
        ]
        self._fast, self._last = self._shortcuts()

    def encode(self, match: Match) -> bytes:
        """One match. A value that has no form in its VR is answered with zero length, as an unknown one is."""
        row = match.row
        parts: list[bytes] = []
        add = parts.append
        for at, heads, empty, pad in self._fast:
            value = row[at]
            if not value:
                add(empty)
                continue
            if type(value) is not str:
                return self._encode_wide(match)
            raw = value.encode()
            length = len(raw)
            if length != len(value) or length >= _SHORT_VALUE or heads is None:
                return self._encode_wide(match)
            add(heads[length])
            add(raw if not length & 1 else raw + pad)
        add(self._last)
        return b"".join(parts)

    def _encode_wide(self, match: Match) -> bytes:
        """A match that is more than ASCII text."""
        for term, encode in self._encoders:
            text = _Text(encode)
            try:
                elements = [self._element(part, match.row, text) for part in self._parts]
            except Unencodable:
                continue
            if text.wide:
                elements.insert(0, self._elements.element(CHARACTER_SET, "CS", term))
            return b"".join(elements)
        raise AssertionError("the last encoder holds everything")

    def _element(self, part: _Part, row: Sequence[Any], text: "_Text") -> bytes:
        value = row[part.at] if part.at >= 0 else None
        if not value:
            return part.empty
        if isinstance(value, str):
            vr, raw = part.vr, self._elements.text(part.vr, value, text)
        else:
            vr, raw = self._elements.value(part.vr, value, text)
        return self._elements.element(part.tag, vr, raw)

    def _shortcuts(self) -> tuple[list[_Shortcut], bytes]:
        """What `encode` goes by: elements that never change are put before the next one that does."""
        fast: list[_Shortcut] = []
        before = b""
        for part in self._parts:
            if part.at < 0:
                before += part.empty
                continue
            heads = _heads(self._syntax, part.tag, part.vr, before) if part.number is None else None
            fast.append((part.at, heads, before + part.empty, part.pad))
            before = b""
        return fast, before

    def _part(self, tag: int, at: int, fixed: str) -> _Part:
        vr = dictionary_vr(tag) or "UN"
        empty = self._elements.element(tag, vr, fixed.encode("ascii"))
        return _Part(tag, vr, at, empty, b"\0" if vr == "UI" else b" ", NUMBERS.get(vr))


@lru_cache(maxsize=1024)
def _heads(syntax: TransferSyntax, tag: int, vr: str, before: bytes) -> tuple[bytes, ...]:
    """What stands before a value of an element, by the value's length without padding."""
    elements = _Elements(syntax)
    even = range(0, _SHORT_VALUE + 1, 2)
    heads = [before + elements.element(tag, vr, b" " * size)[: -size or None] for size in even]
    return tuple(heads[(size + 1) // 2] for size in range(_SHORT_VALUE))


class _Text:
    """Encodes text, and remembers whether any of it needs a character set."""

    __slots__ = ("_encode", "wide")

    def __init__(self, encode: Encoder) -> None:
        self._encode = encode
        self.wide = False

    def __call__(self, text: str, *, name: bool) -> bytes:
        if text.isascii():
            return text.encode("ascii")
        self.wide = True
        return self._encode(text, name)


class _Elements:
    """Elements in one transfer syntax."""

    def __init__(self, syntax: TransferSyntax) -> None:
        self._explicit = syntax.explicit
        self._big = not syntax.little_endian
        self._order = ">" if self._big else "<"

    def element(self, tag: int, vr: str, raw: bytes) -> bytes:
        """A whole element, padded; with no value where it is longer than its VR can say."""
        if len(raw) % 2:
            raw += b"\0" if vr in ("UI", "OB", "UN") else b" "
        head = struct.pack(self._order + "HH", tag >> 16, tag & 0xFFFF)
        if not self._explicit:
            return head + struct.pack(self._order + "L", len(raw)) + raw
        if vr in LONG_VRS:
            return head + vr.encode("ascii") + struct.pack(self._order + "HL", 0, len(raw)) + raw
        if len(raw) > _MAX_SHORT:
            raw = b""
        return head + vr.encode("ascii") + struct.pack(self._order + "H", len(raw)) + raw

    def text(self, vr: str, value: str, text: _Text) -> bytes:
        """A value that the index keeps as text."""
        number = NUMBERS.get(vr)
        if number is None:
            return text(value, name=vr == "PN")
        return self._packed(number, value.split("\\"))

    def value(self, vr: str, element: Mapping[str, Any], text: _Text) -> tuple[str, bytes]:
        """An element of a document: its VR and value. The VR is the one that was sent, where that is one at all."""
        kept = str(element.get("vr", vr))
        vr = kept if kept != "UN" else vr
        if INLINE in element:
            raw = b64decode(element[INLINE])
            return vr, swapped(raw, WORD[vr.encode()]) if self._big and vr.encode() in WORD else raw
        values = element.get(VALUE, [])
        if vr == "SQ":
            return vr, b"".join(self._item(item, text) for item in values)
        if vr == "PN":
            return vr, text("\\".join(name_text(name) for name in values), name=True)
        if vr in NUMBERS:
            return vr, self._packed(NUMBERS[vr], values)
        if vr == "AT":
            halves = [int(tag[at : at + 4], 16) for tag in values for at in (0, 4)]
            return vr, struct.pack(f"{self._order}{len(halves)}H", *halves)
        return vr, text("\\".join("" if value is None else str(value) for value in values), name=False)

    def _item(self, item: Document, text: _Text) -> bytes:
        inside = []
        for name in sorted(item):
            tag = int(name, 16)
            if tag != CHARACTER_SET:
                vr, raw = self.value(dictionary_vr(tag) or "UN", item[name], text)
                inside.append(self.element(tag, vr, raw))
        content = b"".join(inside)
        return struct.pack(self._order + "HHL", _ITEM >> 16, _ITEM & 0xFFFF, len(content)) + content

    def _packed(self, code: str, values: Iterable[Any]) -> bytes:
        kind = float if code in "fd" else int
        try:
            return b"".join(struct.pack(self._order + code, kind(one)) for one in values)
        except (ValueError, TypeError, OverflowError, struct.error):
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
    return _Elements(syntax).element(FAILED_UIDS, "UI", "\\".join(listed).encode("ascii"))
