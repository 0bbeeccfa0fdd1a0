"""The checker's own reader of the index: its database file, opened to be read only, and plain SQL.

Reads are short, so that a live server's write-ahead log does not grow while objects are read: what belongs together is
read in one transaction, with the position that the index had then.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from storage.index.schema import METADATA, SCHEMA_VERSION
from storage.integrity.fsck.report import Findings

_BUSY_SECONDS: Final = 10.0
_PAGE: Final = 500
_TOLD: Final = 100
"""Problems that SQLite tells of one check."""
SET_TABLES: Final = (
    "study_physician",
    "study_body_part",
    "study_modality",
    "study_sop_class",
    "study_name_part",
)
OUTLASTING: Final = ("absent_label", "study_hold", "tombstone", "erasure")
_FILED: Final = """
    SELECT instance.*, series.series_uid AS "filed.series", study.study_uid AS "filed.study" FROM instance
    LEFT JOIN series ON series.id = instance.series_fk LEFT JOIN study ON study.id = series.study_fk
"""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StudyRows:
    """Everything that the index says of one study above its instances, at one position. Keys are left out."""

    position: int
    study: Row | None
    series: list[Row]
    sets: dict[str, list[tuple[Any, ...]]]


class IndexFile:
    """One index. `close` it. Every method may raise `sqlite3.Error`: it is no database, or damaged as one."""

    def __init__(self, path: Path) -> None:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
        # A text that is no UTF-8 any more is a difference to be told, not an error to stop at.
        self._connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        for pragma in ("query_only = ON", "trusted_schema = OFF", "cell_size_check = ON"):
            self._connection.execute(f"PRAGMA {pragma}")

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def position(self) -> int:
        """The ledger sequence that the rows have reached; -1 if the index says none."""
        found = self._all("SELECT value FROM index_state WHERE key = 'position'")
        text = found[0][0] if found else None
        return int(text) if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) < 20 else -1

    def check_form(self, findings: Findings) -> bool:
        """Tables, columns, indexes and state; whether the rows can be compared."""
        tables = {name: [column.name for column in table.columns] for name, table in METADATA.tables.items()}
        indexes = {str(index.name) for table in METADATA.tables.values() for index in table.indexes}
        expected = {("table", name) for name in tables} | {("index", name) for name in indexes}
        found = {
            (kind, name)
            for kind, name in self._all("SELECT type, name FROM sqlite_schema")
            if not str(name).startswith("sqlite_")
        }
        for kind, name in sorted(expected ^ found):
            findings.add(f"index: {kind} {name} is {'missing' if (kind, name) in expected else 'not part of it'}")
        usable = expected <= found
        for name in sorted(tables):
            columns = [row[1] for row in self._all(f"PRAGMA table_info({name})")]
            if columns != tables[name] and ("table", name) in found:
                findings.add(f"index: table {name} does not have its columns")
                usable = False
        return usable and self._check_state(findings)

    def check_pages(self, findings: Findings, full: bool) -> None:
        """What SQLite can tell: pages, indexes against tables, keys of rows that are not there."""
        check = "integrity_check" if full else "quick_check"
        for (problem,) in self._all(f"PRAGMA {check}({_TOLD})"):
            if problem != "ok":
                findings.add(f"index: {problem}")
        orphans = self._connection.execute("PRAGMA foreign_key_check").fetchmany(_TOLD)
        for table in sorted({str(row[0]) for row in orphans}):
            findings.add(f"index: table {table} has rows that belong to nothing")

    def ahead(self) -> bool:
        """Whether there are rows beyond the position."""
        statement = """
            SELECT max(ledger_sequence) > (SELECT CAST(value AS INTEGER) FROM index_state WHERE key = 'position')
            FROM instance
        """
        return bool(self._all(statement)[0][0])

    def instances(self) -> Iterator[Row]:
        """Every instance in the order of its key, with ``filed.study`` and ``filed.series``."""
        after = -(1 << 63)
        while rows := self._rows(f"{_FILED} WHERE instance.id > ? ORDER BY instance.id LIMIT {_PAGE}", after):
            yield from rows
            after = rows[-1]["id"]

    def instance(self, sop_instance_uid: str) -> Row | None:
        """The row of an instance, with ``filed.study`` and ``filed.series``."""
        found = self._rows(f"{_FILED} WHERE instance.sop_instance_uid = ?", sop_instance_uid)
        return found[0] if found else None

    def studies(self) -> Iterator[tuple[int, Row]]:
        """What every study's row says for policy, and the position that the index had then."""
        columns = "id, study_uid, facts, labels, facts_seal"
        after = -(1 << 63)
        while True:
            self._connection.execute("BEGIN")
            try:
                position = self.position()
                rows = self._rows(f"SELECT {columns} FROM study WHERE id > ? ORDER BY id LIMIT {_PAGE}", after)  # noqa: S608
            finally:
                self._connection.execute("COMMIT")
            if not rows:
                return
            yield from ((position, row) for row in rows)
            after = rows[-1]["id"]

    def study(self, study_uid: str) -> StudyRows:
        """Everything about one study, at one moment."""
        self._connection.execute("BEGIN")
        try:
            position = self.position()
            found = self._rows("SELECT * FROM study WHERE study_uid = ?", study_uid)
            if not found:
                return StudyRows(position, None, [], {})
            key = found[0].pop("id")
            series = self._rows("SELECT * FROM series WHERE study_fk = ?", key)
            for row in series:
                del row["id"], row["study_fk"]
            sets = {name: self._all(f"SELECT * FROM {name} WHERE study_fk = ?", key) for name in SET_TABLES}  # noqa: S608
            return StudyRows(position, found[0], series, {name: [row[1:] for row in sets[name]] for name in sets})
        finally:
            self._connection.execute("COMMIT")

    def outlasting(self) -> tuple[int, dict[str, list[Row]]]:
        """The position, and at that moment the rows of the tables that outlast a study's own."""
        self._connection.execute("BEGIN")
        try:
            return self.position(), {name: self._rows(f"SELECT * FROM {name}") for name in OUTLASTING}  # noqa: S608
        finally:
            self._connection.execute("COMMIT")

    def _check_state(self, findings: Findings) -> bool:
        state = dict(self._all("SELECT key, value FROM index_state"))
        for key in sorted(set(state) - {"schema", "position", "rebuilding", "generation"}, key=str):
            findings.add(f"index: its state has an entry {key!r}, which is not part of it")
        if state.get("schema") != SCHEMA_VERSION:
            findings.add("index: it is not of this release's schema")
            return False
        if state.get("rebuilding", "no") != "no":
            findings.add("index: it is being rebuilt, and was not compared")
            return False
        if self.position() < 0:
            findings.add("index: it does not say which ledger record it has reached")
            return False
        return True

    def _all(self, statement: str, *values: object) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()

    def _rows(self, statement: str, *values: object) -> list[Row]:
        with closing(self._connection.execute(statement, values)) as cursor:
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]
