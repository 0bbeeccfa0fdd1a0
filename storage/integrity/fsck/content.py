"""Every byte of one object, against the ledger record that stored it.

1. its header names the object that the record names;
2. its chunks open, and are as many bytes as trailer and record say;
3. their keyed digest is its address, in the record and in the trailer (HMAC-SHA-256 under the address key);
4. they are a data set, whose canonical digest is the trailer's, and which names study and series as the record does;
5. the record's commitment is to these digests (HMAC-SHA-256 under the trailer's salt);
6. the trailer's lists of signed, uncovered and formerly signed elements are those of the data set;
7. with our signature spliced in it is the same object, and that signature is valid, complete and our signer's.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from storage.crypto.keyring import Keyring
from storage.errors import IntegrityFault, StorageError
from storage.identifiers import Uid
from storage.index.columns import WANTED
from storage.index.rows import rows_of
from storage.instance import DeclaredInstance, Inspection, InstanceRows, Trailer
from storage.integrity.element_events import StreamLimits
from storage.integrity.fsck.blob import Blob, Names
from storage.integrity.fsck.catalogue import Kept
from storage.integrity.inspection import DataSetInspector
from storage.integrity.splice import outgoing
from storage.integrity.verifier import SignerTrust, Trust, verify_signatures
from storage.transfer_syntax import TransferSyntax, transfer_syntax

_KEPT_BYTES: Final = 4 * 1024 * 1024
"""An object up to this long is decrypted once and held; a larger one is decrypted for each reading."""
_LIMITS: Final = StreamLimits(elements=1 << 40, top_level_elements=1 << 20, signatures=1024, inflated=1 << 62)
"""What is kept passed the bounds when it came in; our signature in it must not cross them now."""

_Chunks = Callable[[], Iterable[bytes | memoryview]]


def check_names(blob: Blob, kept: Kept) -> None:
    """Step 1, and what of steps 2 and 3 header and trailer tell. Raises `IntegrityFault`."""
    expected = Names(kept.object_id, kept.sop_class_uid, kept.sop_instance_uid, kept.transfer_syntax)
    if blob.names != expected:
        raise IntegrityFault("its file holds another object than the ledger names")
    if blob.size != kept.size:
        raise IntegrityFault("it is not as long as the ledger says")
    if blob.trailer.received_digest != kept.address:
        raise IntegrityFault("its trailer has another address than the ledger")
    _check_commitment(blob.trailer, kept)


def check_content(blob: Blob, kept: Kept, keyring: Keyring, signers: frozenset[bytes]) -> InstanceRows:
    """Every step; what the index has to say of the object.

    ``signers``: SHA-256 fingerprints of the archive's own signers' certificates.

    Raises:
        StorageError: the first step that fails, in words.
    """
    check_names(blob, kept)
    syntax = transfer_syntax(kept.transfer_syntax)
    chunks, inspection = _received(blob, kept, keyring, syntax)
    trailer = blob.trailer
    if inspection.canonical_digest != trailer.canonical_digest:
        raise IntegrityFault("its data set does not have the canonical digest of its trailer")
    declared = DeclaredInstance(Uid(kept.sop_class_uid), Uid(kept.sop_instance_uid), kept.transfer_syntax)
    rows = rows_of(inspection, declared)
    if (rows.facts.study_uid, rows.series["series_uid"]) != (kept.study_uid, kept.series_uid):
        raise IntegrityFault("its data set names another study or series than the ledger")
    lists = (trailer.signed_tags, trailer.uncovered, trailer.foreign_signatures)
    if lists != (inspection.signed_tags, inspection.uncovered, inspection.signature_values):
        raise IntegrityFault("its trailer lists other signed elements or signatures than its data set has")
    _check_signature(chunks, trailer, syntax, signers)
    return rows


def signatures_of(trailer: Trailer) -> bytes:
    """What the index keeps of an object's signatures: the digests of all, ours included, in order."""
    return b"".join(sorted({*trailer.foreign_signatures, trailer.signature_value_digest}))


def _check_commitment(trailer: Trailer, kept: Kept) -> None:
    digests = trailer.canonical_digest + trailer.received_digest
    if not hmac.compare_digest(hmac.digest(trailer.salt, digests, "sha256"), kept.commitment):
        raise IntegrityFault("the ledger is committed to another content")


def _received(blob: Blob, kept: Kept, keyring: Keyring, syntax: TransferSyntax) -> tuple[_Chunks, Inspection]:
    """Steps 2 to 4: the data set as it was received, to be read again, and what it is."""
    held: list[bytes] | None = [] if blob.size <= _KEPT_BYTES else None
    address = hmac.new(keyring.address_key, digestmod=hashlib.sha256)
    inspector = DataSetInspector(syntax, WANTED, _LIMITS)
    misread: StorageError | None = None
    for chunk in blob.chunks():
        address.update(chunk)
        if held is not None:
            held.append(chunk)
        if misread is None:
            try:
                inspector.feed(chunk)
            except StorageError as error:
                misread = error
    if not hmac.compare_digest(address.digest(), kept.address):
        raise IntegrityFault("its bytes do not have the digest that is its address")
    try:
        if misread is not None:
            raise misread
        inspection = inspector.finish()
    except StorageError as error:
        raise IntegrityFault(f"its bytes are no data set: {error}") from error
    return (blob.chunks if held is None else lambda: held), inspection


def _check_signature(chunks: _Chunks, trailer: Trailer, syntax: TransferSyntax, signers: frozenset[bytes]) -> None:
    """Step 7."""
    inspector = DataSetInspector(syntax, frozenset(), _LIMITS)
    waiting = [inspector]

    def leaving() -> Iterator[bytes | memoryview]:
        # The first reading of the verifier is the inspector's too.
        listening = waiting.pop() if waiting else None
        for piece in outgoing(chunks(), syntax, trailer.splices):
            if listening is not None:
                listening.feed(piece)
            yield piece

    try:
        reports = verify_signatures(leaving, syntax, Trust(signers), _LIMITS)
        signed = inspector.finish()
    except StorageError as error:
        raise IntegrityFault(f"with its signature it is no data set: {error}") from error
    if signed.canonical_digest != trailer.canonical_digest:
        raise IntegrityFault("with its signature it is another object")
    ours = [report for report in reports if not report.path and report.uid == trailer.signature_uid]
    if len(ours) != 1:
        raise IntegrityFault("the archive's signature is not in it once")
    (report,) = ours
    if not report.valid:
        raise IntegrityFault(f"the archive's signature is not valid: {report.reason}")
    if report.trust is not SignerTrust.ARCHIVE:
        raise IntegrityFault("the archive's signature is by a signer that is not the archive's")
    if (report.signed_tags, report.value_digest) != (trailer.signed_tags, trailer.signature_value_digest):
        raise IntegrityFault("the archive's signature is not the one that its trailer names")
