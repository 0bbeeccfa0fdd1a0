"""The ledger: what was committed, in order, so that nothing can be added, changed or dropped unseen.

    folder/<first sequence, 16 digits>.jsonl      segments; a new one is begun once the last has grown large
    line = JSON object ‖ newline; its keys in this order: seq, time, event, facts, provenance, prev, mac
    prev = SHA-256 of the line before, without its newline, in hexadecimal; 64 zeros before the first line of all
    mac  = HMAC-SHA-256 under the ledger key of the line's bytes up to `,"mac":`
    provenance = base64(nonce (12) ‖ AES-256-GCM(JSON)), key: HMAC-SHA-256(ledger key, "provenance"),
                 additional data: sequence (8, big-endian) ‖ prev (32)

The sync of a batch is the commit point of its events (docs/on-disk-format.md, docs/decisions). One writer; a sync that
fails is never retried. What must never live here: what an event means.
"""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage import disk
from storage.errors import LedgerDamaged, StoreReadOnly
from storage.ports import LedgerEntry

MAX_BATCH: Final = 64
"""Events that share one sync; also the most lines that a crash can cut short."""
SEGMENT_BYTES: Final = 8 * 1024 * 1024
"""A segment that has grown past this is followed by a new one; start-up reads the last one only."""
_SUFFIX: Final = ".jsonl"
_BEGINNING: Final = "0" * 64
_NONCE_BYTES: Final = 12
_MAC: Final = b',"mac":"'
_MAC_BYTES: Final = len(_MAC) + 64 + len(b'"}')


@dataclass(frozen=True, slots=True)
class Event:
    """Something about to be committed."""

    event: str
    facts: dict[str, object]
    provenance: dict[str, object] = field(repr=False)


