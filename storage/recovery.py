"""What start-up does about a crash, before anything listens; and how the index is made anew (DESIGN 5).

1. the ledger's end: an append that was cut short is cut off, anything else that is wrong stops the start
   (`storage.integrity.ledger`);
2. the journal is told of committed events that it missed, marked as recovered;
3. the index is told likewise, from the objects themselves, every byte verified;
4. what was staged and never committed is removed, under its published name too;
5. what was committed to be erased, and perhaps is not, is destroyed.

The audit comes before the index, so that nothing is findable of which there is no record.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass

from storage.batches import batches
from storage.blobs.format import OpenBlob
from storage.crypto.keyring import Keyring
from storage.erasure import carry_out
from storage.errors import IntegrityFault, ObjectMissing, StorageError
from storage.events import ERASED, RESTORED, STORED, NamedInstance, named_in
from storage.identifiers import ObjectId
from storage.index import state
from storage.index.committed import Committed, apply_committed, check_known, kept_content
from storage.index.engine import IndexEngine
from storage.index.removal import tombstones
from storage.index.writer import IndexEntry
from storage.ingest.intake import commitment
from storage.integrity.ledger import MAX_BATCH, Ledger
from storage.ports import BlobStore, CommitJournal, LedgerEntry
from storage.reading import ReadObject, read_object

Progress = Callable[[int, int], None]
"""Told how many of how many ledger records are done."""


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What was found and put right; all zero after a clean stop."""

    torn_bytes: int = 0
    """Cut from the ledger's end: an append that nobody was told of."""
    recovered: int = 0
    """Committed events that the audit had not been told of, and now has."""
    indexed: int = 0
    """Committed events that the index lacked, and now has."""
    swept: int = 0
    """Objects that were staged and never committed, removed."""
    rebuilt: bool = False
    """An interrupted rebuild of the index was done again."""
    erased: int = 0
    """Objects whose erasure was committed and not carried out, and now is."""


