"""What the ledger says is kept, by study and by object, in a private scratch database.

SQLite keeps that in memory as far as `_CACHE_KIB` goes, and in a nameless temporary file beyond. It holds what the
ledger holds in clear (identifiers, no patient) and is gone with the connection.
"""

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any, Final

from storage.errors import LedgerDamaged
from storage.integrity.fsck.ledger_lines import LedgerLines, Line
from storage.integrity.fsck.report import Findings

_CACHE_KIB: Final = 32 * 1024
_PAGE: Final = 500
LAST: Final = (1 << 63) - 1
"""Above any sequence."""
_OBJECT_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX_SIZE: Final = 1 << 62

_SCHEMA: Final = """
CREATE TABLE object (
    sequence INTEGER PRIMARY KEY, study TEXT, series TEXT, instance TEXT UNIQUE, sop_class TEXT, syntax TEXT,
    object_id TEXT UNIQUE, address BLOB UNIQUE, size INTEGER, commitment BLOB, indexed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX object_study ON object (study, sequence);
CREATE TABLE label (sequence INTEGER PRIMARY KEY, study TEXT, value TEXT, present INTEGER);
CREATE INDEX label_study ON label (study, sequence);
"""
_COLUMNS: Final = "sequence, study, series, instance, sop_class, syntax, object_id, address, size, commitment"


@dataclass(frozen=True, slots=True)
class Kept:
    """One object, as the ledger record that stored it says."""

    sequence: int
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax: str
    object_id: str
    address: bytes
    size: int
    commitment: bytes

    def __str__(self) -> str:
        return f"object {self.object_id} (record {self.sequence})"


