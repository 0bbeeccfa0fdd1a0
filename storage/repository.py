"""The archive's objects, behind one door: staged, sealed, committed, read.

What lives here: the order of steps and who may take them while the store is read-only. Bytes, keys, ledger and index
each have a module of their own. Knows nothing of users or the wire.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from storage.crypto.keyring import Keyring
from storage.index.engine import IndexEngine
from storage.index.reader import IndexReader
from storage.instance import DeclaredInstance, ReceivedInstance, SealedInstance, StoredInstance, StoreReceipt
from storage.integrity.signature import Signer
from storage.outgoing import OutgoingBytes
from storage.ports import BlobStore, CommitJournal, LedgerEntry
from storage.recovery import RecoveryReport
from storage.staging import Intake


@dataclass(frozen=True, slots=True)
class Parts:
    """What a repository is made of, chosen by the composition root."""

    blobs: BlobStore
    ledger: Path
    keyring: Keyring
    signer: Signer
    engine: IndexEngine
    journal: CommitJournal


class Repository:
    """The objects of one home. Make it with `start`, `close` it; safe to share among threads."""

    reader: IndexReader
    recovery: RecoveryReport
    """What `start` found and put right; the caller audits it."""

    @classmethod
    def start(cls, parts: Parts, *, clock: Callable[[], datetime] = ...) -> "Repository":
        """Recover what a crash left (`storage.recovery`), and begin to take objects.

        Raises:
            LedgerDamaged: the ledger is not what was written, or behind the trail or the index.
            IntegrityFault: a committed object that the index lacks is not what was written.
            StorageError: anything else that stands in the way.
        """
        raise NotImplementedError

    @property
    def read_only(self) -> str | None:
        """Why nothing is stored any more; None while the store is healthy."""
        raise NotImplementedError

    def begin(self, declared: DeclaredInstance) -> Intake:
        """Open an intake. Raises `StoreReadOnly`, `OutOfSpace`, `UnsupportedTransferSyntax`."""
        raise NotImplementedError

    def seal(self, received: ReceivedInstance, provenance: Mapping[str, object]) -> SealedInstance:
        """Sign, write the trailer, and sync the object's file. Raises `StoreReadOnly`, `OutOfSpace`; staging is removed."""
        raise NotImplementedError

    def commit(self, sealed: SealedInstance, provenance: Mapping[str, object]) -> StoreReceipt:
        """Make it visible, durable, recorded and findable, in that order, before returning.

        Raises:
            InstanceConflict: another object is kept under this SOP Instance UID.
            StoreReadOnly: a step failed; after the ledger append the object is kept all the same.
        """
        raise NotImplementedError

    def record(self, event: str, facts: dict[str, object], provenance: dict[str, object]) -> LedgerEntry:
        """Commit an event that is no object: ``labelled`` and ``unlabelled`` (facts: study_uid, label), ``authority``."""
        raise NotImplementedError

    def open(self, stored: StoredInstance) -> OutgoingBytes:
        """Verify every byte of an object, and give it out with our signature in its place."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish what is under way and stop. The engine and the journal are the caller's to close. Idempotent."""
        raise NotImplementedError
