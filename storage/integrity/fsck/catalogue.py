"""What the ledger says is kept, by study and by object, in a private scratch database.

SQLite keeps that in memory as far as `_CACHE_KIB` goes, and in a nameless temporary file beyond. It holds what the
ledger holds in clear (identifiers, no patient), what an erasure said of its study, and is gone with the connection.

An object is stored, and then perhaps taken away, restored, taken away again and in the end erased: what happened to the
objects of a study is kept in its order, so that the study can be followed through all of it.
"""

import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
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
    id INTEGER PRIMARY KEY, sequence INTEGER, study TEXT, series TEXT, instance TEXT, sop_class TEXT, syntax TEXT,
    object_id TEXT UNIQUE, address BLOB, size INTEGER, commitment BLOB,
    removed INTEGER, erased INTEGER, indexed INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX object_study ON object (study);
CREATE INDEX object_sequence ON object (sequence);
CREATE UNIQUE INDEX object_instance ON object (instance) WHERE erased IS NULL;
CREATE UNIQUE INDEX object_address ON object (address) WHERE erased IS NULL;
CREATE TABLE happening (
    sequence INTEGER, object INTEGER, study TEXT, kind TEXT, said TEXT, PRIMARY KEY (sequence, object)
) WITHOUT ROWID;
CREATE INDEX happening_study ON happening (study, sequence);
CREATE INDEX happening_object ON happening (object, sequence);
CREATE TABLE snapshot (sequence INTEGER PRIMARY KEY, said TEXT);
CREATE TABLE mark (
    sequence INTEGER, kind TEXT, study TEXT, value TEXT, present INTEGER, PRIMARY KEY (sequence, value)
) WITHOUT ROWID;
CREATE INDEX mark_study ON mark (kind, study, sequence);
"""
_COLUMNS: Final = (
    "object.id, object.sequence, object.study, series, instance, sop_class, syntax, object_id, address, size, "
    "commitment, removed, erased"
)
_REMOVALS: Final = {"tombstoned": "removed", "restored": "removed", "erased": "erased"}


@dataclass(frozen=True, slots=True)
class Kept:
    """One object, as the ledger record that stored or restored it says."""

    number: int
    """Of the record that stored it first."""
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
    removed: int | None
    erased: int | None
    """The records that took it away, and that destroyed it; None if none did, or it was restored since."""

    def __str__(self) -> str:
        return f"object {self.object_id} (record {self.sequence})"


@dataclass(frozen=True, slots=True)
class Happening:
    """What a record did with one object of a study."""

    sequence: int
    kind: str
    kept: Kept


@dataclass(frozen=True, slots=True)
class Gone:
    """A tombstone, as the ledger has it at some record."""

    sop_instance_uid: str
    study_uid: str
    object_id: str
    address: bytes
    reason: str
    note: str
    comes_back: int
    time: str
    removed: int
    erased: int | None


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
        """Objects that are not erased."""
        return int(self._one("SELECT count(*) FROM object WHERE erased IS NULL")[0])

    def studies(self) -> Iterator[str]:
        """Every study, those that come meanwhile perhaps."""
        after = ""
        while (found := self._one("SELECT min(study) FROM object WHERE study > ?", after)[0]) is not None:
            yield (after := found)

    def happenings(self, study_uid: str, after: int, upto: int) -> Iterator[Happening]:
        """What happened to a study's objects behind one record and not behind another, in that order."""
        statement = f"""
            SELECT happening.sequence, kind, {_COLUMNS} FROM happening JOIN object ON object.id = happening.object
            WHERE happening.study = ? AND (happening.sequence, object.id) > (?, ?) AND happening.sequence <= ?
            ORDER BY happening.sequence, object.id LIMIT {_PAGE}
        """  # noqa: S608
        place = (after, LAST)
        while rows := self._scratch.execute(statement, (study_uid, *place, upto)).fetchall():
            place = (rows[-1][0], rows[-1][2])
            for sequence, kind, *kept in rows:
                yield Happening(sequence, kind, Kept(*kept))

    def snapshot(self, sequence: int) -> dict[str, Any] | None:
        """What the index said above a study's instances when a record erased some of them."""
        found = self._one("SELECT said FROM snapshot WHERE sequence = ?", sequence)
        return json.loads(found[0]) if found else None

    def objects(self, study_uid: str) -> Iterator[Kept]:
        """A study's objects that are not erased, in the order in which they were stored first."""
        yield from self._paged("study = ? AND erased IS NULL AND id > ?", lambda at: (study_uid, at))

    def every_object(self) -> Iterator[Kept]:
        """All that are not erased, in the order in which they were stored first."""
        yield from self._paged("erased IS NULL AND id > ?", lambda at: (at,))

    def known(self, number: int) -> Kept:
        """What is known by now of an object."""
        return Kept(*self._one(f"SELECT {_COLUMNS} FROM object WHERE id = ?", number))  # noqa: S608

    def at(self, sequence: int, sop_instance_uid: str) -> Kept | None:
        """The object of a UID that a record stored or restored."""
        found = self._one(
            f"""
            SELECT {_COLUMNS} FROM happening JOIN object ON object.id = happening.object
            WHERE happening.sequence = ? AND kind IN ('stored', 'restored') AND instance = ?
            """,  # noqa: S608
            sequence,
            sop_instance_uid,
        )
        return Kept(*found) if found else None

    def before(self, kept: Kept, sequence: int) -> str:
        """What had happened to an object last, before a record."""
        statement = "SELECT kind FROM happening WHERE object = ? AND sequence < ? ORDER BY sequence DESC LIMIT 1"
        return str(self._one(statement, kept.number, sequence)[0])

    def keeps(self, address: bytes) -> bool:
        """Whether an object lies under an address."""
        return bool(self._one("SELECT 1 FROM object WHERE address = ? AND erased IS NULL", address))

    def keeps_study(self, study_uid: str, since: int) -> bool:
        """Whether anything of a study is kept, or was until after a record."""
        statement = "SELECT 1 FROM object WHERE study = ? AND (removed IS NULL OR removed > ?)"
        return bool(self._one(statement, study_uid, since))

    def is_erased_after(self, study_uid: str, sequence: int) -> bool:
        """Whether something of a study was destroyed behind a record."""
        return bool(self._one("SELECT 1 FROM object WHERE study = ? AND erased > ?", study_uid, sequence))

    def labels(self, study_uid: str, upto: int) -> frozenset[str]:
        """The labels that a study carries after a record."""
        return self._marked("label", study_uid, upto)

    def holds(self, upto: int) -> Iterator[str]:
        """Studies on hold after a record."""
        return (study for study in self._marked_studies("hold") if self._marked("hold", study, upto))

    def labels_of_absent(self, upto: int) -> Iterator[tuple[str, str]]:
        """Labels, after a record, of studies of which nothing is kept then."""
        for study in self._marked_studies("label"):
            labels = self.labels(study, upto)
            if labels and not self._kept_then(study, upto):
                yield from ((study, label) for label in sorted(labels))

    def tombstones(self, upto: int) -> Iterator[Gone]:
        """What was taken away, after a record, in the order of the instances."""
        last = """
            SELECT instance, object.study, object_id, address, kind, said, happening.sequence, object.id,
                   max(happening.sequence) FROM happening JOIN object ON object.id = happening.object
            WHERE happening.sequence <= ? GROUP BY instance ORDER BY instance
        """
        for instance, study, object_id, address, kind, said, sequence, number, _ in self._scratch.execute(
            last, (upto,)
        ):
            if kind in ("tombstoned", "erased"):
                removed, said = self._tombstoned(number, upto) if kind == "erased" else (sequence, said)
                erased = sequence if kind == "erased" else None
                reason, note, comes_back, time = json.loads(said)
                yield Gone(instance, study, object_id, address, reason, note, comes_back, time, removed, erased)

    def mark_indexed(self, kept: Kept) -> None:
        """The index has a row of this object."""
        self._scratch.execute("UPDATE object SET indexed = 1 WHERE id = ?", (kept.number,))

    def not_indexed(self, upto: int) -> Iterator[Kept]:
        """Objects kept, of records up to one, that were not marked."""
        yield from self._paged(
            "indexed = 0 AND removed IS NULL AND object.sequence <= ? AND id > ?", lambda at: (upto, at)
        )

    def close(self) -> None:
        """Forget everything."""
        self._lines.close()
        self._scratch.close()

    def _paged(self, condition: str, values: Any) -> Iterator[Kept]:
        """In pages, so that what is read meanwhile may be added."""
        statement = f"SELECT {_COLUMNS} FROM object WHERE {condition} ORDER BY id LIMIT {_PAGE}"  # noqa: S608
        after = 0
        while rows := self._scratch.execute(statement, values(after)).fetchall():
            after = rows[-1][0]
            for row in rows:
                yield Kept(*row)

    def _one(self, statement: str, *values: object) -> Any:
        return self._scratch.execute(statement, values).fetchone()

    def _marked(self, kind: str, study_uid: str, upto: int) -> frozenset[str]:
        statement = """
            SELECT value, present FROM mark WHERE kind = ? AND study = ? AND sequence <= ? ORDER BY sequence
        """
        held: set[str] = set()
        for value, present in self._scratch.execute(statement, (kind, study_uid, upto)):
            (held.add if present else held.discard)(value)
        return frozenset(held)

    def _marked_studies(self, kind: str) -> list[str]:
        statement = "SELECT DISTINCT study FROM mark WHERE kind = ? ORDER BY study"
        return [study for (study,) in self._scratch.execute(statement, (kind,))]

    def _kept_then(self, study_uid: str, upto: int) -> bool:
        """Whether something of a study was kept after a record."""
        statement = """
            SELECT 1 FROM (
                SELECT kind, max(sequence) FROM happening WHERE study = ? AND sequence <= ? GROUP BY object
            ) WHERE kind IN ('stored', 'restored')
        """
        return bool(self._one(statement, study_uid, upto))

    def _tombstoned(self, number: int, upto: int) -> tuple[int, str]:
        """The record that took an object away last, and what it said."""
        statement = """
            SELECT sequence, said FROM happening WHERE object = ? AND kind = 'tombstoned' AND sequence <= ?
            ORDER BY sequence DESC LIMIT 1
        """
        sequence, said = self._one(statement, number, upto)
        return sequence, said

    def _take(self, line: Line) -> None:
        if line.event == "stored":
            self._take_object(line)
        elif line.event in ("labelled", "unlabelled"):
            self._take_mark(line, "label", line.facts.get("label"), present=line.event == "labelled")
        elif line.event in ("held", "released"):
            self._take_mark(line, "hold", "", present=line.event == "held")
        elif line.event in _REMOVALS:
            self._take_removal(line)
        elif line.event != "authority":
            self._findings.add(f"ledger: record {line.sequence} is an event that this release does not know")
        if line.event in ("stored", "restored"):
            self._take_labels(line)

    def _take_labels(self, line: Line) -> None:
        """Labels that a study was given with an object."""
        labels = line.facts.get("labels", [])
        if not isinstance(labels, list):
            self._findings.add(f"ledger: record {line.sequence} does not say which labels it gives")
            return
        for label in dict.fromkeys(map(str, labels)):
            self._take_mark(line, "label", label, present=True)

    def _take_mark(self, line: Line, kind: str, value: object, *, present: bool) -> None:
        study = line.facts.get("study_uid")
        if isinstance(study, str) and isinstance(value, str):
            row = (line.sequence, kind, study, value, present)
            self._scratch.execute("INSERT INTO mark VALUES (?, ?, ?, ?, ?)", row)
        else:
            self._findings.add(f"ledger: record {line.sequence} does not name a study and what is said of it")

    def _take_object(self, line: Line) -> None:
        row = _row(line)
        if row is None:
            self._findings.add(f"ledger: record {line.sequence} does not say what it stored")
            return
        names = "id, sequence, study, series, instance, sop_class, syntax, object_id, address, size, commitment"
        marks = ", ".join("?" * len(row))
        try:
            self._scratch.execute(f"INSERT INTO object ({names}) VALUES ({marks})", row)  # noqa: S608
        except sqlite3.IntegrityError:
            self._findings.add(f"ledger: record {line.sequence} stores again what another one stored")
            return
        self._happened(line, line.sequence, str(row[2]), "")

    def _take_removal(self, line: Line) -> None:
        """Objects are taken away, restored or erased: only what stands where the record finds it."""
        facts = line.facts
        study, named = facts.get("study_uid"), facts.get("instances")
        said = [facts.get("reason", ""), facts.get("note", ""), int(facts.get("comes_back") is True), line.time]
        if not isinstance(study, str) or not isinstance(named, list) or not named:
            self._findings.add(f"ledger: record {line.sequence} does not say which objects it is about")
            return
        for it in named:
            number = self._place_of(line.event, study, it)
            if number is None:
                self._findings.add(f"ledger: record {line.sequence} is about an object that is not there for it")
                continue
            self._happened(line, number, study, json.dumps(said))
            column, value = _REMOVALS[line.event], None if line.event == "restored" else line.sequence
            change = f"UPDATE object SET {column} = ? WHERE id = ?"  # noqa: S608
            self._scratch.execute(change, (value, number))
            if line.event == "restored":
                self._scratch.execute("UPDATE object SET sequence = ? WHERE id = ?", (line.sequence, number))
        if line.index is not None:
            self._scratch.execute("INSERT INTO snapshot VALUES (?, ?)", (line.sequence, json.dumps(line.index)))

    def _place_of(self, event: str, study: str, it: object) -> int | None:
        """The number of an object that an event names, if it is where such an event finds one."""
        if not isinstance(it, list) or len(it) != 3 or not all(isinstance(part, str) for part in it):
            return None
        instance, object_id, address = it
        found = self._one(
            "SELECT id, removed FROM object WHERE object_id = ? AND instance = ? AND study = ? AND erased IS NULL "
            "AND hex(address) = upper(?)",
            object_id,
            instance,
            study,
            address,
        )
        return None if found is None or (event != "tombstoned" and found[1] is None) else int(found[0])

    def _happened(self, line: Line, number: int, study: str, said: str) -> None:
        row = (line.sequence, number, study, line.event, said)
        self._scratch.execute("INSERT OR IGNORE INTO happening VALUES (?, ?, ?, ?, ?)", row)


def _row(line: Line) -> tuple[object, ...] | None:
    """The object of a record, as columns; None if it does not name one."""
    facts = line.facts
    names = ("study_uid", "series_uid", "sop_instance_uid", "sop_class_uid", "transfer_syntax", "object_id")
    texts = [facts.get(name) for name in (*names, "address", "commitment")]
    size = facts.get("size")
    if not all(isinstance(text, str) for text in texts) or type(size) is not int or not 0 <= size <= _MAX_SIZE:
        return None
    study, series, instance, sop_class, syntax, object_id, address, commitment = [str(text) for text in texts]
    if not (_OBJECT_ID.fullmatch(object_id) and _HASH.fullmatch(address) and _HASH.fullmatch(commitment)):
        return None
    identity = (line.sequence, line.sequence, study, series, instance, sop_class, syntax, object_id)
    return (*identity, bytes.fromhex(address), size, bytes.fromhex(commitment))
