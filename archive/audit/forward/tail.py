"""Reading the trail beside its writer: from any place on, record by record, each checked against its chain and key.

Nothing is read twice and little at a time, however long the trail is. What the writer has not finished is left for
the next look.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from archive.audit.trail_files import segments_of
from archive.audit.trail_format import (
    HEADER_BYTES,
    MAX_RECORD_BYTES,
    SEGMENT_SUFFIX,
    FrameCodec,
    IncompleteFrame,
    Position,
    TrailRecord,
)
from archive.errors import TrailDamaged

_CHUNK_BYTES: Final = 256 * 1024
_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Place:
    """Between two records: a segment, the offset in it, and where the chain stands there."""

    segment: int
    """Sequence of the segment's first record."""
    offset: int
    position: Position

    @property
    def sequence(self) -> int:
        """Of the last record before this place."""
        return self.position.sequence

    def as_json(self) -> dict[str, Any]:
        """Everything that `from_json` needs."""
        position = self.position
        return {
            "segment": self.segment,
            "offset": self.offset,
            "trail": position.trail_id.hex(),
            "sequence": position.sequence,
            "chain": position.chain.hex(),
            "ledger": position.ledger,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Place":
        """The place that was written. Raises `KeyError`, `TypeError` or `ValueError` where it is none."""
        position = Position(
            bytes.fromhex(value["trail"]), int(value["sequence"]), bytes.fromhex(value["chain"]), int(value["ledger"])
        )
        return cls(int(value["segment"]), int(value["offset"]), position)


class TrailTail:
    """One reader of one trail. Not thread-safe."""

    def __init__(self, folder: Path, key: bytes, place: Place | None = None) -> None:
        """Go on at ``place``, or at the first record there is.

        A place that this trail does not have (the trail is an older copy, or lost what was not yet on stable storage)
        becomes the beginning of that segment, or of the oldest one: records may come again, and none is left out.
        """
        self._folder = folder
        self._codec = FrameCodec(key)
        self._place = place if place is not None and self._fits(place) else None
        self._from = place.segment if place is not None else 0

    def read(self) -> Iterator[tuple[TrailRecord, Place]]:
        """The records that have come since, a bounded number of them; none where there is nothing new.

        Raises:
            TrailDamaged: a record is not what was written, or segments are missing; nothing after it is readable.
        """
        place = self._place or self._begin()
        if place is None:
            return
        # 1 Whether the segment is complete is asked before it is read: what the writer appended until it began the
        #   next one is read now.
        successor = self._path(place.sequence + 1)
        complete = place.segment != place.sequence + 1 and successor.exists()
        data = self._data(place)
        if data is None:
            # Removed lawfully, with everything before it.
            self._place = None
            yield from self.read()
            return
        self._place = place
        for record, position, end in self._complete(data, place.position):
            self._place = Place(place.segment, place.offset + end, position)
            yield record, self._place
        # 2 Where nothing came of it and there is a next segment, that one begins where this one ends.
        if self._place == place and complete:
            self._place = self._enter(successor, place.position)
            yield from self.read()

    def _begin(self) -> Place | None:
        """The start of the segment that we were in, or of the oldest one that there is."""
        present = segments_of(self._folder)
        if not present:
            return None
        wanted = self._path(self._from)
        return self._enter(wanted if wanted in present else present[0], None)

    def _enter(self, segment: Path, expected: Position | None) -> Place | None:
        with segment.open("rb") as file:
            header = file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return self._place  # being made at this moment
        position = self._codec.open_header(header)
        if expected is not None and position != expected:
            raise TrailDamaged(f"the audit trail is interrupted before record {position.sequence + 1}")
        return Place(position.sequence + 1, HEADER_BYTES, position)

    def _data(self, place: Place) -> bytes | None:
        """A bounded piece of the segment from there, with at least one frame if one is there; None: it is removed."""
        path = self._path(place.segment)
        try:
            with path.open("rb") as file:
                data = os.pread(file.fileno(), _CHUNK_BYTES, place.offset)
                if len(data) == _CHUNK_BYTES and not self._begins_with_frame(data):
                    data = os.pread(file.fileno(), _LENGTH.size + MAX_RECORD_BYTES, place.offset)
                return data
        except FileNotFoundError:
            return None

    @staticmethod
    def _begins_with_frame(data: bytes) -> bool:
        return int.from_bytes(data[:4], "big") + 4 <= len(data)

    def _complete(self, data: bytes, position: Position) -> Iterator[tuple[TrailRecord, Position, int]]:
        """The frames that are there as a whole."""
        try:
            yield from self._codec.records(data, position)
        except IncompleteFrame:
            return

    def _fits(self, place: Place) -> bool:
        """Whether the trail has this place: the chain up to there is computed again, within its segment."""
        try:
            start = self._enter(self._path(place.segment), None)
            with self._path(place.segment).open("rb") as file:
                data = memoryview(file.read(place.offset))
        except (OSError, TrailDamaged):
            return False
        if start is None or len(data) < place.offset:
            return False
        position, offset = start.position, start.offset
        while offset + _LENGTH.size <= place.offset:
            end = offset + _LENGTH.size + _LENGTH.unpack_from(data, offset)[0]
            position = position.after(bytes(data[offset:end]), place.position.ledger)
            offset = end
        reached = (position.trail_id, position.sequence, position.chain, offset)
        return reached == (place.position.trail_id, place.sequence, place.position.chain, place.offset)

    def _path(self, first: int) -> Path:
        """Of the segment whose first record has this sequence."""
        return self._folder / f"{first:016d}{SEGMENT_SUFFIX}"


def newest_sequence(folder: Path) -> int:
    """Of the last complete record in the trail, without opening any; 0 in an empty one."""
    present = segments_of(folder)
    if not present:
        return 0
    data = present[-1].read_bytes()
    sequence, offset = int(present[-1].stem) - 1, HEADER_BYTES
    while offset + _LENGTH.size <= len(data):
        offset += _LENGTH.size + _LENGTH.unpack_from(data, offset)[0]
        sequence += offset <= len(data)
    return sequence