class Catalogue:
    """The ledger's records by what they are about. `close` it."""

    def __init__(self, lines: LedgerLines, findings: Findings) -> None:
        self._lines = lines
        self._findings = findings
        self.damaged = False
        """A record could not be read: what follows it is unknown."""
        self._scratch = sqlite3.connect("", isolation_level=None)
        self._scratch.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._scratch.execute("PRAGMA journal_mode = OFF")
        self._scratch.executescript(_SCHEMA)

    @property
    def sequence(self) -> int:
        """Of the last record read."""
        return self._lines.sequence

    def advance(self) -> None:
        """Read what the ledger holds by now; faults in it are told once."""
        if self.damaged:
            return
        try:
            for line in self._lines.more():
                self._take(line)
        except LedgerDamaged as error:
            self.damaged = True
            self._findings.add(f"ledger: {error}; what follows it was not read")
        except OSError as error:
            self.damaged = True
            self._findings.add(f"ledger: it cannot be read after record {self.sequence}: {error.strerror}")

    def count(self) -> int:
        """Objects."""
        return int(self._one("SELECT count(*) FROM object")[0])

    def studies(self) -> Iterator[str]:
        """Every study, those that come meanwhile perhaps."""
        after = ""
        while (found := self._one("SELECT min(study) FROM object WHERE study > ?", after)[0]) is not None:
            yield (after := found)

    def objects(self, study_uid: str, after: int, upto: int) -> Iterator[Kept]:
        """A study's objects whose records come after one sequence and not after another, in that order."""
        statement = f"SELECT {_COLUMNS} FROM object WHERE study = ? AND sequence > ? AND sequence <= ?"  # noqa: S608
        yield from self._paged(statement, after, lambda at: (study_uid, at, upto))

    def every_object(self) -> Iterator[Kept]:
        """All, in the order of their records."""
        statement = f"SELECT {_COLUMNS} FROM object WHERE sequence > ?"  # noqa: S608
        yield from self._paged(statement, 0, lambda at: (at,))

    def at(self, sequence: int) -> Kept | None:
        """The object that a record stored."""
        found = self._one(f"SELECT {_COLUMNS} FROM object WHERE sequence = ?", sequence)  # noqa: S608
        return Kept(*found) if found else None

    def keeps(self, address: bytes) -> bool:
        """Whether an object is kept under an address."""
        return bool(self._one("SELECT 1 FROM object WHERE address = ?", address))

    def keeps_study(self, study_uid: str) -> bool:
        """Whether anything of a study is kept."""
        return bool(self._one("SELECT 1 FROM object WHERE study = ?", study_uid))

    def labels(self, study_uid: str, upto: int) -> frozenset[str]:
        """The labels that a study carries after a record."""
        statement = "SELECT value, present FROM label WHERE study = ? AND sequence <= ? ORDER BY sequence"
        held: set[str] = set()
        for value, present in self._scratch.execute(statement, (study_uid, upto)):
            (held.add if present else held.discard)(value)
        return frozenset(held)

    def mark_indexed(self, sequence: int) -> None:
        """The index has a row of this record's object."""
        self._scratch.execute("UPDATE object SET indexed = 1 WHERE sequence = ?", (sequence,))

    def not_indexed(self, upto: int) -> Iterator[Kept]:
        """Objects up to a record that were not marked."""
        statement = f"SELECT {_COLUMNS} FROM object WHERE indexed = 0 AND sequence > ? AND sequence <= ?"  # noqa: S608
        yield from self._paged(statement, 0, lambda at: (at, upto))

    def close(self) -> None:
        """Forget everything."""
        self._lines.close()
        self._scratch.close()

    def _paged(self, statement: str, after: int, values: Any) -> Iterator[Kept]:
        """In pages, so that what is read meanwhile may be added."""
        while rows := self._scratch.execute(f"{statement} ORDER BY sequence LIMIT {_PAGE}", values(after)).fetchall():
            after = rows[-1][0]
            for row in rows:
                yield Kept(*row)

    def _one(self, statement: str, *values: object) -> Any:
        return self._scratch.execute(statement, values).fetchone()

    def _take(self, line: Line) -> None:
        if line.event == "stored":
            self._take_object(line)
        elif line.event in ("labelled", "unlabelled"):
            study, label = line.facts.get("study_uid"), line.facts.get("label")
            if isinstance(study, str) and isinstance(label, str):
                row = (line.sequence, study, label, line.event == "labelled")
                self._scratch.execute("INSERT INTO label VALUES (?, ?, ?, ?)", row)
            else:
                self._findings.add(f"ledger: record {line.sequence} names no study and label")
        elif line.event != "authority":
            self._findings.add(f"ledger: record {line.sequence} is an event that this release does not know")

    def _take_object(self, line: Line) -> None:
        kept = _kept(line)
        if kept is None:
            self._findings.add(f"ledger: record {line.sequence} does not say what it stored")
            return
        marks = ", ".join("?" * 10)
        try:
            self._scratch.execute(f"INSERT INTO object ({_COLUMNS}) VALUES ({marks})", astuple(kept))  # noqa: S608
        except sqlite3.IntegrityError:
            self._findings.add(f"ledger: record {line.sequence} stores again what another one stored")


def _kept(line: Line) -> Kept | None:
    """The object of a record; None if it does not name one."""
    facts = line.facts
    names = ("study_uid", "series_uid", "sop_instance_uid", "sop_class_uid", "transfer_syntax", "object_id")
    texts = [facts.get(name) for name in (*names, "address", "commitment")]
    size = facts.get("size")
    if not all(isinstance(text, str) for text in texts) or type(size) is not int or not 0 <= size <= _MAX_SIZE:
        return None
    study, series, instance, sop_class, syntax, object_id, address, commitment = [str(text) for text in texts]
    if not (_OBJECT_ID.fullmatch(object_id) and _HASH.fullmatch(address) and _HASH.fullmatch(commitment)):
        return None
    where = bytes.fromhex(address)
    identity = (line.sequence, study, series, instance, sop_class, syntax, object_id)
    return Kept(*identity, where, size, bytes.fromhex(commitment))
