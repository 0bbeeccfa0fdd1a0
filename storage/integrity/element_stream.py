"""An incremental tokenizer over the raw bytes of a data set (PS3.5 7): bytes in, events out, no value decoded.

It is strict, because what two readers may read differently is not evidence: tags ascend and lengths are even at every
level (PS3.5 7.1, 7.5), an undefined length stands only where it is legal, nothing is cut off and nothing is left over.
Two things that real objects break are let through: a VR of two spaces, and Pixel Data that is encapsulated although
the transfer syntax is a native explicit one. Depth, elements and held bytes are bounded and nothing recurses.

Nothing here knows what an element means, except where its encoding depends on it.
"""

from struct import Struct
from time import thread_time
from typing import Final

from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.integrity.element_events import (
    ELEMENT,
    FRAGMENT,
    ITEM,
    ITEM_DELIMITER,
    ITEM_END,
    ITEM_START,
    LARGE,
    LARGE_FRAGMENT,
    PIXEL_DATA,
    PIXEL_REPRESENTATION,
    PIXELS_END,
    PIXELS_START,
    SEQUENCE_DELIMITER,
    SEQUENCE_END,
    SEQUENCE_START,
    UNDEFINED,
    Consumer,
    Event,
    StreamLimits,
)
from storage.integrity.value_representation import (
    FORM,
    IMPLICIT_VR,
    MAX_SHORT,
    SEQUENCE,
    SHORT,
    TEXT,
    US_OR_SS,
    rare_vr,
)
from storage.transfer_syntax import TransferSyntax

_WINDOW: Final = 16 * 1024
"""Bytes that are copied out and tokenized at a time; the pieces of a large value are never copied."""
_HELD: Final = 4096
"""A value up to this long is kept back until it is whole."""
_HELD_TEXT: Final = MAX_SHORT
"""As `_HELD` for the VRs whose padding matters."""
_ENDLESS: Final = 1 << 62
_NO_ELEMENT: Final = 0xFFFE0000
"""Tags from here on are no data elements (PS3.5 7.5, 7.8)."""
_SEQUENCE_VR: Final = (b"SQ", b"UN")
_PIXEL_VR: Final = (b"OB", b"OW", b"UN")

_ELEMENTS, _ITEMS, _FRAGMENTS = 0, 1, 2
"""What is expected next."""


class _Frame:
    """What is being read at one level."""

    __slots__ = ("big", "closes", "expects", "explicit", "last", "limit", "signed")

    def __init__(self, expects: int, limit: int, closes: bool, explicit: bool, big: bool, signed: bool) -> None:
        self.expects = expects
        self.limit = limit
        """Offset in the data set beyond which nothing of it lies."""
        self.closes = closes
        """It ends at ``limit``; else at a delimiter, or with the data set."""
        self.explicit = explicit
        self.big = big
        self.signed = signed
        """Pixel Representation, as far as it is known here, says signed."""
        self.last = -1
        """Tag of the element before."""


_EXPLICIT: Final = (Struct("<HH2sH").unpack_from, Struct(">HH2sH").unpack_from)
_IMPLICIT: Final = (Struct("<HHI").unpack_from, Struct(">HHI").unpack_from)
_LENGTH: Final = (Struct("<I").unpack_from, Struct(">I").unpack_from)


