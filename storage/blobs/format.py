"""One stored object, byte by byte (docs/on-disk-format.md); the same whatever store holds it.

    object  = header (`storage.crypto.envelope`) ‖ chunks (`storage.crypto.stream`) ‖ trailer ‖ footer
    trailer = the fields of `storage.instance.Trailer` as JSON, sealed as one more chunk of kind 2
    footer  = length of the sealed trailer (4, big-endian) ‖ "SRBLOBZ1"

Every byte is authenticated or leaves only one value possible. What must never live here: files, folders, policy.
"""

import base64
import json
from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

from storage.crypto.envelope import MAX_HEADER_BYTES, Envelope, open_header, seal_header
from storage.crypto.keyring import Keyring
from storage.crypto.stream import (
    CHUNK_BYTES,
    LAST,
    MIDDLE,
    SEALED_CHUNK_BYTES,
    TAG_BYTES,
    TRAILER,
    ChunkCipher,
    SealingStream,
    Sink,
    plain_length,
)
from storage.errors import IntegrityFault
from storage.identifiers import ObjectId
from storage.instance import DeclaredInstance, Splice, Trailer, Uncovered
from storage.ports import BlobReader

FOOTER_MAGIC: Final = b"SRBLOBZ1"
_FOOTER: Final = Struct(">I8s")
MAX_TRAILER_BYTES: Final = 16 * 1024 * 1024
"""A trailer lists tags and signatures; one that claims more than this is not one."""
READ_CHUNKS: Final = 4
"""Chunks that are read at a time."""


class BlobSealer:
    """Makes one object: plain bytes in, the object's bytes to a sink."""

    def __init__(self, keyring: Keyring, object_id: ObjectId, declared: DeclaredInstance, sink: Sink) -> None:
        header, envelope = seal_header(keyring, object_id, declared)
        self._stream = SealingStream(ChunkCipher(envelope), sink, header)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the data set; the view is not kept. Raises what the sink raises."""
        self._stream.write(data)

    def finish(self) -> None:
        """The data set is complete."""
        self._stream.finish()

    def seal(self, trailer: Trailer) -> None:
        """After `finish`: everything that is left goes to the sink."""
        sealed = encode_trailer(trailer)
        self._stream.end(sealed, _FOOTER.pack(len(sealed) + TAG_BYTES, FOOTER_MAGIC))


class OpenBlob:
    """One object, header and trailer verified; its bytes are verified chunk by chunk as they are read."""

    def __init__(self, reader: BlobReader, keyring: Keyring) -> None:
        """The reader stays the caller's, who closes it.

        Raises:
            IntegrityFault: it is not an object, or not what was written.
            KeyUnavailable: the key that wrapped its key is not in the keyring.
        """
        self._reader = reader
        envelope, self._start = open_header(keyring, reader.read_at(0, MAX_HEADER_BYTES))
        self.envelope: Envelope = envelope
        self._cipher = ChunkCipher(envelope)
        footer = reader.size - _FOOTER.size
        trailer = self._trailer_length(footer)
        self._end = footer - trailer
        self.size = plain_length(self._end - self._start)
        """Bytes of the data set."""
        self.trailer = decode_trailer(self._cipher.open(0, TRAILER, reader.read_at(self._end, trailer)))
        if self.trailer.size != self.size:
            raise IntegrityFault("an object is not as long as its trailer says")

    def chunks(self) -> Iterator[bytes]:
        """The data set from its beginning, each piece verified before it is given out.

        Raises:
            IntegrityFault: what comes next is not what was written.
        """
        number = 0
        for start in range(self._start, self._end, READ_CHUNKS * SEALED_CHUNK_BYTES):
            length = min(READ_CHUNKS * SEALED_CHUNK_BYTES, self._end - start)
            sealed = memoryview(self._reader.read_at(start, length))
            if len(sealed) < length:
                raise IntegrityFault("an object ends before its end")
            for at in range(0, length, SEALED_CHUNK_BYTES):
                last = start + at + SEALED_CHUNK_BYTES >= self._end
                yield self._cipher.open(number, LAST if last else MIDDLE, sealed[at : at + SEALED_CHUNK_BYTES])
                number += 1

    def read(self, offset: int, length: int) -> bytes:
        """Some bytes of the data set, fewer only at its end; only the chunks that hold them are opened.

        Raises:
            IntegrityFault: they are not what was written.
        """
        stop = min(offset + length, self.size)
        if offset >= stop:
            return b""
        first, last = offset // CHUNK_BYTES, (stop - 1) // CHUNK_BYTES
        plain = b"".join(self._chunk(number) for number in range(first, last + 1))
        return plain[offset - first * CHUNK_BYTES : stop - first * CHUNK_BYTES]

    def _chunk(self, number: int) -> bytes:
        start = self._start + number * SEALED_CHUNK_BYTES
        stop = min(start + SEALED_CHUNK_BYTES, self._end)
        kind = LAST if stop == self._end else MIDDLE
        return self._cipher.open(number, kind, self._reader.read_at(start, stop - start))

    def _trailer_length(self, footer: int) -> int:
        data = self._reader.read_at(footer, _FOOTER.size) if footer > self._start else b""
        if len(data) < _FOOTER.size:
            raise IntegrityFault("an object has no footer")
        length, magic = _FOOTER.unpack(data)
        if magic != FOOTER_MAGIC or not TAG_BYTES <= length <= min(MAX_TRAILER_BYTES, footer - self._start):
            raise IntegrityFault("an object's footer is not one")
        return int(length)


def encode_trailer(trailer: Trailer) -> bytes:
    """A trailer as JSON; bytes in base64, tags as numbers."""
    fields = {
        "canonical_digest": _text(trailer.canonical_digest),
        "received_digest": _text(trailer.received_digest),
        "size": trailer.size,
        "splices": [[splice.offset, splice.removed, _text(splice.inserted)] for splice in trailer.splices],
        "signature_uid": trailer.signature_uid,
        "signature_value_digest": _text(trailer.signature_value_digest),
        "signed_tags": trailer.signed_tags,
        "uncovered": [[element.tag, element.reason] for element in trailer.uncovered],
        "foreign_signatures": [_text(digest) for digest in trailer.foreign_signatures],
        "salt": _text(trailer.salt),
        "provenance": _text(trailer.provenance),
    }
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def decode_trailer(data: bytes) -> Trailer:
    """The inverse of `encode_trailer`. Raises `IntegrityFault`."""
    try:
        fields: dict[str, Any] = json.loads(data)
        return Trailer(
            canonical_digest=_bytes(fields["canonical_digest"]),
            received_digest=_bytes(fields["received_digest"]),
            size=int(fields["size"]),
            splices=tuple(
                Splice(int(offset), int(removed), _bytes(inserted)) for offset, removed, inserted in fields["splices"]
            ),
            signature_uid=str(fields["signature_uid"]),
            signature_value_digest=_bytes(fields["signature_value_digest"]),
            signed_tags=tuple(map(int, fields["signed_tags"])),
            uncovered=tuple(Uncovered(int(tag), str(reason)) for tag, reason in fields["uncovered"]),
            foreign_signatures=tuple(_bytes(digest) for digest in fields["foreign_signatures"]),
            salt=_bytes(fields["salt"]),
            provenance=_bytes(fields["provenance"]),
        )
    except (ValueError, KeyError, TypeError):
        raise IntegrityFault("an object's trailer is not one that this release reads") from None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
