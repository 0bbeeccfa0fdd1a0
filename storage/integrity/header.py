"""What else a data set says beside its pixels: every top-level element that is small enough to be kept for queries.

Sequences are kept as trees, built from the tokenizer's events, so that nobody has to parse them again. Beyond a bound
an element is known to be there and no more. What must never live here: what an element means.
"""

from collections.abc import Collection, Iterable
from typing import Final

from storage.instance import Element, Item
from storage.integrity.element_events import (
    ELEMENT,
    FRAGMENT,
    ITEM_END,
    ITEM_START,
    LARGE,
    PIXELS_END,
    PIXELS_START,
    SEQUENCE_END,
    SEQUENCE_START,
    Event,
    StreamLimits,
)
from storage.integrity.element_stream import ElementStream
from storage.integrity.inflate import Inflater
from storage.integrity.value_representation import WORD, swapped
from storage.transfer_syntax import TransferSyntax

MAX_ELEMENT_BYTES: Final = 65_536
"""Values and headers of one top-level element that is kept."""
MAX_HEADER_BYTES: Final = 1_048_576
"""Of all elements that are kept of one data set."""
MAX_KEPT_ELEMENTS: Final = 8192
"""Elements of one data set that are kept, those within sequences included: each costs memory, however short it is."""
MAX_LARGE_BYTES: Final = 16 * 1024 * 1024
"""Of one element that is read from its object for an answer."""
_HEADER_BYTES: Final = 8
_PIXEL_GROUP: Final = 0x7FE0
_NOT_KEPT: Final = frozenset({0x4FFE0001, 0xFFFAFFFA, 0xFFFCFFFC})
"""MAC parameters, digital signatures and padding: about the data set, not of it."""


def large_elements(
    chunks: Iterable[bytes | memoryview], syntax: TransferSyntax, tags: Collection[int]
) -> dict[int, Element]:
    """Top-level elements of a kept data set, up to `MAX_LARGE_BYTES` each.

    Raises:
        MalformedDataSet, DataSetLimitExceeded: it is not the data set that was kept.
    """
    header = Header((), not syntax.little_endian, only=tags, element_bytes=MAX_LARGE_BYTES)
    stream = ElementStream(syntax, header, StreamLimits())
    inflater = Inflater(StreamLimits()) if syntax.deflated else None
    for chunk in chunks:
        for piece in (chunk,) if inflater is None else inflater.feed(chunk):
            stream.feed(piece)
    stream.finish()
    return header.elements


class Header:
    """Consumes the tokenizer's own events. Values are kept little endian."""

    def __init__(
        self,
        apart: Collection[int],
        big: bool,
        *,
        only: Collection[int] | None = None,
        element_bytes: int = MAX_ELEMENT_BYTES,
    ) -> None:
        """Begin.

        Args:
            apart: tags that somebody else keeps.
            big: the data set is big endian.
            only: the tags to keep; all if None.
            element_bytes: the most that is kept of one element.
        """
        self.elements: dict[int, Element] = {}
        self._apart = apart
        self._big = big
        self._only = only
        self._most = element_bytes
        self._left = MAX_HEADER_BYTES if only is None else element_bytes * len(only)
        self._room = MAX_KEPT_ELEMENTS if only is None else 1 << 62
        self._depth = 0
        self._tree: _Tree | None = None
        """The sequence that is being kept."""
        self._text: tuple[int, bytes, int, bytearray] | None = None
        """Tag, VR, length and what there is so far of a value that comes in pieces."""

    def events(self, window: bytes, _offset: int, events: list[Event]) -> None:
        """Keep what one window holds."""
        depth = self._depth
        elements, apart, only = self.elements, self._apart, self._only
        for event in events:
            kind, tag, vr, _, value, end = event
            if depth:
                if kind >= FRAGMENT and kind != PIXELS_END:
                    continue
                if self._tree is not None and not self._tree.add(event, window):
                    self._leave(self._tree.tag, b"SQ")
                if kind in (SEQUENCE_START, ITEM_START, PIXELS_START):
                    depth += 1
                elif kind in (SEQUENCE_END, ITEM_END, PIXELS_END):
                    depth -= 1
                    if not depth and self._tree is not None:
                        self._room -= self._tree.count
                        self._put(self._tree.tag, b"SQ", tuple(self._tree.items), self._tree.size)
                        self._tree = None
                continue
            kept = tag & 0xFFFF and tag not in apart and tag >> 16 != _PIXEL_GROUP and tag not in _NOT_KEPT
            if only is not None:
                kept = kept and tag in only
            if kind == ELEMENT:
                if kept:
                    size = end - value + _HEADER_BYTES
                    if size <= self._most and size <= self._left and self._room > 0:
                        self._left -= size
                        self._room -= 1
                        elements[tag] = (vr, self._ordered(vr, window[value:end]))
                    else:
                        elements[tag] = (vr, None)
            elif kind == LARGE:
                if kept and self._room > 0 and end <= min(self._most, self._left) - _HEADER_BYTES:
                    self._text = (tag, vr, end, bytearray())
                elif kept:
                    elements[tag] = (vr, None)
            else:
                if kind == SEQUENCE_START and kept:
                    self._tree = _Tree(tag, self._big and vr == b"SQ", min(self._most, self._left), self._room)
                depth = 1
        self._depth = depth

    def piece(self, data: memoryview) -> None:
        """A piece of the large value that the last event announced."""
        if self._tree is not None:
            self._tree.piece(data)
        elif self._text is not None:
            tag, vr, length, so_far = self._text
            so_far += data
            if len(so_far) == length:
                self._text = None
                self._put(tag, vr, self._ordered(vr, bytes(so_far)), length)

    def _put(self, tag: int, vr: bytes, value: bytes | tuple[Item, ...], size: int) -> None:
        self._left -= size + _HEADER_BYTES
        self._room -= 1
        self.elements[tag] = (vr, value)

    def _leave(self, tag: int, vr: bytes) -> None:
        self._tree = None
        self.elements[tag] = (vr, None)

    def _ordered(self, vr: bytes, value: bytes) -> bytes:
        return swapped(value, WORD[vr]) if self._big and vr in WORD else value