class LineCodec:
    """Lines of the ledger to and from events, under the ledger key. Pure."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead = AESGCM(hmac.digest(key, b"provenance", "sha256"))

    def seal(self, sequence: int, time: str, event: Event, previous: str) -> bytes:
        """The line of an event, without its newline; ``previous`` is the digest of the line before."""
        fields = {
            "seq": sequence,
            "time": time,
            "event": event.event,
            "facts": event.facts,
            "provenance": self._sealed(event.provenance, sequence, previous),
            "prev": previous,
        }
        body = json.dumps(fields, separators=(",", ":")).encode("ascii")[:-1]
        return body + _MAC + self._mac(body) + b'"}'

    def open(self, line: bytes, sequence: int, previous: str | None) -> LedgerEntry:
        """The event of a line that has to have this sequence and follow this one; None: whatever it says it follows.

        Raises:
            LedgerDamaged: it is not what was written, or not at this place.
        """
        body, tail = line[:-_MAC_BYTES], line[-_MAC_BYTES:]
        if not hmac.compare_digest(tail, _MAC + self._mac(body) + b'"}'):
            raise LedgerDamaged(f"record {sequence} of the ledger is not what was written")
        fields: dict[str, Any] = json.loads(body + b"}")
        if fields["seq"] != sequence or (previous is not None and fields["prev"] != previous):
            raise LedgerDamaged(f"record {sequence} of the ledger does not follow the one before")
        provenance = self._opened(fields["provenance"], sequence, fields["prev"])
        return LedgerEntry(sequence, fields["event"], fields["time"], fields["facts"], provenance)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256").hex().encode("ascii")

    def _sealed(self, provenance: dict[str, object], sequence: int, previous: str) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        plain = json.dumps(provenance, separators=(",", ":")).encode("ascii")
        sealed = nonce + self._aead.encrypt(nonce, plain, _place(sequence, previous))
        return base64.b64encode(sealed).decode("ascii")

    def _opened(self, text: str, sequence: int, previous: str) -> dict[str, object]:
        sealed = base64.b64decode(text)
        try:
            plain = self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _place(sequence, previous))
        except (InvalidTag, ValueError):
            raise LedgerDamaged(f"the provenance of record {sequence} of the ledger cannot be opened") from None
        opened: dict[str, object] = json.loads(plain)
        return opened


@dataclass(frozen=True, slots=True)
class _End:
    """Where a ledger ends."""

    sequence: int
    previous: str
    segment: Path
    size: int
    """Bytes of the segment that are records."""
    torn: int
    """Bytes of the segment behind them."""


class Ledger:
    """The ledger of one folder, open for appending. Not thread-safe: the committer is its only writer."""

    def __init__(self, folder: Path, key: bytes, reached: int, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open the ledger, making it if there is none (the folder's parent must exist).

        ``reached``: the highest sequence that the trail or the index speaks of. An append beyond it that a crash cut
        short was acknowledged to nobody and is cut off; `torn` says how many bytes that were.

        Raises:
            LedgerDamaged: a record is not what was written, or the ledger ends before ``reached``.
            StoreReadOnly: the folder or file cannot be opened or written.
        """
        self._folder = folder
        self._codec = LineCodec(key)
        self._segment_bytes = segment_bytes
        self._broken = False
        try:
            disk.make_folder(folder)
            end = _end(folder, self._codec, reached)
            self._file = os.open(end.segment, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            if end.torn:
                os.ftruncate(self._file, end.size)
                os.fsync(self._file)
        except OSError as error:
            raise StoreReadOnly(f"the ledger cannot be opened: {error.strerror}") from error
        self.torn = end.torn
        self._sequence, self._previous, self._size = end.sequence, end.previous, end.size

    @property
    def sequence(self) -> int:
        """Of the last record; 0 if none."""
        return self._sequence

    def append(self, events: Sequence[Event], time: str) -> list[LedgerEntry]:
        """Commit events: they are on stable storage on return. At most `MAX_BATCH`; ``time`` is ISO 8601 with offset.

        Raises:
            StoreReadOnly: whether they are on stable storage is unknown, and nothing more will be appended.
        """
        if self._broken:
            raise StoreReadOnly("the ledger cannot be written any more")
        lines, entries, previous = bytearray(), [], self._previous
        for sequence, event in enumerate(events, self._sequence + 1):
            line = self._codec.seal(sequence, time, event, previous)
            previous = hashlib.sha256(line).hexdigest()
            lines += line + b"\n"
            entries.append(LedgerEntry(sequence, event.event, time, event.facts, event.provenance))
        try:
            if self._size >= self._segment_bytes:
                self._next_segment()
            disk.write_all(self._file, lines)
            os.fdatasync(self._file)
        except OSError as error:
            self._broken = True
            raise StoreReadOnly(f"the ledger cannot be written: {error.strerror}") from error
        self._sequence += len(entries)
        self._previous = previous
        self._size += len(lines)
        return entries

    def entries(self, after: int = 0) -> Iterator[LedgerEntry]:
        """The records behind a sequence, each verified. Raises `LedgerDamaged`."""
        return read_ledger(self._folder, self._codec, after)

    def close(self) -> None:
        """Stop; idempotent."""
        file, self._file = self._file, -1
        self._broken = True
        if file >= 0:
            os.close(file)

    def _next_segment(self) -> None:
        path = _path(self._folder, self._sequence + 1)
        disk.create_exclusive(path, b"")
        os.close(self._file)
        self._file = -1
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._size = 0


def read_ledger(folder: Path, codec: LineCodec, after: int = 0) -> Iterator[LedgerEntry]:
    """The complete records behind a sequence, in order; from the segment that holds the first of them, each verified.

    Raises:
        LedgerDamaged: a record is not what was written, or a segment is missing.
    """
    segments = _segments(folder)
    begins = [index for index, (first, _) in enumerate(segments) if first <= after + 1]
    expected, previous = (segments[begins[-1]][0], None) if begins else (1, None)
    for first, path in segments[begins[-1] if begins else 0 :]:
        if first != expected:
            raise LedgerDamaged(f"the ledger is interrupted before record {first}")
        for line in _lines(path.read_bytes()):
            entry = codec.open(line, expected, _BEGINNING if expected == 1 else previous)
            previous = hashlib.sha256(line).hexdigest()
            expected += 1
            if entry.sequence > after:
                yield entry


def _end(folder: Path, codec: LineCodec, reached: int) -> _End:
    """Read the last segment that has a record, and decide what a crash left behind it."""
    segments = _segments(folder)
    if not segments:
        if reached:
            raise LedgerDamaged(f"the ledger is not there, and record {reached} of it was")
        path = _path(folder, 1)
        disk.create_exclusive(path, b"")
        return _End(0, _BEGINNING, path, 0, 0)
    first, path = segments[-1]
    last = _scan(path, first, None, codec, reached)
    if last.sequence == 0 and len(segments) > 1:
        # A segment was begun and nothing in it was committed: its first record will follow the one before.
        before_first, before = segments[-2]
        end = _scan(before, before_first, None, codec, max(reached, first - 1))
        if end.sequence != first - 1 or end.torn:
            raise LedgerDamaged(f"the ledger is interrupted before record {first}")
        last = _End(end.sequence, end.previous, path, 0, last.torn)
    elif last.sequence == 0 and first != 1:
        raise LedgerDamaged("the first segment of the ledger is missing")
    if last.sequence < reached:
        raise LedgerDamaged(f"the ledger ends at record {last.sequence}, and record {reached} of it was told of")
    return last


def _scan(path: Path, first: int, previous: str | None, codec: LineCodec, reached: int) -> _End:
    """Read one segment to its end, or to the first record that is not what was written."""
    data = path.read_bytes()
    size, sequence = 0, first - 1
    previous = _BEGINNING if first == 1 else previous
    for line in _lines(data):
        try:
            codec.open(line, sequence + 1, previous)
        except LedgerDamaged:
            if sequence + 1 <= reached or data.count(b"\n", size) > MAX_BATCH:
                raise
            break
        previous = hashlib.sha256(line).hexdigest()
        sequence += 1
        size += len(line) + 1
    if size == 0:
        return _End(0, _BEGINNING, path, 0, len(data))
    return _End(sequence, previous or _BEGINNING, path, size, len(data) - size)


def _lines(data: bytes) -> Iterator[bytes]:
    """The complete lines, without their newlines."""
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        yield data[start:end]
        start = end + 1


def _segments(folder: Path) -> list[tuple[int, Path]]:
    """Every segment with the sequence of its first record, in order."""
    names = sorted(path for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal() and len(path.stem) == 16)
    return [(int(path.stem), path) for path in names]


def _path(folder: Path, first: int) -> Path:
    return folder / f"{first:016d}{_SUFFIX}"


def _place(sequence: int, previous: str) -> bytes:
    return sequence.to_bytes(8, "big") + bytes.fromhex(previous)