class Recovery:
    """Brings journal, index and objects to where the ledger is. Nothing else may write meanwhile."""

    def __init__(
        self, blobs: BlobStore, keyring: Keyring, engine: IndexEngine, ledger: Ledger, journal: CommitJournal
    ) -> None:
        self._blobs = blobs
        self._keyring = keyring
        self._engine = engine
        self._ledger = ledger
        self._journal = journal
        self._erased: frozenset[str] | None = None

    def run(self, progress: Progress = no_progress) -> RecoveryReport:
        """Steps 2 to 5; the ledger did step 1 as it was opened.

        Raises:
            LedgerDamaged: a record is not what was written, or of a kind that this release does not know.
            IntegrityFault, ObjectMissing, KeyUnavailable: an object that the index lacks is not what was stored.
            StorageError, and whatever the journal raises: a step failed.
        """
        recovered = self._tell_journal()
        rebuilding = self.interrupted
        indexed = self.rebuild(progress) if rebuilding else self._tell_index(progress)
        swept = self._sweep()
        erased = carry_out(self._blobs, self._engine)
        return RecoveryReport(self._ledger.torn, recovered, indexed, swept, rebuilding, erased)

    @property
    def interrupted(self) -> bool:
        """Whether a rebuild was begun and not ended: `run` does it again, which may take long."""
        with self._engine.reading() as connection:
            return state.rebuilding(connection)

    def rebuild(self, progress: Progress = no_progress) -> int:
        """Make the index anew from ledger and objects; how many events that took. Queries are refused meanwhile.

        If it fails it is begun again at the next start. Raises as `run`.
        """
        with self._engine.writing() as connection:
            state.begin_rebuild(connection)
        indexed = self._tell_index(progress)
        carry_out(self._blobs, self._engine)
        with self._engine.writing() as connection:
            state.end_rebuild(connection)
        return indexed

    def _tell_journal(self) -> int:
        told = 0
        for entries in batches(self._ledger.entries(self._journal.position()), MAX_BATCH):
            self._journal.recovered(entries)
            told += len(entries)
        return told

    def _tell_index(self, progress: Progress) -> int:
        with self._engine.reading() as connection:
            position = state.position(connection)
        told, total = 0, self._ledger.sequence - position
        progress(told, total)
        for entries in batches(self._ledger.entries(position), MAX_BATCH):
            committed = [one for entry in entries for one in self._committed(entry, position)]
            with self._engine.writing() as connection:
                apply_committed(connection, committed)
            told += len(entries)
            progress(told, total)
        self._erased = None
        return told

    def _committed(self, entry: LedgerEntry, position: int) -> list[Committed]:
        """An event with its objects; one that was erased later has nothing to say any more."""
        check_known(entry)
        if entry.event == STORED:
            return [(entry, self._stored(entry, position))]
        if entry.event != RESTORED:
            return [(entry, None)]
        found = [self._restored(entry, named, position) for named in named_in(entry.facts)]
        return [*((entry, one) for one in found if one is not None), (entry, None)]

    def _stored(self, entry: LedgerEntry, position: int) -> IndexEntry | None:
        object_id = str(entry.facts["object_id"])
        read = self._read(entry, object_id, bytes.fromhex(str(entry.facts["address"])), position)
        if read is not None:
            _check_object(entry, read)
        return read.entry if read is not None else None

    def _restored(self, entry: LedgerEntry, named: NamedInstance, position: int) -> IndexEntry | None:
        read = self._read(entry, named.object_id, named.address, position)
        if read is not None and read.entry.object_id != named.object_id:
            raise IntegrityFault(f"object {named.object_id}: it is not the one that record {entry.sequence} names")
        return read.entry if read is not None else None

    def _read(self, entry: LedgerEntry, object_id: str, address: bytes, position: int) -> ReadObject | None:
        """The object, None where a later record erased it; another may have come to lie under its address since."""
        try:
            read = read_object(self._blobs, self._keyring, address, entry.sequence)
        except (ObjectMissing, IntegrityFault) as error:
            if object_id in self._erased_after(position):
                return None
            if isinstance(error, ObjectMissing):
                raise
            raise IntegrityFault(f"object {object_id}: {error}") from error
        if read.entry.object_id != object_id and object_id in self._erased_after(position):
            return None
        return read

    def _erased_after(self, position: int) -> frozenset[str]:
        """Objects that the ledger erases behind a position. Read once, and only where something is amiss."""
        if self._erased is None:
            erasures = (entry for entry in self._ledger.entries(position) if entry.event == ERASED)
            self._erased = frozenset(named.object_id for entry in erasures for named in named_in(entry.facts))
        return self._erased

    def _sweep(self) -> int:
        """Step 4: what has a staging name and is not in the index was never committed."""
        committed = 0
        for object_id, reader in self._blobs.staged():
            try:
                blob = OpenBlob(reader, self._keyring)
            except StorageError:
                continue  # cut short while it was written, so it was never published
            finally:
                reader.close()
            instance = blob.envelope.declared.sop_instance_uid
            with self._engine.reading() as connection:
                kept = kept_content(connection, [instance]).get(instance)
                gone = tombstones(connection, [instance]).get(instance)
            if object_id in (kept and kept.object_id, gone and gone.object_id):
                committed += 1
            else:
                self._unpublish(object_id, blob.trailer.received_digest)
        return self._blobs.sweep() - committed

    def _unpublish(self, object_id: ObjectId, address: bytes) -> None:
        """Remove an object's published name, if it has one and nobody else has it."""
        try:
            reader = self._blobs.open(address)
        except StorageError:
            return
        try:
            own = OpenBlob(reader, self._keyring).envelope.object_id == object_id
        finally:
            reader.close()
        if own:
            self._blobs.remove(address)


def _check_object(entry: LedgerEntry, read: ReadObject) -> None:
    """Hold an object to what the ledger says of it. Raises `IntegrityFault`."""
    instance, found = read.entry.rows.instance, read.entry
    is_there = (
        found.object_id,
        instance["sop_class_uid"],
        instance["sop_instance_uid"],
        instance["transfer_syntax"],
        found.size,
    )
    names = ("object_id", "sop_class_uid", "sop_instance_uid", "transfer_syntax", "size")
    said = tuple(entry.facts[name] for name in names)
    if is_there != said or not hmac.compare_digest(commitment(read.trailer), str(entry.facts["commitment"])):
        raise IntegrityFault(
            f"object {entry.facts['object_id']}: it is not the object of record {entry.sequence} of the ledger"
        )
