"""The archive's objects, behind one door: staged, sealed, committed, read.

What lives here: the order of steps and who may take them while the store is read-only. Bytes, keys, ledger and index
each have a module of their own. Knows nothing of users or the wire.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from storage.blobs.format import OpenBlob
from storage.clock import now
from storage.committer import Committer
from storage.confidentiality.mask import Mask
from storage.confidentiality.masked_object import MaskedObject
from storage.converted_object import ConvertedObject, Original
from storage.crypto.keyring import Keyring
from storage.errors import CommitUnfinished, InstanceRemoved, IntegrityFault, StoreNotReady, StoreReadOnly
from storage.events import RECORDABLE, RESTORED, NamedInstance, facts_naming
from storage.health import Health
from storage.index import state
from storage.index.engine import IndexEngine
from storage.index.reader import IndexReader
from storage.index.removed import RemovedReader
from storage.instance import (
    DeclaredInstance,
    GivenLabels,
    ReceivedInstance,
    SealedInstance,
    StoredInstance,
    StoreOutcome,
    StoreReceipt,
)
from storage.integrity.ledger import Event, Ledger
from storage.integrity.signature import Signer
from storage.integrity.signature_report import SignatureReport
from storage.integrity.trust import Trust
from storage.integrity.verifier import verify_signatures
from storage.outgoing import OutgoingBytes
from storage.ports import BlobStore, CommitJournal, Intake, Intakes, LedgerEntry
from storage.reading import ReadObject, read_object
from storage.recovery import Progress, Recovery, RecoveryReport, no_progress
from storage.transfer_syntax import transfer_syntax

_NO_LABELS: Final = GivenLabels()


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

    def __init__(
        self, parts: Parts, ledger: Ledger, recovery: Recovery, clock: Callable[[], datetime], report: RecoveryReport
    ) -> None:
        """Not to be called: `start` recovers first, or says that it is left for later."""
        self._parts = parts
        self._ledger = ledger
        self._recovery = recovery
        self._clock = clock
        self._health = Health()
        self._rebuilding = recovery.interrupted
        self.reader = IndexReader(parts.engine)
        self.removed = RemovedReader(parts.engine)
        self.recovery = report
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
    def start(
        cls,
        parts: Parts,
        *,
        clock: Callable[[], datetime] = now,
        progress: Progress = no_progress,
        wait_for_index: bool = True,
    ) -> "Repository":
        """Put right what a crash left (`storage.recovery`), and begin to take objects. ``clock`` gives aware times.

        Args:
            parts: what it is made of.
            clock: the present, with its offset.
            progress: told how far the index has come, where it lacks anything.
            wait_for_index: if not, a rebuild that was interrupted is left for `finish_rebuild`; nothing is stored or
                answered before that.

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
            now_or_later = wait_for_index or not recovery.interrupted
            report = recovery.run(progress) if now_or_later else RecoveryReport()
            return cls(parts, ledger, recovery, clock, report)
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
            MalformedDataSet, DataSetLimitExceeded: it cannot be signed; what was staged is removed.
            StoreReadOnly, OutOfSpace, IngestFailed: it could not be done; likewise.
        """
        return _intake(received).seal(received, provenance)

    def signatures_of(self, sealed: SealedInstance, trust: Trust) -> tuple[SignatureReport, ...]:
        """Check the signatures that an object came with, once it is sealed and before it is committed.

        Raises:
            IntegrityFault, KeyUnavailable, ObjectMissing: what was staged cannot be read back.
        """
        reader = self._parts.blobs.open_staged(sealed.staged)
        try:
            blob = OpenBlob(reader, self._parts.keyring)
            syntax = transfer_syntax(sealed.received.declared.transfer_syntax)
            return verify_signatures(blob.chunks, syntax, trust)
        finally:
            reader.close()

    def commit(
        self, sealed: SealedInstance, provenance: Mapping[str, object], labels: GivenLabels = _NO_LABELS
    ) -> StoreReceipt:
        """Make an object visible, durable, recorded and findable, in that order, before returning.

        Its study carries ``labels`` from the same moment on. One that is kept already brings none, and one that was
        taken away and comes again only those of ``always``.

        What was staged is removed, unless the commit point was reached and not the end: then its name stays in staging,
        which is where the next start looks.

        Raises:
            InstanceConflict: another object is kept under this SOP Instance UID.
            InstanceRemoved: one was taken away under it, and nothing may come in its place.
            CommitUnfinished: a step failed from the ledger append on, which is the commit point. The object may be kept
                all the same, and the store is read-only.
            StoreReadOnly, OutOfSpace, IndexFault, IntegrityFault: a step before it failed.
        """
        intake = _intake(sealed.received)
        try:
            self._check_writable()
            return self._committer.commit(sealed, dict(provenance), labels)
        except InstanceRemoved:
            receipt = self._come_again(sealed, provenance, labels.always)
            if receipt is None:
                raise
            return receipt
        except CommitUnfinished:
            intake.leave()
            raise
        finally:
            intake.discard()

    def record(self, event: str, facts: Mapping[str, object], provenance: Mapping[str, object]) -> LedgerEntry:
        """Commit an event that is no object, facts and provenance being JSON values.

        Of ``authority`` the record is all there is; every other event (`storage.events`) is effective on return, of
        ``erased`` also that the objects' keys are destroyed.

        Raises:
            ObjectMissing: nothing of that study is kept, or not the objects that the event names.
            StudyHeld: something of a study on hold would be taken away.
            StoreReadOnly, IndexFault, StoreNotReady: a step failed, or nothing is committed at present.
        """
        if event not in RECORDABLE or event == RESTORED:
            raise ValueError(f"{event!r} is not an event to be recorded")
        self._check_writable()
        return self._committer.record(Event(event, dict(facts), dict(provenance)))

    def restore(
        self, study_uid: str, instances: Sequence[NamedInstance], provenance: Mapping[str, object]
    ) -> LedgerEntry:
        """Bring back objects of one study that were taken away and not erased, each read to its end first.

        Raises:
            ObjectMissing, IntegrityFault, KeyUnavailable: one is not there, or not what was stored.
            StoreReadOnly, IndexFault, StoreNotReady: a step failed, or nothing is committed at present.
        """
        self._check_writable()
        read = [self._read(named) for named in instances]
        return self._bring_back(study_uid, instances, read, provenance)

    def open(self, stored: StoredInstance, syntax: str | None = None) -> OutgoingBytes | ConvertedObject:
        """Verify every byte of an object, and give it out with our signature in place; the caller closes it.

        ``syntax``: the transfer syntax to give it out in; None: the one that it is kept in.

        Raises:
            ObjectMissing: its bytes are not there.
            IntegrityFault: they are not what was stored.
            KeyUnavailable: the key that wrapped its key is not in the keyring.
            NoOtherForm: it has no form in that syntax.
        """
        original = self.original(stored)
        return original if syntax is None or syntax == stored.transfer_syntax else self._converted(original, syntax)

    def original(self, stored: StoredInstance) -> OutgoingBytes:
        """As `open`, in the syntax that it is kept in, with all that was sealed behind it."""
        return OutgoingBytes(self._parts.blobs, self._parts.keyring, stored)

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

    def rebuild(self, progress: Progress = no_progress) -> int:
        """Make the index anew from ledger and objects; how many events that took. Nothing else goes on meanwhile.

        ``progress`` is told how many of how many ledger records are done.

        Raises:
            StoreNotReady: a rebuild is going on.
            LedgerDamaged, IntegrityFault, ObjectMissing, KeyUnavailable: what it is made from is not what was stored;
                queries stay refused until a rebuild succeeds.
        """
        self._check_writable()
        counted: list[int] = []
        self._alone(lambda: counted.append(self._recovery.rebuild(progress)))
        return counted[0]

    @property
    def rebuilding(self) -> bool:
        """Whether the index is being made anew, or is to be."""
        return self._rebuilding

    def finish_rebuild(self, progress: Progress = no_progress) -> RecoveryReport:
        """What `start` left for later. Raises as it does; what it says is in `recovery`, too."""

        def recover() -> None:
            self.recovery = self._recovery.run(progress)

        self._alone(recover)
        return self.recovery

    def close(self) -> None:
        """Finish what is being committed, and stop. The other parts are the caller's to close. Idempotent."""
        self._committer.close()
        self._ledger.close()

    def _check_writable(self) -> None:
        self._health.check()
        if self._rebuilding:
            raise StoreNotReady("the index is being rebuilt")

    def _alone(self, action: Callable[[], None]) -> None:
        """Make the index while nothing is committed."""
        self._rebuilding = True
        try:
            self._committer.pause(action)
        except BaseException:
            # Conflicts cannot be seen in an index that is not complete.
            self._health.fail("a rebuild of the index failed")
            raise
        finally:
            self._rebuilding = False

    def _come_again(
        self, sealed: SealedInstance, provenance: Mapping[str, object], labels: frozenset[str]
    ) -> StoreReceipt | None:
        """The receipt of an object that was taken away, may come again, and is the same; None if it is not so."""
        key, content = sealed.received.key, sealed.content
        stone = self.removed.tombstone(key.sop_instance_uid)
        if stone is None or not stone.comes_back or stone.erased:
            return None
        read = self._read(stone.named)
        same = read.entry.canonical_digest == content.canonical_digest
        if not same or not read.entry.signatures.issuperset(content.foreign_signatures):
            return None
        entry = self._bring_back(key.study_uid, [stone.named], [read], provenance, labels)
        return StoreReceipt(StoreOutcome.STORED, key, read.entry.object_id, entry.sequence)

    def _read(self, named: NamedInstance) -> ReadObject:
        read = read_object(self._parts.blobs, self._parts.keyring, named.address, 0)
        if read.entry.object_id != named.object_id:
            raise IntegrityFault("another object lies under the address")
        return read

    def _bring_back(
        self,
        study_uid: str,
        instances: Sequence[NamedInstance],
        read: Sequence[ReadObject],
        provenance: Mapping[str, object],
        labels: frozenset[str] = frozenset(),
    ) -> LedgerEntry:
        more = {"labels": sorted(labels)} if labels else {}
        event = Event(RESTORED, facts_naming(study_uid, instances, **more), dict(provenance))
        return self._committer.record(event, [one.entry for one in read])


def _intake(received: ReceivedInstance) -> Intake:
    """What took the object in: its own handle on what it staged."""
    if not isinstance(received.staged, Intake):
        raise StoreReadOnly("the object was not staged here")
    return received.staged
