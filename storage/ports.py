"""What storage needs from outside and what it promises inside, as protocols. One contract suite each."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from storage.health import Health
from storage.identifiers import ObjectId
from storage.instance import DeclaredInstance, ReceivedInstance, SealedInstance, StagedBytes


class BlobWriter(Protocol):
    """One object's bytes on their way to the store: written, staged, and in the end always discarded."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes. Raises `OutOfSpace` when the file system has no room above the reserve."""

    def stage(self) -> StagedBytes:
        """Put what was written on stable storage, still invisible. Raises `StoreReadOnly` when the sync fails."""

    def discard(self) -> None:
        """Let go of what is staged: of everything before the object is published, of nothing it needs afterwards.

        Idempotent. Failing to remove is no failure: `BlobStore.sweep` will.
        """


class BlobReader(Protocol):
    """Random access to one published object."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``, fewer only at the end."""

    def close(self) -> None:
        """Release the object; idempotent."""


class BlobStore(Protocol):
    """Immutable objects by address. Adapters: `storage.blobs.filesystem`."""

    def create(self, object_id: ObjectId) -> BlobWriter:
        """Begin an object, invisible until published.

        Raises:
            OutOfSpace: the file system has no room above the reserve.
            StoreReadOnly: it cannot be written.
        """

    def publish(self, address: bytes, staged: StagedBytes) -> None:
        """Make a staged object visible under its address and durable before returning; idempotent.

        What is staged stays so until its writer is discarded: a crash in between is thus seen by `staged`.

        Raises:
            IntegrityFault: another object is published under the address.
            OutOfSpace: there is no room for a name.
            StoreReadOnly: anything else failed, a sync for instance; it is not retried.
            The object is not visible after any of them.
        """

    def retract(self, address: bytes, staged: StagedBytes) -> None:
        """Undo `publish` for an object that is not committed; what another object has there stays.

        Failing is no failure: as long as it is staged, `staged` shows it to the next start.
        """

    def open_staged(self, staged: StagedBytes) -> BlobReader:
        """Read what is staged and synced, before it is published. Raises `ObjectMissing`."""

    def open(self, address: bytes) -> BlobReader:
        """Raises `ObjectMissing` when nothing is published under the address."""

    def remove(self, address: bytes) -> None:
        """Unlink a published object; absent is success."""

    def erase(self, address: bytes, head: int) -> None:
        """Overwrite the first ``head`` bytes of a published object, synced, then unlink it; absent is success.

        Raises:
            StoreReadOnly: it is not done, or not known to be.
        """

    def addresses(self) -> Iterator[bytes]:
        """Every published address."""

    def strangers(self) -> Iterator[str]:
        """Names found in the store that no object explains."""

    def staged(self) -> Iterator[tuple[ObjectId, BlobReader]]:
        """At start-up: what a crash left staged, published or not, complete or not; the caller closes each."""

    def sweep(self) -> int:
        """At start-up: discard everything that is staged; how many objects that were."""


class Intake(StagedBytes, ABC):
    """One object on its way in: written, finished, sealed, and in the end always discarded or left. One thread's.

    It is itself the handle on what it staged, which `ReceivedInstance` carries; hence no protocol, but a base class.
    """

    __slots__ = ()

    @abstractmethod
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; the view is not kept.

        Raises:
            MalformedDataSet, DataSetLimitExceeded: what the sender sent; what is staged is removed.
            OutOfSpace, StoreReadOnly, IngestFailed: what the disk or the system said; likewise.
        """

    @abstractmethod
    def finish(self) -> ReceivedInstance:
        """The data set is complete.

        Raises:
            DataSetMismatch: it is not the object that the command announced, or lacks a UID that files it.
            What `write` raises, for bytes written before too. What is staged is removed in any case.
        """

    @abstractmethod
    def seal(self, received: ReceivedInstance, provenance: Mapping[str, object]) -> SealedInstance:
        """Sign what was received, write the trailer and put the object on stable storage.

        Raises:
            MalformedDataSet, DataSetLimitExceeded: it cannot be signed; what is staged is removed.
            OutOfSpace, StoreReadOnly, IngestFailed: likewise.
        """

    @abstractmethod
    def discard(self) -> None:
        """Remove what is staged; idempotent, and nothing at all once the object is published, or was left."""

    @abstractmethod
    def leave(self) -> None:
        """Let the synced object keep its staging name: whether it is committed is for the next start to find out."""


class Intakes(Protocol):
    """Where objects are taken in. Adapters: `storage.ingest.intake.IntakesHere`, `storage.ingest.pool.IntakePool`."""

    def begin(self, declared: DeclaredInstance, health: Health) -> Intake:
        """Open an intake; ``health`` is told where the disk failed.

        Raises:
            UnsupportedTransferSyntax: its syntax encodes no data set that is stored.
            OutOfSpace, StoreReadOnly, IngestFailed: nothing is taken in at present.
        """

    def warm(self) -> None:
        """Many objects will come: be ready for them. May take a second; never raises for what it did not get."""

    def renew(self) -> None:
        """Keys have changed: take the next objects in with the new ones."""

    def close(self) -> None:
        """End what it works with; idempotent."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One committed event, as the ledger holds it and the audit journal is told of it."""

    sequence: int
    event: str
    time: str
    facts: dict[str, object]
    """The event's own fields: for ``stored`` the key, object id, address and salted commitment; for ``authority`` what
    changed; for any other event its study, and what of it (`storage.events`)."""
    provenance: dict[str, object]
    """Who and whence, opaque to storage: written by the services, read by the audit."""


class CommitJournal(Protocol):
    """Where committed events are told before anyone is answered (implemented by the audit trail)."""

    def committed(self, entries: Sequence[LedgerEntry]) -> None:
        """Put a record of each on stable storage before returning. Raises on failure."""

    def position(self) -> int:
        """The ledger sequence that the journal has reached; 0 if none."""

    def recovered(self, entries: Sequence[LedgerEntry]) -> None:
        """As `committed`, for events found at start-up that the journal had not been told of."""
