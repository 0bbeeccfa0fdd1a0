"""The archive's end of a lane: what a worker does to an object looks here as if it were done in place.

Bytes are copied into slots of shared memory, and a worker is told of each slot that is full; at most `SLOTS` are on
their way, so a sender that is faster than the worker waits. What the worker finds wrong is raised at the next call that
hears from it, at the latest by `RemoteIntake.finish`.
"""

import mmap
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from storage.errors import IngestFailed, StorageError, StoreReadOnly
from storage.health import Health
from storage.identifiers import ObjectId
from storage.ingest.messages import (
    LANE_BYTES,
    SLOT_BYTES,
    SLOTS,
    Fields,
    Inbox,
    Kind,
    LaneBroken,
    declared_fields,
    encoded,
    failure_of,
    received_of,
    sealed_of,
)
from storage.instance import DeclaredInstance, ReceivedInstance, SealedInstance, StagedBytes
from storage.ports import Intake

ANSWER_SECONDS: Final = 300.0
"""A worker that is silent for so long is given up; the sync of an object of gigabytes may take minutes."""
_TAKEN: Final = frozenset({Kind.TAKEN})


class Lane:
    """A stream and a piece of memory that are shared with one worker. Used by one thread at a time."""

    def __init__(self, control: socket.socket) -> None:
        """Make one, and send its other end to the worker behind ``control``. Raises `LaneBroken`."""
        self.stream, theirs = socket.socketpair()
        memory = os.memfd_create("lane", os.MFD_CLOEXEC)
        try:
            os.ftruncate(memory, LANE_BYTES)
            self.memory = memoryview(mmap.mmap(memory, LANE_BYTES))
            socket.send_fds(control, [b"\1"], [theirs.fileno(), memory])
        except OSError as error:
            self.stream.close()
            raise LaneBroken("a lane cannot be made") from error
        finally:
            theirs.close()
            os.close(memory)
        self.stream.settimeout(ANSWER_SECONDS)
        self.inbox = Inbox(self.stream)

    def close(self) -> None:
        """Let go of it; the worker discards what it has of an object. Idempotent."""
        self.stream.close()


