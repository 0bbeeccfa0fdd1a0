"""The local audit trail: one writer, group commit, stable storage before anyone hears of success (DESIGN promise 5).

A sync that fails is never retried: the trail is closed to writing, and with it everything that needs a record.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archive.audit.trail_format import HEADER_BYTES, FrameCodec, IncompleteFrame, Position, TrailRecord
from archive.errors import AuditUnavailable, TrailDamaged

SEGMENT_BYTES: Final = 16 * 1024 * 1024
"""A segment that has grown past this is followed by a new one; start-up reads the last one only."""
_SUFFIX: Final = ".trail"


@dataclass(slots=True)
class _Batch:
    """Records that share one write and one sync."""

    records: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    failure: Exception | None = None


class AuditTrail:
    """The append-only trail in one folder. Thread-safe; the caller makes sure that no second process writes it."""

    def __init__(self, folder: Path, key: bytes, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open the trail, making it if there is none.

        An append that a crash cut short is cut off; `torn` says how many bytes that were.

        Raises:
            TrailDamaged: a record is not what was written.
            AuditUnavailable: the folder or file cannot be opened or written.
        """
        self._folder = folder
        self._codec = FrameCodec(key)
        self._segment_bytes = segment_bytes
        self._collecting = threading.Lock()
        self._writing = threading.Lock()
        self._batch = _Batch()
        self._broken: Exception | None = None
        self.torn = 0
        try:
            self._position, self._file, self._size = self._resume()
        except OSError as error:
            raise AuditUnavailable(f"the audit trail cannot be opened: {error.strerror}") from error

    @property
    def ledger_position(self) -> int:
        """The highest ledger sequence that the trail speaks of."""
        return self._position.ledger

    @property
    def sequence(self) -> int:
        """How many records the trail holds."""
        return self._position.sequence

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Put records on stable storage, together with whatever other threads append meanwhile.

        A record has ``time``, ``kind`` and ``facts``, and may have ``ledger`` and ``recovered`` (`TrailRecord`).

        Raises:
            AuditUnavailable: they are not, and nothing will be until an operator has looked.
        """
        if not records:
            return
        with self._collecting:
            batch = self._batch
            batch.records.extend(records)
        with self._writing:
            if not batch.done:
                with self._collecting:
                    self._batch = _Batch()
                self._commit(batch)
        if batch.failure is not None:
            raise AuditUnavailable("the audit trail cannot be written") from batch.failure

    def close(self) -> None:
        """Stop writing; idempotent."""
        with self._writing:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            self._broken = self._broken or AuditUnavailable("the audit trail is closed")

    def _commit(self, batch: _Batch) -> None:
        try:
            if self._broken is not None:
                raise self._broken
            if self._size >= self._segment_bytes:
                self._next_segment()
            position = self._position
            frames = bytearray()
            for record in batch.records:
                frame = self._codec.seal(position, record)
                position = position.after(frame, record.get("ledger", 0))
                frames += frame
            _write_all(self._file, frames)
            os.fdatasync(self._file)
            self._position = position
            self._size += len(frames)
        except (OSError, AuditUnavailable) as error:
            # What reached the disk is unknown now, so no later record may claim to follow it.
            self._broken = batch.failure = error
        finally:
            batch.done = True

    def _next_segment(self) -> None:
        os.close(self._file)
        self._file = -1
        self._file = self._create(self._position)
        self._size = HEADER_BYTES

    def _create(self, before: Position) -> int:
        path = self._folder / f"{before.sequence + 1:016d}{_SUFFIX}"
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        _write_all(file, self._codec.header(before))
        os.fsync(file)
        _sync_folder(self._folder)
        return file

    def _resume(self) -> tuple[Position, int, int]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        segments = _segments(self._folder)
        if segments and segments[-1].stat().st_size < HEADER_BYTES:
            # A crash between creating a segment and syncing its header; no record can be in it.
            self.torn += segments[-1].stat().st_size
            segments.pop().unlink()
            _sync_folder(self._folder)
        if not segments:
            beginning = Position.beginning()
            return beginning, self._create(beginning), HEADER_BYTES
        data = segments[-1].read_bytes()
        position, end = self._codec.open_header(data), HEADER_BYTES
        try:
            for _, behind, offset in self._codec.records(data[HEADER_BYTES:], position):
                position, end = behind, HEADER_BYTES + offset
        except IncompleteFrame:
            self.torn += len(data) - end
        file = os.open(segments[-1], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        if end < len(data):
            os.ftruncate(file, end)
            os.fsync(file)
        return position, file, end


def read_trail(folder: Path, key: bytes) -> Iterator[TrailRecord]:
    """Every record from the first, each checked against its chain and key.

    Raises:
        IncompleteFrame: the last segment ends inside a frame (an append going on, or cut short by a crash).
        TrailDamaged: anything else that is not what was written.
    """
    codec = FrameCodec(key)
    expected: Position | None = None
    for segment in _segments(folder):
        data = segment.read_bytes()
        position = codec.open_header(data)
        if expected is None and position.sequence != 0:
            raise TrailDamaged("the first segment of the audit trail is missing")
        if expected is not None and position != expected:
            raise TrailDamaged(f"the audit trail is interrupted before record {position.sequence + 1}")
        if segment.name != f"{position.sequence + 1:016d}{_SUFFIX}":
            raise TrailDamaged("a segment of the audit trail has another segment's name")
        expected = position
        for record, behind, _ in codec.records(data[HEADER_BYTES:], position):
            expected = behind
            yield record


def _segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _write_all(file: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
