"""The canonical digest: what makes two copies of a data set the same object, whatever native syntax each came in.

SHA-256 over the data set in implicit VR little endian, every sequence and item with undefined length, without what
says nothing of the object itself: group lengths at any level and, at the top level, MAC Parameters Sequence
(4FFE,0001), Digital Signatures Sequence (FFFA,FFFA) and Data Set Trailing Padding (FFFC,FFFC).
"""

from hashlib import sha256
from struct import Struct
from typing import Final

from storage.integrity.element_events import (
    ELEMENT,
    FRAGMENT,
    ITEM_END,
    ITEM_START,
    LARGE,
    LARGE_FRAGMENT,
    PIXELS_END,
    PIXELS_START,
    SEQUENCE_END,
    SEQUENCE_START,
    Event,
)

LEFT_OUT: Final = frozenset({0x4FFE0001, 0xFFFAFFFA, 0xFFFCFFFC})

_LENGTH: Final = Struct("<I").pack
_SMALL: Final = tuple(_LENGTH(length) for length in range(256))
_UNDEFINED: Final = b"\xff\xff\xff\xff"
_ITEM: Final = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
_ITEM_END: Final = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00"
_SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"


class CanonicalDigest:
    """Consumes explicit VR little endian events; `digest` after the last."""

    def __init__(self) -> None:
        self._hash = sha256()
        self._depth = 0
        self._skipped = 0
        """Depth inside a sequence that is left out; 0 if in none."""
        self._piece_counts = False

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """Digest what counts of one window."""
        parts: list[bytes] = []
        add = parts.append
        depth, skipped = self._depth, self._skipped
        for kind, tag, _, start, value, end in events:
            if kind == ELEMENT:
                if skipped or not tag & 0xFFFF or (tag in LEFT_OUT and not depth):
                    continue
                size = end - value
                add(window[start : start + 4])
                add(_SMALL[size] if size < 256 else _LENGTH(size))
                add(window[value:end])
            elif kind == LARGE:
                self._piece_counts = not (skipped or not tag & 0xFFFF or (tag in LEFT_OUT and not depth))
                if self._piece_counts:
                    add(window[start : start + 4] + _LENGTH(end))
            elif kind in (SEQUENCE_START, PIXELS_START):
                if tag in LEFT_OUT and not depth:
                    skipped = 1
                depth += 1
                if not skipped:
                    add(window[start : start + 4] + _UNDEFINED)
            elif kind in (SEQUENCE_END, PIXELS_END):
                depth -= 1
                if not skipped:
                    add(_SEQUENCE_END)
                elif not depth:
                    skipped = 0
            elif kind == LARGE_FRAGMENT:
                self._piece_counts = not skipped
            if skipped:
                continue
            if kind == ITEM_START:
                add(_ITEM)
            elif kind == ITEM_END:
                add(_ITEM_END)
            elif kind == FRAGMENT:
                add(window[start:end])
            elif kind == LARGE_FRAGMENT:
                add(window[start:value])
        self._depth, self._skipped = depth, skipped
        self._hash.update(b"".join(parts))

    def piece(self, data: memoryview) -> None:
        """Digest a piece of the large value or fragment that the last event announced."""
        if self._piece_counts:
            self._hash.update(data)

    def digest(self) -> bytes:
        """The canonical digest of what was consumed."""
        return self._hash.digest()
