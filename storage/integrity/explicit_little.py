"""Any native encoding retold as explicit VR little endian, the one encoding that MACs are calculated over.

PS3.3 C.12.1.1.3.1.1: a MAC Calculation Transfer Syntax is explicit VR little endian, whatever the object came in.
"""

from struct import Struct
from typing import Final

from storage.integrity.element_events import (
    ELEMENT,
    FRAGMENT,
    ITEM,
    ITEM_DELIMITER,
    ITEM_END,
    ITEM_START,
    LARGE,
    LARGE_FRAGMENT,
    PIXELS_END,
    PIXELS_START,
    SEQUENCE_DELIMITER,
    SEQUENCE_END,
    SEQUENCE_START,
    UNDEFINED,
    Consumer,
    Event,
)
from storage.integrity.value_representation import FORM, MAX_SHORT, SHORT, WORD, swapped

_SHORT_HEADER: Final = Struct("<HH2sH").pack
_LONG_HEADER: Final = Struct("<HH2sHI").pack
_ITEM_HEADER: Final = Struct("<HHI").pack
_MARKERS: Final = {
    ITEM_START: _ITEM_HEADER(ITEM >> 16, ITEM & 0xFFFF, UNDEFINED),
    ITEM_END: _ITEM_HEADER(ITEM_DELIMITER >> 16, ITEM_DELIMITER & 0xFFFF, 0),
    SEQUENCE_END: _ITEM_HEADER(SEQUENCE_DELIMITER >> 16, SEQUENCE_DELIMITER & 0xFFFF, 0),
    PIXELS_END: _ITEM_HEADER(SEQUENCE_DELIMITER >> 16, SEQUENCE_DELIMITER & 0xFFFF, 0),
}


def header(tag: int, vr: bytes, length: int) -> bytes:
    """The header of an element in explicit VR little endian (PS3.5 7.1.2)."""
    if FORM[vr] == SHORT:
        return _SHORT_HEADER(tag >> 16, tag & 0xFFFF, vr, length)
    return _LONG_HEADER(tag >> 16, tag & 0xFFFF, vr, 0, length)


class ExplicitLittle:
    """Stands between the tokenizer and a consumer; offsets that it passes on count in its own windows only."""

    def __init__(self, consumer: Consumer, big: bool) -> None:
        self._consumer = consumer
        self._big = big
        self._word = 1
        self._left = 0
        """Bytes of a large value that are to come."""
        self._rest = b""
        """Those of a word that its pieces have cut."""
        self._within_un = 0
        """Sequences that are open within one whose VR is UN: all of it is little endian (PS3.5 6.2.2 note 2)."""

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """Retell one window."""
        parts: list[bytes] = []
        told: list[Event] = []
        at = 0
        for kind, tag, told_vr, _, value, end in events:
            vr = told_vr
            if kind == ELEMENT:
                if end - value > MAX_SHORT and FORM[vr] == SHORT:
                    vr = b"UN"  # PS3.5 6.2.2 note 6: too long for its VR
                content = window[value:end]
                if self._big and vr in WORD and not self._within_un:
                    content = swapped(content, WORD[vr])
                head = header(tag, vr, end - value)
            elif kind == LARGE:
                if end > MAX_SHORT and FORM[vr] == SHORT:
                    vr = b"UN"
                self._word = WORD.get(vr, 1) if self._big and not self._within_un else 1
                self._left, self._rest = end, b""
                content = b""
                head = header(tag, vr, end)
            elif kind in (SEQUENCE_START, PIXELS_START):
                if kind == SEQUENCE_START and (self._within_un or vr == b"UN"):
                    self._within_un += 1
                content = b""
                head = _LONG_HEADER(tag >> 16, tag & 0xFFFF, vr, 0, UNDEFINED)
            elif kind in (FRAGMENT, LARGE_FRAGMENT):
                content = window[value:end] if kind == FRAGMENT else b""
                head = _ITEM_HEADER(ITEM >> 16, ITEM & 0xFFFF, len(content) if kind == FRAGMENT else end)
            else:
                if kind == SEQUENCE_END and self._within_un:
                    self._within_un -= 1
                content = b""
                head = _MARKERS[kind]
            inside = at + len(head)
            after = inside + len(content)
            told.append((kind, tag, vr, at, inside, end if kind in (LARGE, LARGE_FRAGMENT) else after))
            parts += (head, content)
            at = after
        self._consumer.events(b"".join(parts), offset, told)

    def piece(self, data: memoryview) -> None:
        """Retell a piece of a large value, keeping back the words that it cuts."""
        if self._word == 1:
            self._consumer.piece(data)
            return
        self._left -= len(data)
        whole = b"".join((self._rest, data))
        # What is left over of a last word stays as it is, as in a value that came whole.
        cut = len(whole) - len(whole) % self._word if self._left else len(whole)
        self._rest = whole[cut:]
        self._consumer.piece(memoryview(swapped(memoryview(whole)[:cut], self._word)))
