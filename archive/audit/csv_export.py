"""Records of the trail as rows of a table that a spreadsheet opens: the facts most asked for, and all as JSON."""

import json
from collections.abc import Iterator
from typing import Any, Final

from archive.audit.timeline import sentence_of
from archive.audit.trail_format import TrailRecord

COLUMNS: Final = (
    "sequence",
    "time",
    "kind",
    "outcome",
    "person",
    "os_user",
    "node",
    "ae_title",
    "address",
    "patient_id",
    "patient_name",
    "study_uid",
    "reason",
    "in_words",
    "facts",
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet computes if a cell begins with it; such text came from a peer."""


def row_of(record: TrailRecord) -> list[str]:
    """One record as a row of `COLUMNS`. Several studies stand in one cell, with blanks between them."""
    facts = record.facts
    actor = facts.get("actor", {})
    studies = list(_studies(facts))
    cells = [
        record.sequence,
        record.time,
        record.kind,
        facts.get("outcome", 0),
        actor.get("person", facts.get("claimed", "")),
        *(actor.get(name, "") for name in ("os_user", "node", "ae_title", "address")),
        *(_joined(study.get(name) for study in studies) for name in ("patient_id", "patient_name")),
        _joined([*(study.get("study_uid") for study in studies), facts.get("study_uid")]),
        facts.get("reason", ""),
        sentence_of(record),
        json.dumps(facts, ensure_ascii=True),
    ]
    return [_harmless(str(cell)) for cell in cells]


def _studies(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if facts.get("study"):
        yield facts["study"]
    yield from facts.get("studies") or ()


def _joined(values: Any) -> str:
    return " ".join(dict.fromkeys(str(value) for value in values if value))


def _harmless(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell.replace("\0", "\N{REPLACEMENT CHARACTER}")
