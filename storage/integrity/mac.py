"""What a signature covers, and the byte stream that its MAC is calculated over (PS3.3 C.12.1.1.3.1).

The stream is explicit VR little endian, values with the padding that is due (`padded_as_due`), except that sequences,
items and fragments have no length, items no delimiter and every sequence ends with the tag of its delimiter (PS3.3
C.12.1.1.3.1.2). What may not be signed is left out.
"""

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from storage.instance import Uncovered
from storage.integrity.element_events import (
    ELEMENT,
    FRAGMENT,
    ITEM_END,
    ITEM_START,
    LARGE,
    LARGE_FRAGMENT,
    PIXELS_START,
    SEQUENCE_START,
    Event,
)
from storage.integrity.explicit_little import header
from storage.integrity.value_representation import BLANK, MAX_SHORT, TEXT, padded_as_due

if TYPE_CHECKING:
    from hashlib import _Hash

MAC_PARAMETERS: Final = 0x4FFE0001
DIGITAL_SIGNATURES: Final = 0xFFFAFFFA

ITEM_MARK: Final = b"\xfe\xff\x00\xe0"
SEQUENCE_END_MARK: Final = b"\xfe\xff\xdd\xe0"
UNKNOWN_VR: Final = (b"UN", BLANK)

NOT_SIGNABLE: Final = "may not be signed (PS3.3 C.12.1.1.3.1.1)"
VR_UNKNOWN: Final = "its VR is unknown (PS3.3 C.12.1.1.3.1.1)"
HOLDS_UNKNOWN: Final = "an element within has an unknown VR (PS3.3 C.12.1.1.3.1.1)"
PIXELS_NOT_OB: Final = "encapsulated Pixel Data is not OB (PS3.5 A.4)"
OVERPADDED: Final = "a long text with more padding than PS3.5 6.2 allows"
HOLDS_OVERPADDED: Final = "a long text within has more padding than PS3.5 6.2 allows"

_SPACE: Final = 0x20


def signable(tag: int) -> bool:
    """Whether PS3.3 C.12.1.1.3.1.1 lets the tag be signed, its VR apart."""
    return (
        tag > 0x00080001 and tag & 0xFFFF != 0 and tag != MAC_PARAMETERS and tag >> 16 != 0xFFFA and tag != 0xFFFCFFFC
    )


