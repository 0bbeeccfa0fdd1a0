"""Processes that take objects in, and the lanes to them (`storage.ports.Intakes`).

Hashing, encrypting, reading and signing one object keeps a processor busy for milliseconds, half of them with the
interpreter locked. In processes of their own these run on every processor, and beside the threads that speak to peers.

Each object has a lane to itself while it is on its way; lanes are made when they are needed, and some are kept. A
process that ends takes the objects with it that it was busy with, which is told to their senders, and another one is
made for the next object.
"""

import select
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from storage.blobs.filesystem import FilesystemBlobs
from storage.errors import IngestFailed, StorageError
from storage.health import Health
from storage.identifiers import new_object_id
from storage.ingest.lane import Lane, RemoteIntake
from storage.ingest.messages import LaneBroken
from storage.ingest.nursery import Nursery
from storage.instance import DeclaredInstance
from storage.transfer_syntax import transfer_syntax

IDLE_LANES: Final = 16
"""Lanes of one process that are kept for the next objects."""
READY_SECONDS: Final = 30.0


@dataclass(slots=True, eq=False)
class _Worker:
    """One process, as the pool knows it."""

    control: socket.socket
    busy: int = 0
    idle: list[Lane] = field(default_factory=list)

    def ended(self) -> bool:
        """Whether it is gone, or was told to go; it says nothing else by itself."""
        if self.control.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        return bool(poll.poll(0))

    def end(self) -> None:
        self.control.close()
        for lane in self.idle:
            lane.close()
        self.idle.clear()


class IntakePool:
    """At most ``processes`` workers, started when they are needed. Shared by all associations; thread-safe."""

    def __init__(self, nursery: Nursery, blobs: FilesystemBlobs, processes: int) -> None:
        """``blobs``: the store that the workers stage into."""
        self._nursery = nursery
        self._blobs = blobs
        self._processes = processes
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        """Held by the one that starts a worker; nobody else has to wait who can do with another one."""
        self._workers: list[_Worker] = []
        self._closed = False

    def begin(self, declared: DeclaredInstance, health: Health) -> RemoteIntake:
        """Open an intake.

        Raises:
            UnsupportedTransferSyntax: its syntax encodes no data set that is stored.
            OutOfSpace, StoreReadOnly: nothing is stored at present.
            IngestFailed: no process can be had that takes it in.
        """
        transfer_syntax(declared.transfer_syntax)
        self._blobs.check_room()
        worker, lane = self._lane()

        def done(lane: Lane, usable: bool) -> None:
            self._give_back(worker, lane, usable=usable)

        return RemoteIntake(
            lane,
            declared,
            new_object_id(),
            health,
            staged=self._blobs.staged_file,
            unstage=self._blobs.unstage,
            done=done,
        )

    def warm(self) -> None:
        """Start processes until there are as many as there may be: no object has to wait until one has read its keys.

        Failing is no failure: whoever brings an object tries again, and is told.
        """
        with suppress(StorageError, OSError):
            while self._count() < self._processes:
                # Let go of between two: an object that waits for the first does not wait for the last.
                with self._starting:
                    self._start_idle()

    def renew(self) -> None:
        """Have the next objects taken in by new processes, which read their keys anew."""
        with self._lock:
            workers, self._workers = self._workers, []
        for worker in workers:
            self._retire(worker)

    def close(self) -> None:
        """End all processes, and the nursery; idempotent."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.end()
        self._nursery.close()

    def _lane(self) -> tuple[_Worker, Lane]:
        for _ in range(self._processes + 1):
            worker = self._least_busy()
            with self._lock:
                lane = worker.idle.pop() if worker.idle else None
            try:
                return worker, lane or Lane(worker.control)
            except LaneBroken:
                self._drop(worker)
                with self._lock:
                    worker.busy -= 1
        raise IngestFailed("no process can be had that takes objects in")

    def _least_busy(self) -> _Worker:
        """The worker that gets the next object; it counts as busy with it from here on."""
        if (worker := self._present(idle=True)) is not None:
            return worker
        if self._starting.acquire(blocking=self._count() == 0):
            try:
                if (worker := self._present(idle=True)) is None and self._count() < self._processes:
                    worker = self._started()
            finally:
                self._starting.release()
        worker = worker or self._present()
        if worker is None:
            raise IngestFailed("no process can be had that takes objects in")
        return worker

    def _present(self, *, idle: bool = False) -> _Worker | None:
        """Claim the least busy worker there is; None if there is none, or none ``idle``."""
        with self._lock:
            if self._closed:
                raise IngestFailed("the store is closed")
            for ended in [worker for worker in self._workers if worker.ended()]:
                self._workers.remove(ended)
                ended.end()
            worker = min(self._workers, key=lambda worker: worker.busy, default=None)
            if worker is None or (idle and worker.busy):
                return None
            worker.busy += 1
            return worker

    def _count(self) -> int:
        with self._lock:
            return len(self._workers)

    def _start_idle(self) -> None:
        """One more process, if there may be one, that waits for its first object."""
        if self._count() >= self._processes:
            return
        worker = self._started()
        with self._lock:
            worker.busy -= 1
            retired = worker not in self._workers
        if retired:
            # By keys that changed while it started.
            worker.end()

    def _started(self) -> _Worker:
        """A new worker, claimed."""
        worker = _Worker(self._ready(self._nursery.worker()), busy=1)
        with self._lock:
            if not self._closed:
                self._workers.append(worker)
                return worker
        worker.end()
        raise IngestFailed("the store is closed")

    @staticmethod
    def _ready(control: socket.socket) -> socket.socket:
        """Wait until a worker has read its keys."""
        control.settimeout(READY_SECONDS)
        try:
            if control.recv(1):
                return control
        except OSError:
            pass
        control.close()
        raise IngestFailed("a process that takes objects in does not come up")

    def _give_back(self, worker: _Worker, lane: Lane, *, usable: bool) -> None:
        with self._lock:
            worker.busy -= 1
            if usable and worker in self._workers and len(worker.idle) < IDLE_LANES:
                worker.idle.append(lane)
                return
            retired = worker not in self._workers and not worker.busy
        lane.close()
        if retired or (not usable and worker.ended()):
            self._drop(worker)

    def _retire(self, worker: _Worker) -> None:
        """It ends with its last object."""
        with self._lock:
            busy = worker.busy
        if not busy:
            worker.end()

    def _drop(self, worker: _Worker) -> None:
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
        worker.end()