class RemoteIntake(Intake):
    """One object's bytes on their way through a lane (`storage.ports.Intake`)."""

    __slots__ = (
        "_begun",
        "_declared",
        "_done",
        "_filled",
        "_health",
        "_lane",
        "_left",
        "_object_id",
        "_on_their_way",
        "_pending",
        "_slot",
        "_staged",
        "_unstage",
    )

    def __init__(
        self,
        lane: Lane,
        declared: DeclaredInstance,
        object_id: ObjectId,
        health: Health,
        *,
        staged: Callable[[ObjectId], StagedBytes],
        unstage: Callable[[ObjectId], None],
        done: Callable[[Lane, bool], None],
    ) -> None:
        """Announce an object.

        Args:
            lane: free, and this object's until ``done``.
            declared: what is coming.
            object_id: a fresh one.
            health: told where the disk failed.
            staged: the store's handle on what the worker staged.
            unstage: removes what is staged under an object id, if anything is.
            done: takes the lane back, and whether it may be used again.
        """
        self._lane: Lane | None = lane
        self._declared = declared
        self._object_id = object_id
        self._health = health
        self._staged = staged
        self._unstage = unstage
        self._done = done
        self._pending = encoded(Kind.BEGIN, declared_fields(declared, object_id))
        """Messages that go out with the next one."""
        self._begun = False
        self._slot = self._filled = self._on_their_way = 0
        self._left = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; the view is not kept.

        Raises:
            MalformedDataSet, DataSetLimitExceeded: what the sender sent; what is staged is removed.
            OutOfSpace, StoreReadOnly: what the disk said; likewise.
            IngestFailed: the worker is gone.
        """
        lane = self._own()
        view = memoryview(data)
        while view:
            if self._filled == SLOT_BYTES:
                self._send(self._data())
            if self._on_their_way == SLOTS:
                self._hear(_TAKEN)
            start = self._slot * SLOT_BYTES + self._filled
            count = min(len(view), SLOT_BYTES - self._filled)
            lane.memory[start : start + count] = view[:count]
            self._filled += count
            view = view[count:]

    def finish(self) -> ReceivedInstance:
        """The data set is complete.

        Raises:
            MalformedDataSet, DataSetLimitExceeded, DataSetMismatch: what the sender sent; what is staged is removed.
            OutOfSpace, StoreReadOnly, IngestFailed: as `write`.
        """
        self._own()
        self._send(encoded(Kind.FINISH, {"bytes": self._filled}))
        fields = self._hear(frozenset({Kind.RECEIVED}))
        try:
            return received_of(fields, self._declared, self._object_id, self)
        except LaneBroken as error:
            raise self._broken(error) from error

    def seal(self, received: ReceivedInstance, provenance: Mapping[str, object]) -> SealedInstance:
        """Sign what was received, write the trailer and sync the file.

        Raises:
            MalformedDataSet, DataSetLimitExceeded: it cannot be signed.
            OutOfSpace, StoreReadOnly, IngestFailed: as `write`.
        """
        self._own()
        self._send(encoded(Kind.SEAL, {"provenance": dict(provenance)}))
        fields = self._hear(frozenset({Kind.SEALED}))
        try:
            content = sealed_of(fields)
        except LaneBroken as error:
            raise self._broken(error) from error
        self._release(usable=True)
        return SealedInstance(received, content, self._staged(self._object_id))

    def discard(self) -> None:
        """Remove what is staged; idempotent, and nothing at all once the object is published, or was left."""
        if self._left:
            return
        self._left = True
        lane = self._lane
        if lane is not None and self._begun:
            with suppress(OSError):
                lane.stream.sendall(encoded(Kind.DISCARD))
        # Where answers are on their way, the next object must not hear them.
        self._release(usable=not self._on_their_way)
        self._unstage(self._object_id)

    def leave(self) -> None:
        """Let the synced object keep its staging name: whether it is committed is for the next start to find out."""
        self._left = True

    def _own(self) -> Lane:
        if self._lane is None:
            raise ValueError("the object is not on its way any more")
        return self._lane

    def _data(self) -> bytes:
        """The message of the slot that is being filled; the next one is begun."""
        message = encoded(Kind.DATA, {"bytes": self._filled})
        self._on_their_way += 1
        self._slot, self._filled = (self._slot + 1) % SLOTS, 0
        return message

    def _send(self, message: bytes) -> None:
        pending, self._pending = self._pending, b""
        self._begun = True
        try:
            self._own().stream.sendall(pending + message)
        except OSError as error:
            raise self._broken(error) from error

    def _hear(self, awaited: frozenset[Kind]) -> Fields:
        """Wait for one of these answers."""
        inbox = self._own().inbox
        while True:
            try:
                kind, fields = inbox.next()
            except LaneBroken as error:
                raise self._broken(error) from error
            if kind is Kind.TAKEN:
                self._on_their_way -= 1
            if kind in awaited:
                return fields
            if kind is Kind.FAILED:
                raise self._failed(failure_of(fields))
            if kind is not Kind.TAKEN:
                raise self._broken(LaneBroken(f"{kind.name} is no answer"))

    def _failed(self, error: StorageError) -> StorageError:
        """The worker has ended the object. Of what is still on its way to it, it takes no notice."""
        if isinstance(error, StoreReadOnly):
            self._health.fail(str(error))
        self._left = True
        self._release(usable=True)
        return error

    def _broken(self, error: Exception) -> IngestFailed:
        self._left = True
        self._release(usable=False)
        self._unstage(self._object_id)
        return IngestFailed(f"a process that takes objects in broke off: {error}")

    def _release(self, *, usable: bool) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            self._done(lane, usable)
