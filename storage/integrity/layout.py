"""What is kept of a data set as it streams by: wanted values, and where a signature of ours belongs."""

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.integrity.element_events import (
    ELEMENT,
    ITEM_START,
    LARGE,
    PIXELS_END,
    PIXELS_START,
    SEQUENCE_END,
    SEQUENCE_START,
    UNDEFINED,
    Event,
    StreamLimits,
)
from storage.integrity.mac import DIGITAL_SIGNATURES, MAC_PARAMETERS
from storage.integrity.value_representation import WORD, swapped

MAC_ID: Final = 0x04000005
SIGNATURE: Final = 0x04000120
_ENDLESS: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class SplicePoint:
    """Where one of the two signature sequences is, or would be."""

    offset: int
    """Where a new item goes or, if the sequence is not there, the whole sequence."""
    exists: bool = False
    length_at: int | None = None
    """Where the length field of an existing sequence of defined length is."""
    length: int = 0
    """What that field says."""
    named: bool = True
    """The sequence says SQ; else UN, and all within is implicit VR little endian (PS3.5 6.2.2 note 2)."""


class Layout:
    """Consumes the tokenizer's own events, whatever the encoding; values are kept little endian."""

    def __init__(self, wanted: frozenset[int], big: bool, limits: StreamLimits) -> None:
        self.values: dict[int, tuple[bytes, bytes]] = {}
        self.points: dict[int, SplicePoint] = {}
        self.mac_ids: set[int] = set()
        self.signature_values: list[bytes] = []
        self.signed = False
        """There is a signature at some level."""
        self._wanted = wanted
        self._big = big
        self._limits = limits
        self._depth = 0
        self._marks = [_ENDLESS, DIGITAL_SIGNATURES, MAC_PARAMETERS]
        """Tags of the signature sequences that are still to come, next last."""
        self._sequence = 0
        """Tag of the signature sequence that is open; 0 if none."""
        self._items = 0
        self._kept = 0
        self._collecting: tuple[int, bytes, int, bytearray] | None = None
        """Tag, VR, length and what there is so far of a wanted value that comes in pieces."""

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """Keep what matters of one window."""
        wanted, mark, depth = self._wanted, self._marks[-1], self._depth
        for event in events:
            kind, tag, _, start, _, _ = event
            if kind <= LARGE:
                if depth:
                    if self._sequence and depth == 1 and tag in (MAC_ID, SIGNATURE):
                        self._begin(event, window)
                    continue
                if tag >= mark:
                    mark = self._pass(tag, offset + start)
                    if tag in (MAC_PARAMETERS, DIGITAL_SIGNATURES):
                        raise MalformedDataSet(f"{tag:08X} is not encoded as a sequence")
                if tag in wanted:
                    self._begin(event, window)
            elif kind in (SEQUENCE_START, PIXELS_START):
                if tag == DIGITAL_SIGNATURES:
                    self.signed = True
                if not depth and tag >= mark:
                    mark = self._pass(tag, offset + start)
                    if tag in (MAC_PARAMETERS, DIGITAL_SIGNATURES):
                        self._open(event, offset)
                depth += 1
            elif kind in (SEQUENCE_END, PIXELS_END):
                depth -= 1
                if not depth and self._sequence:
                    self._close(offset + start)
            elif kind == ITEM_START and depth == 1 and self._sequence:
                self._items += 1
                if self._items > self._limits.signatures:
                    raise DataSetLimitExceeded(f"more than {self._limits.signatures} signatures")
        self._depth = depth

    def piece(self, data: memoryview) -> None:
        """A piece of the large value that the last event announced."""
        if self._collecting is None:
            return
        tag, vr, length, so_far = self._collecting
        so_far += data
        if len(so_far) == length:
            self._collecting = None
            self._keep(tag, vr, bytes(so_far))

    def finish(self, length: int) -> None:
        """The data set ended after ``length`` bytes: what did not come goes there."""
        self._pass(_ENDLESS - 1, length)

    def _pass(self, tag: int, at: int) -> int:
        """An element with this tag begins at ``at``, so those with a lower one are not there. Returns the next mark."""
        while self._marks[-1] <= tag:
            mark = self._marks.pop()
            if mark != tag:
                self.points[mark] = SplicePoint(at)
        return self._marks[-1]

    def _open(self, event: Event, offset: int) -> None:
        _, tag, vr, _, value, length = event
        self._sequence = tag
        defined = length != UNDEFINED
        self.points[tag] = SplicePoint(
            offset=0,
            exists=True,
            length_at=offset + value - 4 if defined else None,
            length=length if defined else 0,
            named=vr == b"SQ",
        )

    def _close(self, at: int) -> None:
        self.points[self._sequence] = replace(self.points[self._sequence], offset=at)
        self._sequence = 0

    def _begin(self, event: Event, window: bytes) -> None:
        """A value that is to be kept."""
        kind, tag, vr, _, value, end = event
        length = end - value if kind == ELEMENT else end
        self._kept += length
        if length > self._limits.value or self._kept > self._limits.values:
            raise DataSetLimitExceeded(f"value of {tag:08X}")
        if kind == ELEMENT:
            self._keep(tag, vr, window[value:end])
        else:
            self._collecting = (tag, vr, length, bytearray())

    def _keep(self, tag: int, vr: bytes, value: bytes) -> None:
        if self._big and vr in WORD and (not self._sequence or self.points[self._sequence].named):
            value = swapped(value, WORD[vr])
        if not self._sequence:
            self.values[tag] = (vr, value)
        elif tag == SIGNATURE:
            if self._sequence == DIGITAL_SIGNATURES:
                self.signature_values.append(sha256(value).digest())
        elif len(value) == 2:
            self.mac_ids.add(int.from_bytes(value, "little"))
