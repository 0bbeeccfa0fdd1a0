"""The checker's own reader of one object's file (docs/on-disk-format.md): no byte of it is left unread.

    header = "SRBLOB01" ‖ object id (16) ‖ key id (16) ‖ length (2) ‖ wrapped {data key (32), prefix (7), names}
    chunks = AES-256-GCM of 64 KiB each; nonce: prefix ‖ number (4) ‖ kind (1); the last one may be shorter
    trailer, sealed as one chunk of number 0 and kind 2 ‖ its length (4) ‖ "SRBLOBZ1"

Each chunk is bound to: object id ‖ key id ‖ names ‖ number ‖ kind. Integers are big-endian.
"""

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.crypto.keyring import Keyring
from storage.errors import IntegrityFault, ObjectMissing
from storage.instance import Splice, Trailer, Uncovered

_HEADER_MAGIC: Final = b"SRBLOB01"
_FOOTER_MAGIC: Final = b"SRBLOBZ1"
_FIXED_BYTES: Final = 8 + 16 + 16 + 2
_FOOTER_BYTES: Final = 4 + 8
_SECRET_BYTES: Final = 32 + 7
_TAG_BYTES: Final = 16
_CHUNK_BYTES: Final = 65536
_SEALED_BYTES: Final = _CHUNK_BYTES + _TAG_BYTES
_MIDDLE, _LAST, _TRAILER = 0, 1, 2
_MAX_TRAILER_BYTES: Final = 16 * 1024 * 1024
_MAX_NAME_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class Names:
    """What a header says the object is."""

    object_id: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str


class Blob:
    """One object's file, header and trailer verified. Use as a context manager."""

    names: Names
    trailer: Trailer
    size: int
    """Bytes of the data set, by the length of the file."""

    def __init__(self, path: Path, keyring: Keyring) -> None:
        """Open the file.

        Raises:
            ObjectMissing: there is none.
            IntegrityFault: header, trailer or length are not what was written.
            KeyUnavailable: the key that wrapped its key is not in the keyring.
        """
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise ObjectMissing("its file is not there") from None
        except OSError as error:
            raise IntegrityFault(f"its file cannot be opened: {error.strerror}") from None
        try:
            self._length = os.fstat(self._file).st_size
            self._start = self._open_header(keyring)
            self._end = self._open_trailer()
            self.size = self._plain_size()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Blob":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; idempotent."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def chunks(self) -> Iterator[bytes]:
        """The data set, a chunk at a time, each verified. Raises `IntegrityFault`."""
        for number, start in enumerate(range(self._start, self._end, _SEALED_BYTES)):
            length = min(_SEALED_BYTES, self._end - start)
            kind = _LAST if start + length == self._end else _MIDDLE
            yield self._unsealed(number, kind, self._read(start, length))

    def _open_header(self, keyring: Keyring) -> int:
        fixed = self._read(0, _FIXED_BYTES)
        if fixed[:8] != _HEADER_MAGIC:
            raise IntegrityFault("its header is not one")
        object_id, key_id, length = fixed[8:24], fixed[24:40], int.from_bytes(fixed[40:42], "big")
        secret = keyring.unwrap(key_id, self._read(_FIXED_BYTES, length), fixed)
        names = secret[_SECRET_BYTES:]
        texts = []
        rest = names
        while rest:
            text, rest = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
            texts.append(text.decode("ascii", "replace"))
        if len(texts) != 3 or any(not 0 < len(text) <= _MAX_NAME_BYTES for text in texts):
            raise IntegrityFault("its header names no object")
        self.names = Names(object_id.hex(), *texts)
        self._aead = AESGCM(secret[:32])
        self._prefix = secret[32:_SECRET_BYTES]
        self._binding = object_id + key_id + names
        return _FIXED_BYTES + length

    def _open_trailer(self) -> int:
        """Where the chunks end."""
        footer = self._read(max(self._length - _FOOTER_BYTES, 0), _FOOTER_BYTES)
        length = int.from_bytes(footer[:4], "big")
        end = self._length - _FOOTER_BYTES - length
        if footer[4:] != _FOOTER_MAGIC or not _TAG_BYTES <= length <= _MAX_TRAILER_BYTES or end < self._start:
            raise IntegrityFault("its footer is not one")
        self.trailer = _trailer(self._unsealed(0, _TRAILER, self._read(end, length)))
        return end

    def _plain_size(self) -> int:
        """Every chunk but the last is full, and there is at least one."""
        size = self.trailer.size
        chunks = max(1, (size + _CHUNK_BYTES - 1) // _CHUNK_BYTES)
        if size < 0 or self._end - self._start != size + chunks * _TAG_BYTES:
            raise IntegrityFault("its file is not as long as its trailer says")
        return size

    def _read(self, offset: int, length: int) -> bytes:
        data = b""
        try:
            while len(data) < length and (more := os.pread(self._file, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise IntegrityFault(f"its file cannot be read: {error.strerror}") from None
        if len(data) < length:
            raise IntegrityFault("its file ends too early")
        return data

    def _unsealed(self, number: int, kind: int, sealed: bytes) -> bytes:
        place = number.to_bytes(4, "big") + bytes([kind])
        try:
            return self._aead.decrypt(self._prefix + place, sealed, self._binding + place)
        except InvalidTag:
            what = "its trailer" if kind == _TRAILER else f"chunk {number} of it"
            raise IntegrityFault(f"{what} is not what was written") from None


def _trailer(data: bytes) -> Trailer:
    def raw(text: str) -> bytes:
        return base64.b64decode(text, validate=True)

    try:
        fields: dict[str, Any] = json.loads(data)
        trailer = Trailer(
            canonical_digest=raw(fields["canonical_digest"]),
            received_digest=raw(fields["received_digest"]),
            size=int(fields["size"]),
            splices=tuple(Splice(int(at), int(removed), raw(put)) for at, removed, put in fields["splices"]),
            signature_uid=str(fields["signature_uid"]),
            signature_value_digest=raw(fields["signature_value_digest"]),
            signed_tags=tuple(int(tag) for tag in fields["signed_tags"]),
            uncovered=tuple(Uncovered(int(tag), str(reason)) for tag, reason in fields["uncovered"]),
            foreign_signatures=tuple(raw(digest) for digest in fields["foreign_signatures"]),
            salt=raw(fields["salt"]),
            provenance=raw(fields["provenance"]),
        )
    except (ValueError, KeyError, TypeError):
        raise IntegrityFault("its trailer is not one that this release reads") from None
    if fields.keys() != Trailer.__dataclass_fields__.keys():
        raise IntegrityFault("its trailer says more than this release reads")
    return trailer
