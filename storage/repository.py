"""The archive's objects, behind one door: staged, sealed, committed, read.

What lives here: the order of steps and who may take them while the store is read-only. Bytes, keys, ledger and index
each have a module of their own. Knows nothing of users or the wire.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from storage.committer import RECORDABLE, Committer
from storage.confidentiality.mask import Mask
from storage.confidentiality.masked_object import MaskedObject
from storage.converted_object import ConvertedObject, Original
from storage.crypto.keyring import Keyring
from storage.errors import CommitUnfinished, StoreNotReady, StoreReadOnly
from storage.health import Health
from storage.index import state
from storage.index.engine import IndexEngine
from storage.index.reader import IndexReader
from storage.instance import (
    DeclaredInstance,
    ReceivedInstance,
    SealedInstance,
    StoredInstance,
    StoreReceipt,
)
from storage.integrity.ledger import Event, Ledger
from storage.integrity.signature import Signer
from storage.outgoing import OutgoingBytes
from storage.ports import BlobStore, CommitJournal, Intake, Intakes, LedgerEntry
from storage.recovery import Recovery


def now() -> datetime:
    """The present, with its offset."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a repository is made of, chosen by the composition root."""

    blobs: BlobStore
    ledger: Path
    """The ledger's folder, whose parent exists."""
    keyring: Keyring
    intakes: Intakes
    signer: Signer
    engine: IndexEngine
    journal: CommitJournal


