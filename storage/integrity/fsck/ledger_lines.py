"""The checker's own reader of the ledger (docs/on-disk-format.md): every byte of every record, in order.

1. the line ends with the MAC of all that is before it;
2. its sequence is the one after the line before;
3. it names the digest of the line before;
4. its provenance opens at this place.

It can be asked again for what was appended meanwhile. Pure reading: no lock, no handle that writes.
"""

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.errors import LedgerDamaged

MAX_LINE_BYTES: Final = 4 * 1024 * 1024
"""Far above any record; a line that has no end is not read to its end."""
_MAC: Final = re.compile(rb',"mac":"([0-9a-f]{64})"\}')
_MAC_BYTES: Final = len(b',"mac":""}') + 64
_KEYS: Final = ["seq", "time", "event", "facts", "provenance", "prev"]
_NO_LINE: Final = "0" * 64
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Line:
    """One verified record."""

    sequence: int
    time: str
    event: str
    facts: dict[str, Any]
    index: dict[str, Any] | None
    """What the index said of the study of an erased object, out of the provenance; None if nothing is kept of it."""


class LedgerLines:
    """Reads one ledger from its beginning. `close` it."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key
        self._provenance = AESGCM(hmac.digest(key, b"provenance", "sha256"))
        self._file: BinaryIO | None = None
        self._segment: str | None = None
        self._previous = _NO_LINE
        self.sequence = 0
        """Of the last record read."""
        self.tail = 0
        """Bytes behind it that are no complete line."""
        self.segments: set[str] = set()
        """Names of the files read."""

    def more(self) -> Iterator[Line]:
        """The records behind the last one read, up to the end of what is there now.

        Raises:
            LedgerDamaged: one is not what was written, or not at its place. Nothing behind it can be read.
            OSError: a file cannot be read.
        """
        while self._opened():
            for line in self._lines():
                yield self._verified(line)
            following = self._name()
            if following == self._segment or not (self._folder / following).exists():
                return
            if self.tail:
                raise LedgerDamaged(f"record {self.sequence + 1} of the ledger is incomplete, and others follow")
            self.close()

    def close(self) -> None:
        """Close the file that is open; idempotent."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _name(self) -> str:
        """Of the segment that begins with the next record."""
        return f"{self.sequence + 1:016d}.jsonl"

    def _opened(self) -> bool:
        """Whether there is a segment to read from."""
        if self._file is None:
            name = self._name()
            try:
                self._file = (self._folder / name).open("rb")
            except FileNotFoundError:
                return False
            self._segment = name
            self.segments.add(name)
        return True

    def _lines(self) -> Iterator[bytes]:
        file = self._file
        while file is not None:
            start = file.tell()
            line = file.readline(MAX_LINE_BYTES + 1)
            if not line.endswith(b"\n"):
                if len(line) > MAX_LINE_BYTES:
                    raise LedgerDamaged(f"record {self.sequence + 1} of the ledger has no end")
                file.seek(start)
                self.tail = len(line)
                return
            self.tail = 0
            yield line[:-1]

    def _verified(self, line: bytes) -> Line:
        sequence = self.sequence + 1
        body, tail = line[:-_MAC_BYTES], line[-_MAC_BYTES:]
        found = _MAC.fullmatch(tail)
        mac = hmac.digest(self._key, body, "sha256").hex().encode("ascii")
        if found is None or not hmac.compare_digest(found[1], mac):
            raise LedgerDamaged(f"record {sequence} of the ledger is not what was written")
        try:
            fields = json.loads(body + b"}")
            keys, number, event, facts = list(fields), fields["seq"], fields["event"], fields["facts"]
            previous, sealed = fields["prev"], base64.b64decode(fields["provenance"], validate=True)
            time = str(fields["time"])
        except (ValueError, KeyError, TypeError):
            raise LedgerDamaged(f"record {sequence} of the ledger has no form that this release reads") from None
        if keys != _KEYS or not isinstance(event, str) or not isinstance(facts, dict):
            raise LedgerDamaged(f"record {sequence} of the ledger has no form that this release reads")
        if number != sequence or previous != self._previous:
            raise LedgerDamaged(f"record {sequence} of the ledger does not follow the one before")
        place = sequence.to_bytes(8, "big") + bytes.fromhex(self._previous)
        try:
            provenance = json.loads(self._provenance.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place))
            said = provenance.get("index") if isinstance(provenance, dict) and event == "erased" else None
        except (InvalidTag, ValueError):
            raise LedgerDamaged(f"the provenance of record {sequence} of the ledger cannot be opened") from None
        self._previous = hashlib.sha256(line).hexdigest()
        self.sequence = sequence
        return Line(sequence, time, event, facts, said if isinstance(said, dict) else None)
