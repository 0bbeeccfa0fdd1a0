"""What start-up does about a crash, before anything listens; and how the index is made anew (DESIGN 5).

1. the ledger's end: an append that was cut short is cut off, anything else that is wrong stops the start
   (`storage.integrity.ledger`);
2. the journal is told of committed events that it missed, marked as recovered;
3. the index is told likewise, from the objects themselves, every byte verified;
4. what was staged and never committed is removed, under its published name too.

The audit comes before the index, so that nothing is findable of which there is no record.
"""

import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from storage.blobs.format import OpenBlob
from storage.crypto.keyring import Keyring
from storage.errors import IntegrityFault, StorageError
from storage.identifiers import ObjectId
from storage.index import state
from storage.index.columns import WANTED
from storage.index.committed import STORED, Committed, apply_committed, check_known, kept_content
from storage.index.engine import IndexEngine
from storage.index.rows import rows_of
from storage.index.writer import IndexEntry
from storage.ingest.intake import commitment
from storage.instance import Inspection
from storage.integrity.inspection import DataSetInspector
from storage.integrity.ledger import MAX_BATCH, Ledger
from storage.outgoing import verified
from storage.ports import BlobStore, CommitJournal, LedgerEntry
from storage.transfer_syntax import transfer_syntax

_Item = TypeVar("_Item")


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

    def run(self) -> RecoveryReport:
        """Steps 2 to 4; the ledger did step 1 as it was opened.

        Raises:
            LedgerDamaged: a record is not what was written, or of a kind that this release does not know.
            IntegrityFault, ObjectMissing, KeyUnavailable: an object that the index lacks is not what was stored.
            StorageError, and whatever the journal raises: a step failed.
        """
        recovered = self._tell_journal()
        with self._engine.reading() as connection:
            rebuilding = state.rebuilding(connection)
        indexed = self.rebuild() if rebuilding else self._tell_index()
        return RecoveryReport(self._ledger.torn, recovered, indexed, self._sweep(), rebuilding)

    def rebuild(self) -> int:
        """Make the index anew from ledger and objects; how many events that took. Queries are refused meanwhile.

        If it fails it is begun again at the next start. Raises as `run`.
        """
        with self._engine.writing() as connection:
            state.begin_rebuild(connection)
        indexed = self._tell_index()
        with self._engine.writing() as connection:
            state.end_rebuild(connection)
        return indexed

    def _tell_journal(self) -> int:
        told = 0
        for entries in _batches(self._ledger.entries(self._journal.position())):
            self._journal.recovered(entries)
            told += len(entries)
        return told

    def _tell_index(self) -> int:
        with self._engine.reading() as connection:
            position = state.position(connection)
        told = 0
        for entries in _batches(self._ledger.entries(position)):
            committed = [self._committed(entry) for entry in entries]
            with self._engine.writing() as connection:
                apply_committed(connection, committed)
            told += len(entries)
        return told

    def _committed(self, entry: LedgerEntry) -> Committed:
        check_known(entry)
        return entry, self._object(entry) if entry.event == STORED else None

    def _object(self, entry: LedgerEntry) -> IndexEntry:
        """What the index is to know of an object, read from its own bytes."""
        address = bytes.fromhex(str(entry.facts["address"]))
        reader = self._blobs.open(address)
        try:
            blob = OpenBlob(reader, self._keyring)
            declared = blob.envelope.declared
            inspector = DataSetInspector(transfer_syntax(declared.transfer_syntax), WANTED)
            verified(reader, self._keyring, address, inspector.feed)
            inspection = inspector.finish()
            _check_object(entry, blob, inspection)
            return IndexEntry(
                rows=rows_of(inspection, declared),
                object_id=blob.envelope.object_id,
                address=address,
                canonical_digest=inspection.canonical_digest,
                signatures=frozenset({*blob.trailer.foreign_signatures, blob.trailer.signature_value_digest}),
                size=blob.size,
                ledger_sequence=entry.sequence,
            )
        except IntegrityFault as error:
            raise IntegrityFault(f"object {entry.facts['object_id']}: {error}") from error
        finally:
            reader.close()

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
            if kept is not None and kept.object_id == object_id:
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


def _check_object(entry: LedgerEntry, blob: OpenBlob, inspection: Inspection) -> None:
    """Hold an object to what the ledger and its own trailer say of it. Raises `IntegrityFault`."""
    declared = blob.envelope.declared
    found = (
        blob.envelope.object_id,
        declared.sop_class_uid,
        declared.sop_instance_uid,
        declared.transfer_syntax,
        blob.size,
    )
    names = ("object_id", "sop_class_uid", "sop_instance_uid", "transfer_syntax", "size")
    said = tuple(entry.facts[name] for name in names)
    if found != said or not hmac.compare_digest(commitment(blob.trailer), str(entry.facts["commitment"])):
        raise IntegrityFault(f"it is not the object of record {entry.sequence} of the ledger")
    if inspection.canonical_digest != blob.trailer.canonical_digest:
        raise IntegrityFault("it does not have the canonical digest that its trailer says")


def _batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, MAX_BATCH)):
        yield batch