class SignableMac:
    """SHA-256 over every signable top-level element, from explicit VR little endian events.

    Plain elements are hashed in runs, as they stand, where their padding is as due. A top-level sequence is hashed from
    a copy of the state, which is taken back if something within turns out to forbid signing it.
    """

    def __init__(self) -> None:
        self.hash: _Hash = sha256()
        self.signed: list[int] = []
        self.uncovered: list[Uncovered] = []
        self._saved: _Hash = self.hash
        self._top = 0
        """Tag of the top-level sequence or Pixel Data that is open."""
        self._depth = 0
        self._forbidden = False
        """The open top-level sequence is not covered."""
        self._inner = 0
        """Depth of an open item-level signature sequence, of which nothing is signed; 0 if none."""
        self._piece_counts = False
        self._before: _Hash | None = None
        """The state before a large text value that may have to stay unsigned."""
        self._ends = b""
        """The last two bytes of that value, so far."""

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """Hash what is signable of one window."""
        self._settle()
        parts: list[bytes] = []
        run = -1
        """Where the run of elements that are hashed as they stand began; negative if none is open."""
        after = 0
        for event in events:
            kind, tag, vr, start, value, end = event
            counts = True
            if kind > LARGE:
                pass
            elif self._depth:
                counts = self._nested(tag, vr, parts)
            elif vr in UNKNOWN_VR or tag < 0x00080002 or not tag & 0xFFFF or tag >= 0xFFFA0000:
                counts = self._unusual(tag, vr)
            else:
                self.signed.append(tag)
            if kind == ELEMENT and counts and window[end - 1] != _SPACE and vr != b"UI":
                if run < 0:
                    run = start
                after = end
                continue
            if kind == ELEMENT and counts:
                told = padded_as_due(vr, window[value:end])
                if told == window[value:end]:
                    if run < 0:
                        run = start
                    after = end
                    continue
            if run >= 0 and not (self._forbidden and self._depth):
                parts.append(window[run:start])
            run = -1
            if kind == ELEMENT:
                if counts and end - value <= MAX_SHORT:
                    parts += (header(tag, vr, len(told)), told)
                elif counts:
                    self._withdraw(parts)
            elif kind == LARGE:
                self._piece_counts = counts
                if counts:
                    self._large(vr, window[start:value], parts)
            else:
                self._structure(event, window, parts)
        if run >= 0:
            parts.append(window[run:after])
        self.hash.update(b"".join(parts))

    def finish(self) -> None:
        """The data set has ended; `hash`, `signed` and `uncovered` are final."""
        self._settle()

    def _large(self, vr: bytes, head: bytes, parts: list[bytes]) -> None:
        """A value that follows in pieces. If it is text, its last characters decide whether it can be signed."""
        if vr in TEXT:
            self.hash.update(b"".join(parts))
            parts.clear()
            self._before = self.hash.copy()
            self._ends = b""
        parts.append(head)

    def _settle(self) -> None:
        if self._before is None:
            return
        if self._ends == b"  ":
            self.hash = self._before
            self._withdraw([])
        self._before = None

    def _withdraw(self, parts: list[bytes]) -> None:
        """The value just met cannot be told with its padding as due, because its length has gone out already."""
        if self._depth:
            self._forbid(HOLDS_OVERPADDED, parts)
        else:
            self.uncovered.append(Uncovered(self.signed.pop(), OVERPADDED))

    def piece(self, data: memoryview) -> None:
        """Hash a piece of the large value or fragment that the last event announced, if it is signable."""
        if self._piece_counts:
            self.hash.update(data)
            if self._before is not None:
                self._ends = (self._ends + bytes(data[-2:]))[-2:]

    def _unusual(self, tag: int, vr: bytes) -> bool:
        """A plain top-level element that may have to stay unsigned."""
        if vr in UNKNOWN_VR:
            self.uncovered.append(Uncovered(tag, VR_UNKNOWN))
        elif not signable(tag):
            self.uncovered.append(Uncovered(tag, NOT_SIGNABLE))
        else:
            self.signed.append(tag)
            return True
        return False

    def _nested(self, tag: int, vr: bytes, parts: list[bytes]) -> bool:
        """Whether a plain element within a sequence counts."""
        if self._forbidden:
            return False
        if vr in UNKNOWN_VR:
            self._forbid(HOLDS_UNKNOWN, parts)
            return False
        return not self._inner and signable(tag)

    def _structure(self, event: Event, window: bytes, parts: list[bytes]) -> None:
        """Everything but plain elements."""
        kind, _, _, _, value, end = event
        counts = not self._forbidden and not self._inner
        if kind in (SEQUENCE_START, PIXELS_START):
            self._open(event, window, parts)
        elif kind == ITEM_START:
            if counts:
                parts.append(ITEM_MARK)
        elif kind in (FRAGMENT, LARGE_FRAGMENT):
            self._piece_counts = counts
            if counts:
                parts.append(ITEM_MARK)
                if kind == FRAGMENT:
                    parts.append(window[value:end])
        elif kind != ITEM_END:
            if counts:
                parts.append(SEQUENCE_END_MARK)
            self._close()

    def _open(self, event: Event, window: bytes, parts: list[bytes]) -> None:
        kind, tag, vr, start, _, _ = event
        allowed = signable(tag)
        if not self._depth:
            self.hash.update(b"".join(parts))
            parts.clear()
            self._saved = self.hash.copy()
            self._top = tag
            if tag in (MAC_PARAMETERS, DIGITAL_SIGNATURES):
                self._forbidden = True
            elif not allowed:
                self._forbid(NOT_SIGNABLE, parts)
            elif kind == SEQUENCE_START and vr in UNKNOWN_VR:
                self._forbid(VR_UNKNOWN, parts)
        if not self._forbidden:
            if kind == SEQUENCE_START and vr in UNKNOWN_VR:
                self._forbid(HOLDS_UNKNOWN, parts)
            elif kind == PIXELS_START and vr != b"OB":
                self._forbid(PIXELS_NOT_OB, parts)
            elif not allowed:
                # A signature of an item: adding one must not break the signatures around it (PS3.3 C.12.1.1.3.1.1).
                self._inner = self._inner or self._depth
            elif not self._inner:
                parts.append(window[start : start + 8])
        self._depth += 1

    def _close(self) -> None:
        self._depth -= 1
        if self._inner and self._depth == self._inner:
            self._inner = 0
        if not self._depth:
            if not self._forbidden:
                self.signed.append(self._top)
            self._forbidden = False

    def _forbid(self, reason: str, parts: list[bytes]) -> None:
        """Forget what was hashed of the open top-level sequence."""
        self.hash = self._saved
        parts.clear()
        self._forbidden = True
        self.uncovered.append(Uncovered(self._top, reason))
