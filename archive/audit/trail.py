"""The local audit trail: one writer, group commit, stable storage before anyone hears of success (DESIGN promise 5).

A sync that fails is never retried: the trail is closed to writing, and with it everything that needs a record.
Where it is given a signer, a checkpoint ends every segment and every clean stop, and stands between at most
`CHECKPOINT_RECORDS` records.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archive.audit.checkpoint import Checkpoint, CheckpointMaker, checkpoint_in, record_of
from archive.audit.events import Actor
from archive.audit.trail_files import segment_name, segments_of, sync_folder, write_all
from archive.audit.trail_format import (
    HEADER_BYTES,
    FrameCodec,
    IncompleteFrame,
    Position,
    TrailRecord,
)
from archive.audit.trail_walk import TrailWalk
from archive.errors import AuditUnavailable

SEGMENT_BYTES: Final = 16 * 1024 * 1024
"""A segment that has grown past this is followed by a new one; start-up reads the last one only."""
CHECKPOINT_RECORDS: Final = 10_000
"""Records after which the next one is a checkpoint."""


_NOBODY: Final = Actor()


@dataclass(slots=True)
class _Batch:
    """Records that share one write and one sync."""

    records: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    failure: Exception | None = None


class AuditTrail:
    """The append-only trail in one folder. Thread-safe; the caller makes sure that no second process writes it."""

    def __init__(
        self,
        folder: Path,
        key: bytes,
        *,
        checkpoints: CheckpointMaker | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        checkpoint_records: int = CHECKPOINT_RECORDS,
    ) -> None:
        """Open the trail, making it if there is none. ``checkpoints``: None makes none.

        An append that a crash cut short is cut off; `torn` says how many bytes that were.

        Raises:
            TrailDamaged: a record is not what was written.
            AuditUnavailable: the folder or file cannot be opened or written.
        """
        self._folder = folder
        self._codec = FrameCodec(key)
        self._checkpoints = checkpoints
        self._segment_bytes = segment_bytes
        self._checkpoint_records = checkpoint_records
        self._checkpoint: Checkpoint | None = None
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
        """Of the last record; 0 if there is none."""
        return self._position.sequence

    @property
    def last_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint; None if the last segment has none yet."""
        return self._checkpoint

    def checkpoint(self, actor: Actor = _NOBODY) -> Checkpoint:
        """Vouch for everything recorded so far; the checkpoint of before, where nothing came after it.

        Raises:
            AuditUnavailable: the trail cannot be written, or has no signer.
        """
        with self._writing:
            try:
                self._refuse_broken()
                self._make_checkpoint(actor)
            except OSError as error:
                self._broken = error
                raise AuditUnavailable("the audit trail cannot be written") from error
            if self._checkpoint is None:
                raise AuditUnavailable("the audit trail has no signer")
            return self._checkpoint

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
        """Make a last checkpoint, and stop writing; idempotent.

        A checkpoint that cannot be made is left out: every record was on stable storage before.
        """
        with self._writing:
            if self._broken is None:
                with suppress(OSError):
                    self._make_checkpoint(_NOBODY)
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
            self._broken = self._broken or AuditUnavailable("the audit trail is closed")

    def _commit(self, batch: _Batch) -> None:
        try:
            self._refuse_broken()
            if self._size >= self._segment_bytes:
                self._next_segment()
            elif self._position.sequence - self._vouched >= self._checkpoint_records:
                self._make_checkpoint(_NOBODY)
            self._write(batch.records)
        except (OSError, AuditUnavailable) as error:
            # What reached the disk is unknown now, so no later record may claim to follow it.
            self._broken = self._broken or error
            batch.failure = error
        finally:
            batch.done = True

    def _write(self, records: Sequence[dict[str, Any]]) -> None:
        position = self._position
        frames = bytearray()
        for record in records:
            frame = self._codec.seal(position, record)
            position = position.after(frame, record.get("ledger", 0))
            frames += frame
        write_all(self._file, frames)
        os.fdatasync(self._file)
        self._position = position
        self._size += len(frames)

    def _refuse_broken(self) -> None:
        if self._broken is not None:
            raise AuditUnavailable("the audit trail cannot be written") from self._broken

    @property
    def _vouched(self) -> int:
        """The sequence of the last record of which nobody needs to be told again."""
        return self._checkpoint.sequence + 1 if self._checkpoint else 0

    def _make_checkpoint(self, actor: Actor) -> None:
        if self._checkpoints is None or self._position.sequence in (0, self._vouched):
            return
        made = self._checkpoints.make(self._position)
        self._write([record_of(made, actor)])
        self._checkpoint = made

    def _next_segment(self) -> None:
        self._make_checkpoint(_NOBODY)
        os.close(self._file)
        self._file = -1
        self._file = self._create(self._position)
        self._size = HEADER_BYTES

    def _create(self, before: Position) -> int:
        path = self._folder / segment_name(before.sequence + 1)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        write_all(file, self._codec.header(before))
        os.fsync(file)
        sync_folder(self._folder)
        return file

    def _resume(self) -> tuple[Position, int, int]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        present = segments_of(self._folder)
        if present and present[-1].stat().st_size < HEADER_BYTES:
            # A crash between creating a segment and syncing its header; no record can be in it.
            self.torn += present[-1].stat().st_size
            present.pop().unlink()
            sync_folder(self._folder)
        if not present:
            beginning = Position.beginning()
            return beginning, self._create(beginning), HEADER_BYTES
        data = present[-1].read_bytes()
        position, end = self._codec.open_header(data), HEADER_BYTES
        try:
            for record, behind, offset in self._codec.records(data[HEADER_BYTES:], position):
                position, end = behind, HEADER_BYTES + offset
                self._checkpoint = checkpoint_in(record) or self._checkpoint
        except IncompleteFrame:
            self.torn += len(data) - end
        file = os.open(present[-1], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        if end < len(data):
            os.ftruncate(file, end)
            os.fsync(file)
        return position, file, end


def read_trail(folder: Path, key: bytes) -> Iterator[TrailRecord]:
    """Every record that is kept, from the first, each checked against its chain and key.

    Raises:
        IncompleteFrame: the last segment ends inside a frame (an append going on, or cut short by a crash).
        TrailDamaged: anything else that is not what was written.
    """
    for step in TrailWalk(folder, key):
        yield step.record
