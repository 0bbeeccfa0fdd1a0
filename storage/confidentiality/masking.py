"""A data set rewritten, as it streams past, without what a mask hides. Bytes in, bytes out; nothing is held back.

1. A hidden attribute has zero length, at every level; a UID that is hidden is replaced by another.
2. Gone at every level: private elements, for nobody knows what they repeat; elements of unknown content (VR UN); copies
   of what was there before or encrypted (0400,0500), (0400,0550), (0400,0561); overlays and curves; trailing padding;
   group lengths, which would be wrong; signatures, which are not valid any more (PS3.15 A.2).
3. SOP Instance UIDs, its own and those it refers to, are replaced by their masked ones (PS3.15 E.1.1).
4. The object says that it was masked.
5. What cannot be masked is refused: text burned into the pixels, encapsulated documents, structured content.

Sequences leave with undefined lengths, since what is in them has become shorter.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from storage.confidentiality.mask import Mask
from storage.errors import CannotBeMasked
from storage.integrity.element_events import (
    ELEMENT,
    FRAGMENT,
    ITEM,
    ITEM_DELIMITER,
    ITEM_END,
    ITEM_START,
    LARGE,
    PIXELS_START,
    SEQUENCE_DELIMITER,
    SEQUENCE_END,
    SEQUENCE_START,
    UNDEFINED,
    Event,
    StreamLimits,
)
from storage.integrity.element_stream import ElementStream
from storage.integrity.value_representation import FORM, IMPLICIT_VR, SHORT
from storage.transfer_syntax import TransferSyntax

_SOP_INSTANCE: Final = 0x00080018
_REFERENCED_INSTANCE: Final = 0x00081155
_BURNED_IN: Final = 0x00280301
_CONTENT: Final = frozenset({0x00420011, 0x0040A730})
"""Encapsulated Document, and the Content Sequence of structured reports."""
_REMOVED: Final = frozenset({0x04000500, 0x04000550, 0x04000561, 0x4FFE0001, 0xFFFAFFFA, 0xFFFCFFFC})
_MARKERS: Final = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303})
_UNBOUNDED: Final = StreamLimits(elements=1 << 62, top_level_elements=1 << 62)
"""Kept data sets passed their bounds when they came in."""

_KEPT, _EMPTIED, _GONE, _RENAMED = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class _Encoding:
    explicit: bool
    big: bool

    def marker(self, tag: int, length: int) -> bytes:
        """The header of an item, or a delimiter (PS3.5 7.5)."""
        return Struct(">HHI" if self.big else "<HHI").pack(tag >> 16, tag & 0xFFFF, length)

    def resized(self, header: bytes, vr: bytes, length: int) -> bytes:
        """An element's header with another length."""
        size = 2 if self.explicit and FORM.get(vr, SHORT) == SHORT else 4
        return header[:-size] + length.to_bytes(size, "big" if self.big else "little")