class ElementStream:
    """Reads one data set, not deflated, and tells its consumer what is in it. Any error ends it."""

    def __init__(self, syntax: TransferSyntax, consumer: Consumer, limits: StreamLimits) -> None:
        self._consumer = consumer
        self._limits = limits
        self._frame = _Frame(_ELEMENTS, _ENDLESS, False, syntax.explicit, not syntax.little_endian, False)
        self._stack: list[_Frame] = []
        self._held = bytearray()
        self._need = 8
        """Bytes without which the next event cannot be told, from the first that is not tokenized."""
        self._value_left = 0
        """Bytes of a large value that are to come."""
        self._seen = 0
        self._spent = 0.0
        self.offset = 0
        """Bytes tokenized so far."""

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Read on, in pieces of any size.

        Raises:
            MalformedDataSet: this is not a data set in its transfer syntax.
            DataSetLimitExceeded: it crosses one of the limits.
        """
        view = memoryview(data).cast("B")
        size = len(view)
        at = 0
        held = self._held
        while at < size:
            if self._value_left:
                taken = min(self._value_left, size - at)
                self._consumer.piece(view[at : at + taken])
                self._value_left -= taken
                self.offset += taken
                at += taken
                continue
            carried = len(held)
            if carried + size - at < self._need:
                held += view[at:]
                return
            wide = max(_WINDOW, self._need - carried)
            window = b"".join((held, view[at : at + wide]))
            consumed = self._tokenize(window)
            if not self._value_left and at + wide >= size:
                held[:] = window[consumed:]
                return
            # What was held is part of one element, which the window completes.
            at += consumed - carried
            held.clear()

    def finish(self) -> None:
        """The data set ends here.

        Raises:
            MalformedDataSet: it ends within an element, an item or a sequence.
        """
        if not self._value_left and not self._held:
            self._tokenize(b"")
        if self._value_left or self._held or self._stack:
            raise MalformedDataSet("the data set ends too early")

    def _tokenize(self, window: bytes) -> int:
        """Tell what is in the window; returns how much of it was used up."""
        begun = thread_time()
        events: list[Event] = []
        at = 0
        self._need = 0
        while not self._need and not self._value_left:
            frame = self._frame
            if frame.expects == _ELEMENTS:
                at = (self._explicit if frame.explicit else self._implicit)(frame, window, at, events)
            elif frame.expects == _ITEMS:
                at = self._item(frame, window, at, events)
            else:
                at = self._fragment(frame, window, at, events)
        self._seen += len(events)
        if self._seen > self._limits.elements:
            raise DataSetLimitExceeded(f"more than {self._limits.elements} elements")
        if events:
            self._consumer.events(window, self.offset, events)
        self.offset += at
        self._spent += thread_time() - begun
        if self._spent > self._limits.tokenizer_seconds:
            raise DataSetLimitExceeded(f"more than {self._limits.tokenizer_seconds} s of processor time")
        return at

    def _explicit(self, frame: _Frame, window: bytes, at: int, events: list[Event]) -> int:
        """Elements with explicit VR (PS3.5 7.1.2), until the level changes or the window ends."""
        unpack, form_of, append = _EXPLICIT[frame.big], FORM.get, events.append
        limit = frame.limit - self.offset
        bound = min(limit, len(window))
        last = frame.last
        while at + 8 <= bound:
            group, element, vr, length = unpack(window, at)
            form = form_of(vr)
            tag = group << 16 | element
            value = at + 8
            if form != SHORT:
                frame.last = last
                if form is None:
                    return self._end_of_item(frame, tag, vr, length, at, events)
                if at + 12 > bound:
                    return self._starve(frame, at, 12)
                if length:
                    raise MalformedDataSet(f"reserved bytes are not zero at {tag:08X}")
                value = at + 12
                (length,) = _LENGTH[frame.big](window, at + 8)
                if form == SEQUENCE or length == UNDEFINED:
                    self._descend(frame, (tag, vr, at, value, length), events)
                    return value
            if not last < tag < _NO_ELEMENT:
                raise MalformedDataSet(f"{tag:08X} does not ascend")
            if length & 1:
                raise MalformedDataSet(f"odd length at {tag:08X}")
            end = value + length
            if end > bound:
                frame.last = last
                return self._unfinished(frame, (tag, vr, at, value, length), events)
            append((ELEMENT, tag, vr, at, value, end))
            at = end
            last = tag
        frame.last = last
        return self._starve(frame, at, 8, events)

    def _implicit(self, frame: _Frame, window: bytes, at: int, events: list[Event]) -> int:
        """Elements with implicit VR (PS3.5 7.1.3), until the level changes or the window ends."""
        unpack, vr_of, append = _IMPLICIT[0], IMPLICIT_VR.get, events.append
        limit = frame.limit - self.offset
        bound = min(limit, len(window))
        last = frame.last
        while at + 8 <= bound:
            group, element, length = unpack(window, at)
            tag = group << 16 | element
            value = at + 8
            if not last < tag < _NO_ELEMENT:
                frame.last = last
                return self._end_of_item(frame, tag, b"\0\0", length, at, events)
            vr = vr_of(tag)
            if vr is None:
                vr = rare_vr(tag)
            if vr == US_OR_SS:
                vr = b"SS" if frame.signed else b"US"
            if vr == b"SQ" or length == UNDEFINED:
                frame.last = last
                # Without a VR, an undefined length can only be a sequence's (PS3.5 7.5).
                if vr == b"UN":
                    vr = b"SQ"
                elif vr != b"SQ":
                    raise MalformedDataSet(f"undefined length at {tag:08X}")
                self._descend(frame, (tag, vr, at, value, length), events)
                return value
            if length & 1:
                raise MalformedDataSet(f"odd length at {tag:08X}")
            end = value + length
            if end > bound:
                frame.last = last
                return self._unfinished(frame, (tag, vr, at, value, length), events)
            append((ELEMENT, tag, vr, at, value, end))
            if tag == PIXEL_REPRESENTATION:
                frame.signed = window[value:end] == b"\1\0"
            at = end
            last = tag
        frame.last = last
        return self._starve(frame, at, 8, events)

    def _unfinished(self, frame: _Frame, header: tuple[int, bytes, int, int, int], events: list[Event]) -> int:
        """An element that the window does not hold to its end: wait for it, or tell of it in pieces."""
        tag, vr, at, value, length = header
        if value + length > frame.limit - self.offset:
            raise MalformedDataSet(f"{tag:08X} is longer than what holds it")
        if length <= (_HELD_TEXT if vr in TEXT else _HELD):
            self._need = value + length - at
            return at
        frame.last = tag
        self._value_left = length
        events.append((LARGE, tag, vr, at, value, length))
        return value

    def _starve(self, frame: _Frame, at: int, need: int, events: list[Event] | None = None) -> int:
        """There is no room for another header: the level ends here, or there is more to come, or something is wrong."""
        left = frame.limit - self.offset - at
        if left == 0 and frame.closes and events is not None:
            events.append((ITEM_END, 0, b"", at, at, at))
            self._frame = self._stack.pop()
        elif left < need:
            raise MalformedDataSet("an item ends within an element")
        else:
            self._need = need
        return at

    def _end_of_item(self, frame: _Frame, tag: int, vr: bytes, length: int, at: int, events: list[Event]) -> int:
        """What stands where an element was expected has to be the delimiter of an item (PS3.5 7.5)."""
        if tag != ITEM_DELIMITER or vr != b"\0\0" or length or frame.closes or not self._stack:
            raise MalformedDataSet(f"no element: {tag:08X}")
        events.append((ITEM_END, 0, b"", at, at + 8, at + 8))
        self._frame = self._stack.pop()
        return at + 8

    def _descend(self, frame: _Frame, header: tuple[int, bytes, int, int, int], events: list[Event]) -> None:
        """A sequence or encapsulated Pixel Data begins."""
        tag, vr, at, value, length = header
        if not frame.last < tag < _NO_ELEMENT:
            raise MalformedDataSet(f"{tag:08X} does not ascend")
        frame.last = tag
        if tag == PIXEL_DATA and length == UNDEFINED and vr in _PIXEL_VR:
            kind, inner = PIXELS_START, _Frame(_FRAGMENTS, frame.limit, False, True, frame.big, False)
        elif vr in _SEQUENCE_VR:
            limit = frame.limit
            if length != UNDEFINED:
                limit = self.offset + value + length
                if length & 1 or limit > frame.limit:
                    raise MalformedDataSet(f"wrong length at {tag:08X}")
            # The value of UN with undefined length is a sequence in implicit VR little endian (PS3.5 6.2.2 note 2).
            named = vr == b"SQ"
            kind = SEQUENCE_START
            inner = _Frame(
                _ITEMS, limit, length != UNDEFINED, named and frame.explicit, named and frame.big, frame.signed
            )
        else:
            raise MalformedDataSet(f"undefined length at {tag:08X}")
        if len(self._stack) >= 2 * self._limits.depth:
            raise DataSetLimitExceeded(f"more than {self._limits.depth} sequences within one another")
        events.append((kind, tag, vr, at, value, length))
        self._stack.append(frame)
        self._frame = inner

    def _item(self, frame: _Frame, window: bytes, at: int, events: list[Event]) -> int:
        """One item of a sequence, or the sequence's end (PS3.5 7.5)."""
        left = frame.limit - self.offset - at
        if left == 0 and frame.closes:
            events.append((SEQUENCE_END, 0, b"", at, at, at))
            self._frame = self._stack.pop()
            return at
        if left < 8:
            raise MalformedDataSet("a sequence ends within an item")
        if at + 8 > len(window):
            self._need = 8
            return at
        group, element, length = _IMPLICIT[frame.big](window, at)
        tag = group << 16 | element
        inside = at + 8
        if tag == SEQUENCE_DELIMITER and not length and not frame.closes:
            events.append((SEQUENCE_END, 0, b"", at, inside, inside))
            self._frame = self._stack.pop()
            return inside
        limit = frame.limit if length == UNDEFINED else self.offset + inside + length
        if tag != ITEM or (length & 1 and length != UNDEFINED) or limit > frame.limit:
            raise MalformedDataSet(f"no item: {tag:08X}")
        events.append((ITEM_START, tag, b"", at, inside, length))
        self._stack.append(frame)
        self._frame = _Frame(_ELEMENTS, limit, length != UNDEFINED, frame.explicit, frame.big, frame.signed)
        return inside

    def _fragment(self, frame: _Frame, window: bytes, at: int, events: list[Event]) -> int:
        """One fragment of encapsulated Pixel Data, or its end (PS3.5 A.4)."""
        left = frame.limit - self.offset - at
        if left < 8:
            raise MalformedDataSet("Pixel Data does not end")
        if at + 8 > len(window):
            self._need = 8
            return at
        length: int
        group, element, length = _IMPLICIT[frame.big](window, at)
        tag = group << 16 | element
        value = at + 8
        if tag == SEQUENCE_DELIMITER and not length:
            events.append((PIXELS_END, 0, b"", at, value, value))
            self._frame = self._stack.pop()
            return value
        if tag != ITEM or length & 1 or 8 + length > left:
            raise MalformedDataSet(f"no fragment: {tag:08X}")
        if value + length <= len(window):
            events.append((FRAGMENT, tag, b"", at, value, value + length))
            return value + length
        if length <= _HELD:
            self._need = 8 + length
            return at
        events.append((LARGE_FRAGMENT, tag, b"", at, value, length))
        self._value_left = length
        return value
