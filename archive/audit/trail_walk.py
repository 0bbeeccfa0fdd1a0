"""Reading the trail from its first kept record to its last, segment by segment, and naming the first broken link."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from archive.audit.removal import Removal, read_removals
from archive.audit.trail_files import segment_name, segments_of
from archive.audit.trail_format import HEADER_BYTES, FrameCodec, IncompleteFrame, Position, TrailRecord
from archive.errors import TrailDamaged


@dataclass(frozen=True, slots=True)
class Step:
    """One record where it stands."""

    segment: str
    """The file's name."""
    record: TrailRecord
    before: Position
    after: Position


class TrailWalk:
    """One reading of the trail. Iterate once; every record is checked against its chain and key."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._codec = FrameCodec(key)
        self.position: Position | None = None
        """Behind the last record read so far."""

    def __iter__(self) -> Iterator[Step]:
        """Every record in order.

        Raises:
            IncompleteFrame: the last segment ends inside a frame (an append going on, or cut short by a crash).
            TrailDamaged: anything else that is not what was written; the text begins with the segment's name.
        """
        present = segments_of(self._folder)
        for segment in present:
            data = self._read(segment)
            if data is None:
                continue
            try:
                yield from self._segment(segment.name, data)
            except IncompleteFrame as error:
                kind = IncompleteFrame if segment == present[-1] else TrailDamaged
                raise kind(f"{segment.name}: {error}") from None
            except TrailDamaged as error:
                raise TrailDamaged(f"{segment.name}: {error}") from None

    def _read(self, segment: Path) -> bytes | None:
        """A segment's bytes; None if it was removed lawfully between looking for it and reading it."""
        try:
            return segment.read_bytes()
        except FileNotFoundError:
            if self.position is None:
                return None
            raise TrailDamaged(f"{segment.name}: it was taken away while the trail was read: read it again") from None

    def _segment(self, name: str, data: bytes) -> Iterator[Step]:
        before = self._codec.open_header(data)
        if self.position is None:
            if before.sequence and not _begins_lawfully(before, read_removals(self._folder)):
                raise TrailDamaged(f"records 1 to {before.sequence} of the audit trail are missing")
        elif before != self.position:
            raise TrailDamaged(_interruption(self.position, before))
        if name != segment_name(before.sequence + 1):
            raise TrailDamaged("the segment has another segment's name")
        self.position = before
        for record, after, _ in self._codec.records(data[HEADER_BYTES:], before):
            self.position = after
            yield Step(name, record, before, after)
            before = after


def _begins_lawfully(first: Position, removals: list[Removal]) -> bool:
    """Whether the records before the first one kept were removed by the archive.

    A removal that was interrupted leaves segments behind that it names already: they are still checked, and followed
    by the position that it speaks of.
    """
    explained = any(removal.first - 1 <= first.sequence <= removal.sequence for removal in removals[-1:])
    return explained and all(removal.holds(first) for removal in removals if removal.sequence == first.sequence)


def _interruption(expected: Position, found: Position) -> str:
    if found.trail_id != expected.trail_id:
        return "the segment is of another trail"
    if found.sequence > expected.sequence:
        return f"records {expected.sequence + 1} to {found.sequence} of the audit trail are missing"
    return f"the segment does not follow record {expected.sequence} of the audit trail"
