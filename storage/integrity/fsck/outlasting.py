"""What the index says of studies whether anything of them is kept or not: row by row what the ledger says.

The rows are read at one moment, with the position that the index had then; the ledger has come at least as far.
"""

from dataclasses import asdict
from typing import Any

from storage.integrity.fsck.catalogue import Catalogue
from storage.integrity.fsck.index_file import IndexFile
from storage.integrity.fsck.report import Findings

_Rows = set[tuple[tuple[str, Any], ...]]


def check_outlasting(index: IndexFile, catalogue: Catalogue, being_written: bool, findings: Findings) -> None:
    """Compare holds, tombstones and labels of what is gone. May raise `sqlite3.Error`."""
    position, found = index.outlasting()
    if position > catalogue.sequence:
        catalogue.advance()
    expected: dict[str, list[dict[str, Any]]] = {
        "study_hold": [{"study_uid": study} for study in catalogue.holds(position)],
        "absent_label": [{"study_uid": study, "value": value} for study, value in catalogue.labels_of_absent(position)],
        "tombstone": [asdict(gone) for gone in catalogue.tombstones(position)],
    }
    for table, rows in expected.items():
        there, said = _rows(found[table]), _rows(rows)
        for what, count in (("lacks", len(said - there)), ("has", len(there - said))):
            if count:
                besides = "" if what == "lacks" else " that the ledger does not have"
                findings.add(f"index: table {table} {what} {count} rows{besides}")
    if found["erasure"] and not being_written:
        findings.add("index: an erasure was not carried out: start the server once")


def _rows(rows: list[dict[str, Any]]) -> _Rows:
    """Rows as a set, the type of each value included."""
    return {tuple((name, (type(value).__name__, value)) for name, value in sorted(row.items())) for row in rows}