class _Tree:
    """One top-level sequence, item by item."""

    __slots__ = ("_big", "_left", "_open", "_pieces", "_room", "count", "items", "size", "tag")

    def __init__(self, tag: int, big: bool, limit: int, room: int) -> None:
        self.tag = tag
        self.items: list[Item] = []
        self.size = 0
        self.count = 0
        self._room = room
        self._big = big
        self._left = limit - _HEADER_BYTES
        self._open: list[tuple[int, bytes, list[Item]] | dict[int, Element]] = [(tag, b"SQ", self.items)]
        """What is open, outermost first: a sequence, an item of it, a sequence in that, …"""
        self._pieces: tuple[int, bytes, int, bytearray] | None = None

    def add(self, event: Event, window: bytes) -> bool:
        """One more event inside the sequence; False if it is more than is kept."""
        kind, tag, vr, _, value, end = event
        self.size += _HEADER_BYTES + (end - value if kind == ELEMENT else end if kind == LARGE else 0)
        self.count += 1
        if self.size > self._left or self.count >= self._room or kind == PIXELS_START:
            return False
        inner = self._open[-1]
        if kind == ITEM_START:
            self._open.append({})
        elif kind == ELEMENT and isinstance(inner, dict):
            inner[tag] = (vr, self._ordered(vr, window[value:end]))
        elif kind == LARGE:
            self._pieces = (tag, vr, end, bytearray())
        elif kind == SEQUENCE_START:
            self._open.append((tag, vr, []))
        elif kind == ITEM_END and isinstance(inner, dict):
            self._open.pop()
            outer = self._open[-1]
            assert isinstance(outer, tuple)
            outer[2].append(tuple((inside, *inner[inside]) for inside in inner))
        elif kind == SEQUENCE_END and isinstance(inner, tuple):
            self._open.pop()
            if self._open and isinstance(outer_item := self._open[-1], dict):
                outer_item[inner[0]] = (b"SQ", tuple(inner[2]))
        return True

    def piece(self, data: memoryview) -> None:
        """A piece of a large value inside the sequence."""
        if self._pieces is None:
            return
        tag, vr, length, so_far = self._pieces
        so_far += data
        if len(so_far) == length:
            self._pieces = None
            inner = self._open[-1]
            assert isinstance(inner, dict)
            inner[tag] = (vr, self._ordered(vr, bytes(so_far)))

    def _ordered(self, vr: bytes, value: bytes) -> bytes:
        """Elements within a sequence that says UN are little endian whatever is around it (PS3.5 6.2.2 note 2)."""
        within_unknown = any(isinstance(level, tuple) and level[1] == b"UN" for level in self._open)
        return swapped(value, WORD[vr]) if self._big and vr in WORD and not within_unknown else value