class Masker:
    """Reads one data set, not deflated, and gives it out again masked."""

    def __init__(self, syntax: TransferSyntax, mask: Mask) -> None:
        self._mask = mask
        self._stream = ElementStream(syntax, self, _UNBOUNDED)
        self._levels = [_Encoding(syntax.explicit, not syntax.little_endian)]
        self._skipping = 0
        """Depth inside a sequence that is left out; 0 outside of one."""
        self._pixels = False
        self._pieces = True
        """Whether the large value that comes in pieces is kept."""
        self._out: list[bytes] = []
        self._to_insert = _encoded_markers(mask, self._levels[0])

    def feed(self, data: bytes | memoryview) -> bytes:
        """The next masked bytes.

        Raises:
            CannotBeMasked: it holds what no mask reaches.
            MalformedDataSet, DataSetLimitExceeded: it is no data set that is kept.
        """
        self._stream.feed(data)
        return self._taken()

    def finish(self) -> bytes:
        """The last masked bytes. Raises as `feed`."""
        self._stream.finish()
        self._insert_before(1 << 32)
        return self._taken()

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """See `storage.integrity.element_events.Consumer`."""
        for event in events:
            kind = event[0]
            if kind in (SEQUENCE_START, SEQUENCE_END, ITEM_START, ITEM_END):
                self._structure(window, event)
            elif kind in (ELEMENT, LARGE):
                self._element(window, event)
            else:
                self._pixel_data(window, event)

    def piece(self, data: memoryview) -> None:
        """See `storage.integrity.element_events.Consumer`."""
        if self._pieces:
            self._out.append(bytes(data))

    def _taken(self) -> bytes:
        taken = b"".join(self._out)
        self._out.clear()
        return taken

    def _element(self, window: bytes, event: Event) -> None:
        kind, tag, vr, start, value, end = event
        if self._skipping:
            self._pieces = False
            return
        fate = self._fate(tag, vr)
        self._pieces = fate == _KEPT
        if fate == _GONE:
            return
        if tag == _BURNED_IN and window[value:end].strip(b" \0").upper() == b"YES":
            raise CannotBeMasked("its pixels have text burned into them")
        if fate == _KEPT:
            self._out.append(window[start : end if kind == ELEMENT else value])
            return
        replacement = self._mask.renamed_all(window[value:end]) if fate == _RENAMED and kind == ELEMENT else b""
        self._out.append(self._levels[-1].resized(window[start:value], vr, len(replacement)) + replacement)

    def _structure(self, window: bytes, event: Event) -> None:
        kind, tag, vr, start, value, _ = event
        if self._skipping:
            self._skipping += {SEQUENCE_START: 1, SEQUENCE_END: -1}.get(kind, 0)
            return
        encoding = self._levels[-1]
        if kind == ITEM_START:
            self._out.append(encoding.marker(ITEM, UNDEFINED))
        elif kind == ITEM_END:
            self._out.append(encoding.marker(ITEM_DELIMITER, 0))
        elif kind == SEQUENCE_END:
            self._out.append(encoding.marker(SEQUENCE_DELIMITER, 0))
            self._levels.pop()
        else:
            fate = self._fate(tag, b"SQ")
            header = window[start:value]
            if fate == _KEPT:
                self._out.append(encoding.resized(header, vr, UNDEFINED))
                # The value of UN with undefined length is implicit VR little endian (PS3.5 6.2.2 note 2).
                self._levels.append(encoding if vr == b"SQ" else _Encoding(explicit=False, big=False))
                return
            self._skipping = 1
            if fate == _EMPTIED:
                self._out.append(encoding.resized(header, vr, 0))

    def _pixel_data(self, window: bytes, event: Event) -> None:
        kind, tag, _, start, value, end = event
        if kind == PIXELS_START:
            self._pixels = not self._skipping and self._fate(tag, b"OB") == _KEPT
        self._pieces = self._pixels
        if self._pixels:
            self._out.append(window[start : end if kind == FRAGMENT else value])

    def _fate(self, tag: int, vr: bytes) -> int:
        """What becomes of an element at the present level; what is to be inserted before it comes first."""
        top = len(self._levels) == 1
        if top:
            self._insert_before(tag)
        if tag in _CONTENT:
            raise CannotBeMasked("it holds a document or structured content")
        if tag in self._mask.hidden:
            return _RENAMED if (vr if self._levels[-1].explicit else IMPLICIT_VR.get(tag)) == b"UI" else _EMPTIED
        group = tag >> 16
        if group & 1 or tag & 0xFFFF == 0 or tag in _REMOVED or (top and tag in _MARKERS):
            return _GONE
        if group & 0xFFE0 in (0x5000, 0x6000) or (vr == b"UN" and IMPLICIT_VR.get(tag, b"SQ") == b"SQ"):
            return _GONE
        return _RENAMED if tag in (_SOP_INSTANCE, _REFERENCED_INSTANCE) else _KEPT

    def _insert_before(self, tag: int) -> None:
        while self._to_insert and self._to_insert[-1][0] < tag:
            self._out.append(self._to_insert.pop()[1])


def masked(chunks: Iterator[bytes], syntax: TransferSyntax, mask: Mask) -> Iterator[bytes]:
    """A whole data set, masked. Raises as `Masker.feed`."""
    masker = Masker(syntax, mask)
    for chunk in chunks:
        if piece := masker.feed(chunk):
            yield piece
    if piece := masker.finish():
        yield piece


def _encoded_markers(mask: Mask, encoding: _Encoding) -> list[tuple[int, bytes]]:
    """Each marker by its tag, the last one first."""
    encoded = []
    for element in mask.markers():
        buffer, alone = DicomBytesIO(), Dataset()
        buffer.is_little_endian, buffer.is_implicit_VR = not encoding.big, not encoding.explicit
        alone.add(element)
        write_dataset(buffer, alone)
        encoded.append((int(element.tag), buffer.getvalue()))
    return encoded[::-1]
