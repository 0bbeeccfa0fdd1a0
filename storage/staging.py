"""One object on its way in: encrypted and inspected as it arrives, never whole in memory, never in clear on disk.

Everything that costs time and can be done for one object alone is done here, in the thread of its association: digests,
encryption, the signature, and the sync of its file. The committer is left with what must be done in order.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from datetime import datetime

from storage.blobs.format import BlobSealer
from storage.crypto.keyring import Keyring
from storage.errors import StorageError, StoreReadOnly
from storage.health import Health
from storage.identifiers import new_object_id
from storage.index.columns import WANTED, key_of, rows_of
from storage.instance import DeclaredInstance, ReceivedInstance, SealedInstance, StagedBytes, Trailer
from storage.integrity.element_events import StreamLimits
from storage.integrity.inspection import DataSetInspector
from storage.integrity.signature import Signer
from storage.ports import BlobStore
from storage.transfer_syntax import transfer_syntax

SALT_BYTES = 32


class Intake(StagedBytes):
    """One object's bytes, until it is committed or discarded. Used by one thread."""

    __slots__ = ("_address", "_blob", "_declared", "_health", "_inspector", "_left", "_object_id", "_size", "_writer")

    def __init__(
        self,
        declared: DeclaredInstance,
        blobs: BlobStore,
        keyring: Keyring,
        health: Health,
        limits: StreamLimits | None = None,
    ) -> None:
        """Raises `UnsupportedTransferSyntax`, `OutOfSpace`, `StoreReadOnly`."""
        self._declared = declared
        self._health = health
        self._inspector = DataSetInspector(transfer_syntax(declared.transfer_syntax), WANTED, limits)
        self._address = hmac.new(keyring.address_key, digestmod=hashlib.sha256)
        self._size = 0
        self._left = False
        self._object_id = new_object_id()
        self._writer = blobs.create(self._object_id)
        self._blob = BlobSealer(keyring, self._object_id, declared, self._writer.write)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; the view is not kept.

        Raises:
            MalformedDataSet, DataSetLimitExceeded: what the sender sent; what is staged is removed.
            OutOfSpace, StoreReadOnly: what the disk said; likewise.
        """
        try:
            self._inspector.feed(data)
            self._address.update(data)
            self._size += len(data)
            self._blob.write(data)
        except StoreReadOnly as error:
            self._health.fail(str(error))
            self.discard()
            raise
        except StorageError:
            self.discard()
            raise

    def finish(self) -> ReceivedInstance:
        """The data set is complete.

        Raises:
            MalformedDataSet: it ended too early.
            DataSetMismatch: it is not the object that the command announced, or lacks a UID that files it.
            What is staged is removed in both cases.
        """
        try:
            inspection = self._inspector.finish()
            rows = rows_of(inspection, self._declared)
            key = key_of(inspection, self._declared)
        except StorageError:
            self.discard()
            raise
        self._blob.finish()
        return ReceivedInstance(
            key=key,
            declared=self._declared,
            rows=rows,
            inspection=inspection,
            object_id=self._object_id,
            address=self._address.digest(),
            size=self._size,
            staged=self,
        )

    def seal(
        self, received: ReceivedInstance, signer: Signer, provenance: Mapping[str, object], moment: datetime
    ) -> SealedInstance:
        """Sign what was received, write the trailer and sync the file.

        Raises:
            OutOfSpace, StoreReadOnly: what the disk said; what is staged is removed.
        """
        inspection = received.inspection
        try:
            signature = signer.sign(inspection, transfer_syntax(self._declared.transfer_syntax), moment)
            trailer = Trailer(
                canonical_digest=inspection.canonical_digest,
                received_digest=received.address,
                size=received.size,
                splices=signature.splices,
                signature_uid=signature.uid,
                signature_value_digest=signature.value_digest,
                signed_tags=inspection.signed_tags,
                uncovered=inspection.uncovered,
                foreign_signatures=inspection.signature_values,
                salt=os.urandom(SALT_BYTES),
                provenance=json.dumps(provenance, separators=(",", ":")).encode("ascii"),
            )
            self._blob.seal(trailer)
            return SealedInstance(received, trailer, self._writer.stage())
        except StoreReadOnly as error:
            self._health.fail(str(error))
            self.discard()
            raise
        except StorageError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what is staged; idempotent, and nothing at all once the object is published, or was left."""
        if not self._left:
            self._writer.discard()

    def leave(self) -> None:
        """Let the synced object keep its staging name: whether it is committed is for the next start to find out."""
        self._left = True


def commitment(trailer: Trailer) -> str:
    """What the ledger says of an object's content: HMAC-SHA-256 under the salt of canonical ‖ received digest, in hex.

    The salt is in the trailer alone, so that once the object is erased the ledger says nothing of what it was.
    """
    return hmac.digest(trailer.salt, trailer.canonical_digest + trailer.received_digest, "sha256").hex()
