"""What policy reads of each study: sealed by this archive, and labelled as the ledger says (docs/on-disk-format.md).

Looked at in every check, not only in full: a row of the index that was written past the archive opens a study, or shuts
one, without touching any object.
"""

import hmac
import json
from typing import Any, Final

from storage.integrity.fsck.catalogue import Catalogue
from storage.integrity.fsck.report import Findings

_LABELS: Final = 10
"""Where the labels stand among the facts."""


def label_lines(labels: frozenset[str]) -> str:
    """The labels of a study as one text: each between backslashes, which it does not hold itself."""
    escaped = (text.replace("%", "%25").replace("\\", "%5C").replace("\0", "%00") or "%" for text in sorted(labels))
    return "".join(f"\\{text}\\" for text in escaped)


def is_sealed(ledger_key: bytes, row: dict[str, Any]) -> bool:
    """Whether a study's row carries the seal of the archive that has this key."""
    key = hmac.digest(ledger_key, b"study facts", "sha256")
    said = f"{row['facts']}\0{row['labels']}".encode("utf-8", "surrogateescape")
    seal = row["facts_seal"]
    return isinstance(seal, bytes) and hmac.compare_digest(seal, hmac.digest(key, said, "sha256"))


def check_vouching(
    name: str, row: dict[str, Any], position: int, catalogue: Catalogue, ledger_key: bytes, findings: Findings
) -> None:
    """One study of the index, at the position that the index had then. ``name`` says which, without its patient."""
    if not is_sealed(ledger_key, row):
        findings.add(f"{name}: what policy reads of it is not what this archive wrote")
    if position > catalogue.sequence:
        catalogue.advance()
    labels = catalogue.labels(str(row["study_uid"]), position)
    if row["labels"] != label_lines(labels) or _told(row["facts"]) != sorted(labels):
        findings.add(f"{name}: its labels are not what the ledger says")


def _told(facts: object) -> object:
    """The labels among what policy reads; None where that is not legible."""
    try:
        return json.loads(str(facts))[_LABELS]
    except (ValueError, LookupError, TypeError):
        return None
