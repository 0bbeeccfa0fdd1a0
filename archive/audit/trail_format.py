"""The bytes of the audit trail: segments of framed, encrypted, chained records (docs/on-disk-format.md).

    segment = header ‖ frame*
    header  = "SRTRAIL1" ‖ trail id (16) ‖ first sequence (8) ‖ chain before it (32) ‖ ledger position before it (8)
              ‖ HMAC-SHA-256 of all that under the audit key (32)
    frame   = length (4) ‖ nonce (12) ‖ AES-256-GCM(record), additional data: trail id ‖ sequence (8) ‖ chain (32)
    chain'  = SHA-256(chain ‖ frame)

Integers are big-endian. A record cannot be changed, moved, dropped from the middle or read without the audit key.
Pure: bytes in, values out.
"""

import hashlib
import hmac
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from archive.errors import TrailDamaged

_MAGIC: Final = b"SRTRAIL1"
_HEADER: Final = struct.Struct(">8s16sQ32sQ")
_LENGTH: Final = struct.Struct(">I")
_BOUND: Final = struct.Struct(">16sQ32s")
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
HEADER_BYTES: Final = _HEADER.size + 32
MAX_RECORD_BYTES: Final = 4 * 1024 * 1024
SEGMENT_SUFFIX: Final = ".trail"


class IncompleteFrame(TrailDamaged):
    """The segment ends inside a frame: an append that a crash cut short, and that nobody was told of."""

    number = 112


@dataclass(frozen=True, slots=True)
class Position:
    """Where the trail stands between two records."""

    trail_id: bytes
    sequence: int
    """Of the last record; 0 before the first."""
    chain: bytes
    ledger: int
    """The highest ledger sequence that a record so far speaks of."""

    @classmethod
    def beginning(cls) -> "Position":
        """Of a new trail."""
        trail_id = os.urandom(16)
        return cls(trail_id, 0, hashlib.sha256(_MAGIC + trail_id).digest(), 0)

    def after(self, frame: bytes, ledger: int) -> "Position":
        """The position behind one more frame."""
        chain = hashlib.sha256(self.chain + frame).digest()
        return Position(self.trail_id, self.sequence + 1, chain, max(self.ledger, ledger))


@dataclass(frozen=True, slots=True)
class TrailRecord:
    """One record of the trail, decrypted."""

    sequence: int
    time: str
    """When it was recorded: ISO 8601 with offset."""
    kind: str
    """The event's kind (`archive.audit.events`)."""
    facts: dict[str, Any]
    ledger: int = 0
    """The ledger sequence it speaks of; 0 if none."""
    recovered: bool = False
    """Written at start-up for something that had been committed without its record."""


class FrameCodec:
    """Seals and opens records under the audit key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead = AESGCM(key)

    def header(self, before: Position) -> bytes:
        """The header of a segment whose first record follows ``before``."""
        fields = _HEADER.pack(_MAGIC, before.trail_id, before.sequence + 1, before.chain, before.ledger)
        return fields + self._tag(fields)

    def open_header(self, data: bytes) -> Position:
        """The position before a segment's first record. Raises `TrailDamaged`."""
        if len(data) < HEADER_BYTES:
            raise IncompleteFrame("a segment of the audit trail has no complete header")
        fields, tag = data[: _HEADER.size], data[_HEADER.size : HEADER_BYTES]
        if not hmac.compare_digest(tag, self._tag(fields)):
            raise TrailDamaged("the header of a segment of the audit trail is not authentic")
        _, trail_id, first, chain, ledger = _HEADER.unpack(fields)
        return Position(trail_id, first - 1, chain, ledger)

    def seal(self, before: Position, record: dict[str, Any]) -> bytes:
        """The frame of one record that follows ``before``."""
        nonce = os.urandom(_NONCE_BYTES)
        plain = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        sealed = nonce + self._aead.encrypt(nonce, plain, self._bound(before))
        return _LENGTH.pack(len(sealed)) + sealed

    def records(self, data: bytes, position: Position) -> Iterator[tuple[TrailRecord, Position, int]]:
        """Every record of a segment's frames, each with the position behind it and the offset where it ends.

        Raises:
            IncompleteFrame: the data ends inside a frame.
            TrailDamaged: a frame is not what was written.
        """
        offset = 0
        while offset < len(data):
            end = self._frame_end(data, offset, position)
            frame = data[offset:end]
            record = self._open(frame, position)
            position = position.after(frame, record.ledger)
            yield record, position, end
            offset = end

    def _frame_end(self, data: bytes, offset: int, before: Position) -> int:
        start = offset + _LENGTH.size
        if start > len(data):
            raise IncompleteFrame(f"the audit trail ends inside record {before.sequence + 1}")
        (length,) = _LENGTH.unpack_from(data, offset)
        if not _NONCE_BYTES + _TAG_BYTES <= length <= MAX_RECORD_BYTES:
            raise TrailDamaged(f"record {before.sequence + 1} of the audit trail has an impossible length")
        if start + length > len(data):
            raise IncompleteFrame(f"the audit trail ends inside record {before.sequence + 1}")
        return int(start + length)

    def _open(self, frame: bytes, before: Position) -> TrailRecord:
        nonce = frame[_LENGTH.size : _LENGTH.size + _NONCE_BYTES]
        try:
            plain = self._aead.decrypt(nonce, frame[_LENGTH.size + _NONCE_BYTES :], self._bound(before))
        except InvalidTag:
            raise TrailDamaged(f"record {before.sequence + 1} of the audit trail is not what was written") from None
        fields = json.loads(plain.decode("utf-8", "surrogatepass"))
        return TrailRecord(
            sequence=before.sequence + 1,
            time=fields["time"],
            kind=fields["kind"],
            facts=fields["facts"],
            ledger=fields.get("ledger", 0),
            recovered=fields.get("recovered", False),
        )

    def _bound(self, before: Position) -> bytes:
        return _BOUND.pack(before.trail_id, before.sequence + 1, before.chain)

    def _tag(self, fields: bytes) -> bytes:
        return hmac.digest(self._key, b"trail header" + fields, "sha256")
