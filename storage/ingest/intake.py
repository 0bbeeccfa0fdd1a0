"""One object on its way in: encrypted and inspected as it arrives, never whole in memory, never in clear on disk.

Everything that costs time and can be done for one object alone is done here: digests, encryption, the signature, and
the sync of its file. The committer is left with what must be done in order.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from storage.blobs.format import BlobSealer
from storage.clock import now
from storage.crypto.keyring import Keyring
from storage.errors import StorageError, StoreReadOnly
from storage.health import Health
from storage.identifiers import ObjectId, new_object_id
from storage.index.columns import WANTED
from storage.index.rows import key_of, rows_of
from storage.instance import (
    DeclaredInstance,
    Inspection,
    ReceivedInstance,
    SealedContent,
    SealedInstance,
    Trailer,
)
from storage.integrity.element_events import StreamLimits
from storage.integrity.inspection import DataSetInspector
from storage.integrity.signature import MadeSignature, Signer
from storage.ports import BlobStore, Intake
from storage.transfer_syntax import transfer_syntax

SALT_BYTES = 32


@dataclass(frozen=True, slots=True)
class IntakeTools:
    """What an intake works with."""

    blobs: BlobStore
    keyring: Keyring
    signer: Signer
    limits: StreamLimits | None = None
    """What one data set may ask of its reader; None: the defaults."""
    clock: Callable[[], datetime] = now
    """Tells when an object is signed."""


class IntakeHere(Intake):
    """One object's bytes, until it is committed or discarded (`storage.ports.Intake`)."""

    __slots__ = (
        "_address",
        "_blob",
        "_declared",
        "_health",
        "_inspection",
        "_inspector",
        "_left",
        "_object_id",
        "_signature",
        "_size",
        "_tools",
        "_writer",
    )

    def __init__(self, tools: IntakeTools, declared: DeclaredInstance, object_id: ObjectId, health: Health) -> None:
        """Raises `UnsupportedTransferSyntax`, `OutOfSpace`, `StoreReadOnly`."""
        self._tools = tools
        self._declared = declared
        self._health = health
        self._inspector = DataSetInspector(transfer_syntax(declared.transfer_syntax), WANTED, tools.limits)
        self._inspection: Inspection | None = None
        self._signature: MadeSignature | None = None
        self._address = hmac.new(tools.keyring.address_key, digestmod=hashlib.sha256)
        self._size = 0
        self._left = False
        self._object_id = object_id
        self._writer = tools.blobs.create(object_id)
        self._blob = BlobSealer(tools.keyring, object_id, declared, self._writer.write)

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
        except StorageError as error:
            self._failed(error)
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
        except StorageError as error:
            self._failed(error)
            raise
        self._inspection = inspection
        self._blob.finish()
        return ReceivedInstance(
            key=key,
            declared=self._declared,
            rows=rows,
            object_id=self._object_id,
            address=self._address.digest(),
            size=self._size,
            staged=self,
            signed=inspection.signed,
        )

    def sign_ahead(self) -> None:
        """After `finish`: make the signature that `seal` will want, while somebody else decides whether it will.

        Whatever goes wrong here goes wrong again in `seal`, where it is told.
        """
        inspection = self._received_whole()
        with suppress(Exception):
            self._signature = self._signed(inspection)

    def seal(self, received: ReceivedInstance, provenance: Mapping[str, object]) -> SealedInstance:
        """Sign what was received, unless that is done, write the trailer and sync the file.

        Raises:
            MalformedDataSet, DataSetLimitExceeded: it cannot be signed.
            OutOfSpace, StoreReadOnly: what the disk said.
            What is staged is removed in both cases.
        """
        inspection = self._received_whole()
        try:
            signature = self._signature or self._signed(inspection)
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
            return SealedInstance(received, sealed_content(trailer), self._writer.stage())
        except StorageError as error:
            self._failed(error)
            raise

    def discard(self) -> None:
        """Remove what is staged; idempotent, and nothing at all once the object is published, or was left."""
        if not self._left:
            self._writer.discard()

    def leave(self) -> None:
        """Let the synced object keep its staging name: whether it is committed is for the next start to find out."""
        self._left = True

    def _received_whole(self) -> Inspection:
        if self._inspection is None:
            raise ValueError("nothing was received whole")
        return self._inspection

    def _signed(self, inspection: Inspection) -> MadeSignature:
        syntax = transfer_syntax(self._declared.transfer_syntax)
        return self._tools.signer.sign(inspection, syntax, self._tools.clock())

    def _failed(self, error: StorageError) -> None:
        if isinstance(error, StoreReadOnly):
            self._health.fail(str(error))
        self.discard()


class IntakesHere:
    """Takes objects in by the threads that ask for it (`storage.ports.Intakes`)."""

    def __init__(self, tools: IntakeTools) -> None:
        self._tools = tools

    def begin(self, declared: DeclaredInstance, health: Health) -> IntakeHere:
        """Open an intake. Raises `UnsupportedTransferSyntax`, `OutOfSpace`, `StoreReadOnly`."""
        return IntakeHere(self._tools, declared, new_object_id(), health)

    def warm(self) -> None:
        """There is nothing to be started."""

    def renew(self) -> None:
        """There is nothing that could be renewed: who changes keys does it in the same process."""

    def close(self) -> None:
        """There is nothing to end."""


def sealed_content(trailer: Trailer) -> SealedContent:
    """What a commit has to know of the object behind a trailer."""
    return SealedContent(
        canonical_digest=trailer.canonical_digest,
        foreign_signatures=frozenset(trailer.foreign_signatures),
        own_signature=trailer.signature_value_digest,
        commitment=commitment(trailer),
    )


def commitment(trailer: Trailer) -> str:
    """What the ledger says of an object's content: HMAC-SHA-256 under the salt of canonical ‖ received digest, in hex.

    The salt is in the trailer alone, so that once the object is erased the ledger says nothing of what it was.
    """
    return hmac.digest(trailer.salt, trailer.canonical_digest + trailer.received_digest, "sha256").hex()
