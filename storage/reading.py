"""What the index is to know of an object, read from its own bytes, every one of them verified."""

from dataclasses import dataclass

from storage.blobs.format import OpenBlob
from storage.crypto.keyring import Keyring
from storage.errors import IntegrityFault
from storage.index.columns import WANTED
from storage.index.rows import rows_of
from storage.index.writer import IndexEntry
from storage.instance import Trailer
from storage.integrity.inspection import DataSetInspector
from storage.outgoing import verified
from storage.ports import BlobStore
from storage.transfer_syntax import transfer_syntax


@dataclass(frozen=True, slots=True)
class ReadObject:
    """One object that was read to its end and found whole."""

    entry: IndexEntry
    trailer: Trailer


def read_object(blobs: BlobStore, keyring: Keyring, address: bytes, ledger_sequence: int) -> ReadObject:
    """Read an object whose row is to say that the ledger holds it under this sequence.

    Raises:
        ObjectMissing: there is none under the address.
        IntegrityFault, KeyUnavailable: it is not what was stored.
    """
    reader = blobs.open(address)
    try:
        blob = OpenBlob(reader, keyring)
        declared = blob.envelope.declared
        inspector = DataSetInspector(transfer_syntax(declared.transfer_syntax), WANTED)
        verified(reader, keyring, address, inspector.feed)
        inspection = inspector.finish()
        if inspection.canonical_digest != blob.trailer.canonical_digest:
            raise IntegrityFault("it does not have the canonical digest that its trailer says")
        entry = IndexEntry(
            rows=rows_of(inspection, declared),
            object_id=blob.envelope.object_id,
            address=address,
            canonical_digest=inspection.canonical_digest,
            signatures=frozenset({*blob.trailer.foreign_signatures, blob.trailer.signature_value_digest}),
            size=blob.size,
            ledger_sequence=ledger_sequence,
        )
        return ReadObject(entry, blob.trailer)
    finally:
        reader.close()
