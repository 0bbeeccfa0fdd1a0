"""A kept object on its way out: every byte verified before the first one leaves, our signature in its place.

1. the header opens under the keyring and names the object that the index asked for;
2. the trailer opens and repeats its length and address;
3. every chunk opens, and the keyed digest of all bytes is the address (DESIGN 4, Retrieve);
4. only then does a byte leave; what is too large to be kept in memory is opened chunk by chunk a second time.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final

from storage.blobs.format import OpenBlob
from storage.crypto.keyring import Keyring
from storage.errors import IntegrityFault, MalformedDataSet
from storage.instance import StoredInstance, Trailer
from storage.integrity.splice import outgoing, spliced_length
from storage.ports import BlobReader, BlobStore
from storage.transfer_syntax import transfer_syntax

IN_MEMORY_BYTES: Final = 4 * 1024 * 1024
"""An object up to this long is decrypted once; a larger one twice, since memory per association is bounded."""


class OutgoingBytes:
    """One verified object. `close` it, or use it as a context manager. Used by one thread."""

    def __init__(self, blobs: BlobStore, keyring: Keyring, stored: StoredInstance) -> None:
        """Verify the object.

        Raises:
            ObjectMissing: its bytes are not there.
            IntegrityFault: they are not what was stored, or not this object.
            KeyUnavailable: the key that wrapped its key is not in the keyring.
        """
        self.sop_class_uid = stored.key.sop_class_uid
        self.sop_instance_uid = stored.key.sop_instance_uid
        self.transfer_syntax = stored.transfer_syntax
        self._syntax = transfer_syntax(stored.transfer_syntax)
        self._kept: list[bytes] | None = [] if stored.size <= IN_MEMORY_BYTES else None
        self._length: int | None = None
        self._reader: BlobReader = blobs.open(stored.address)
        try:
            keep = self._kept.append if self._kept is not None else None
            self._blob = verified(self._reader, keyring, stored.address, keep)
            self._check(stored)
        except BaseException:
            self._reader.close()
            raise

    @property
    def signed_tags(self) -> tuple[int, ...]:
        """What our signature covers."""
        return self._blob.trailer.signed_tags

    @property
    def trailer(self) -> Trailer:
        """What was sealed behind its bytes."""
        return self._blob.trailer

    @property
    def length(self) -> int:
        """Bytes that `chunks` yields. Costs a pass over a deflated data set."""
        if self._length is None:
            if self._syntax.deflated:
                self._length = sum(len(chunk) for chunk in self.chunks())
            else:
                self._length = spliced_length(self._blob.size, self._blob.trailer.splices)
        return self._length

    def chunks(self) -> Iterator[bytes]:
        """The data set in the stored transfer syntax, in pieces of about 64 KiB. May be called more than once.

        Raises:
            IntegrityFault: the object changed since it was verified.
        """
        kept = self._blob.chunks() if self._kept is None else iter(self._kept)
        try:
            for piece in outgoing(kept, self._syntax, self._blob.trailer.splices):
                yield bytes(piece)
        except MalformedDataSet as error:
            raise IntegrityFault("a deflated object cannot be inflated any more") from error

    def close(self) -> None:
        """Release the object; idempotent."""
        self._reader.close()

    def __enter__(self) -> "OutgoingBytes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, stored: StoredInstance) -> None:
        envelope, declared = self._blob.envelope, self._blob.envelope.declared
        found = (envelope.object_id, declared.sop_class_uid, declared.sop_instance_uid, declared.transfer_syntax)
        asked = (stored.object_id, stored.key.sop_class_uid, stored.key.sop_instance_uid, stored.transfer_syntax)
        if found != asked or self._blob.size != stored.size:
            raise IntegrityFault("the bytes under an object's address are another object's")


def verified(
    reader: BlobReader, keyring: Keyring, address: bytes, take: Callable[[bytes], None] | None = None
) -> OpenBlob:
    """Open an object and verify every byte of it; ``take`` is given its plain chunks on the way.

    Raises:
        IntegrityFault: it is not what was stored under that address.
        KeyUnavailable: the key that wrapped its key is not in the keyring.
    """
    blob = OpenBlob(reader, keyring)
    digest = hmac.new(keyring.address_key, digestmod=hashlib.sha256)
    for chunk in blob.chunks():
        digest.update(chunk)
        if take is not None:
            take(chunk)
    if not digest.digest() == address == blob.trailer.received_digest:
        raise IntegrityFault("an object's bytes do not have the digest that is its address")
    return blob