class Repository:
    """The objects of one home. Make it with `start`, `close` it; safe to share among threads."""

    def __init__(self, parts: Parts, ledger: Ledger, recovery: Recovery, clock: Callable[[], datetime]) -> None:
        """Not to be called: `start` recovers first."""
        self._parts = parts
        self._ledger = ledger
        self._recovery = recovery
        self._clock = clock
        self._health = Health()
        self._rebuilding = False
        self.reader = IndexReader(parts.engine)
        self.recovery = recovery.run()
        """What a crash had left, and was put right; the caller audits it."""
        self._committer = Committer(
            blobs=parts.blobs,
            ledger=ledger,
            journal=parts.journal,
            engine=parts.engine,
            health=self._health,
            clock=clock,
        )

    @classmethod
    def start(cls, parts: Parts, *, clock: Callable[[], datetime] = now) -> "Repository":
        """Put right what a crash left (`storage.recovery`), and begin to take objects. ``clock`` gives aware times.

        Raises:
            LedgerDamaged: the ledger is not what was written, or ends before the trail or the index say it does.
            IntegrityFault, ObjectMissing, KeyUnavailable: an object that the index lacks is not what was stored.
            StorageError, and whatever the journal raises: anything else that stands in the way.
        """
        with parts.engine.reading() as connection:
            reached = max(parts.journal.position(), state.position(connection))
        ledger = Ledger(parts.ledger, parts.keyring.ledger_key, reached)
        try:
            recovery = Recovery(parts.blobs, parts.keyring, parts.engine, ledger, parts.journal)
            return cls(parts, ledger, recovery, clock)
        except BaseException:
            ledger.close()
            raise

    @property
    def read_only(self) -> str | None:
        """Why nothing is stored any more; None while the store is healthy."""
        return self._health.reason

    def begin(self, declared: DeclaredInstance) -> Intake:
        """Open an intake.

        Raises:
            UnsupportedTransferSyntax: its syntax encodes no data set that is stored.
            StoreReadOnly, OutOfSpace, StoreNotReady, IngestFailed: nothing is stored at present.
        """
        self._check_writable()
        return self._parts.intakes.begin(declared, self._health)

    def seal(self, received: ReceivedInstance, provenance: Mapping[str, object]) -> SealedInstance:
        """Sign, write the trailer with the provenance (JSON values), and sync the object.

        Raises:
            StoreReadOnly, OutOfSpace, IngestFailed: it could not be done; what was staged is removed.
        """
        return _intake(received).seal(received, provenance, self._clock())

    def commit(self, sealed: SealedInstance, provenance: Mapping[str, object]) -> StoreReceipt:
        """Make an object visible, durable, recorded and findable, in that order, before returning.

        What was staged is removed, unless the commit point was reached and not the end: then its name stays in staging,
        which is where the next start looks.

        Raises:
            InstanceConflict: another object is kept under this SOP Instance UID.
            CommitUnfinished: a step failed from the ledger append on, which is the commit point. The object may be kept
                all the same, and the store is read-only.
            StoreReadOnly, OutOfSpace, IndexFault, IntegrityFault: a step before it failed.
        """
        intake = _intake(sealed.received)
        try:
            self._check_writable()
            return self._committer.commit(sealed, dict(provenance))
        except CommitUnfinished:
            intake.leave()
            raise
        finally:
            intake.discard()

    def record(self, event: str, facts: Mapping[str, object], provenance: Mapping[str, object]) -> LedgerEntry:
        """Commit an event that is no object, facts and provenance being JSON values.

        ``labelled`` and ``unlabelled`` (facts ``study_uid`` and ``label``) are effective on return; of ``authority``
        the record is all there is.

        Raises:
            ObjectMissing: nothing of that study is kept.
            StoreReadOnly, IndexFault, StoreNotReady: a step failed, or nothing is committed at present.
        """
        if event not in RECORDABLE:
            raise ValueError(f"{event!r} is not an event to be recorded")
        self._check_writable()
        return self._committer.record(Event(event, dict(facts), dict(provenance)))

    def open(self, stored: StoredInstance, syntax: str | None = None) -> OutgoingBytes | ConvertedObject:
        """Verify every byte of an object, and give it out with our signature in place; the caller closes it.

        ``syntax``: the transfer syntax to give it out in; None: the one that it is kept in.

        Raises:
            ObjectMissing: its bytes are not there.
            IntegrityFault: they are not what was stored.
            KeyUnavailable: the key that wrapped its key is not in the keyring.
            NoOtherForm: it has no form in that syntax.
        """
        original = OutgoingBytes(self._parts.blobs, self._parts.keyring, stored)
        return original if syntax is None or syntax == stored.transfer_syntax else self._converted(original, syntax)

    def open_masked(
        self, stored: StoredInstance, hidden: frozenset[int], syntax: str | None = None
    ) -> MaskedObject | ConvertedObject:
        """As `open`, without the attributes that are hidden, under another SOP Instance UID and signed anew.

        Raises:
            CannotBeMasked: it holds what no mask reaches.
            ObjectMissing, IntegrityFault, KeyUnavailable, NoOtherForm: as `open`.
        """
        original = OutgoingBytes(self._parts.blobs, self._parts.keyring, stored)
        masked = MaskedObject(original, stored, self.mask(hidden), self._parts.signer, self._clock())
        return masked if syntax is None or syntax == stored.transfer_syntax else self._converted(masked, syntax)

    def _converted(self, original: Original, syntax: str) -> ConvertedObject:
        return ConvertedObject(original, syntax, self._parts.signer, self._clock())

    def mask(self, hidden: frozenset[int]) -> Mask:
        """The mask of these attributes; its UIDs are this archive's own."""
        return Mask(hidden, hmac.digest(self._parts.keyring.address_key, b"masked instances", "sha256"))

    def rebuild(self) -> int:
        """Make the index anew from ledger and objects; how many events that took. Nothing else goes on meanwhile.

        Raises:
            StoreNotReady: a rebuild is going on.
            LedgerDamaged, IntegrityFault, ObjectMissing, KeyUnavailable: what it is made from is not what was stored;
                queries stay refused until a rebuild succeeds.
        """
        self._check_writable()
        counted: list[int] = []
        self._rebuilding = True
        try:
            self._committer.pause(lambda: counted.append(self._recovery.rebuild()))
        except BaseException:
            # Conflicts cannot be seen in an index that is not complete.
            self._health.fail("a rebuild of the index failed")
            raise
        finally:
            self._rebuilding = False
        return counted[0]

    def close(self) -> None:
        """Finish what is being committed, and stop. The other parts are the caller's to close. Idempotent."""
        self._committer.close()
        self._ledger.close()

    def _check_writable(self) -> None:
        self._health.check()
        if self._rebuilding:
            raise StoreNotReady("the index is being rebuilt")


def _intake(received: ReceivedInstance) -> Intake:
    """What took the object in: its own handle on what it staged."""
    if not isinstance(received.staged, Intake):
        raise StoreReadOnly("the object was not staged here")
    return received.staged
