"""Tells the trail of what the ledger committed, inside the commit, so that neither can run ahead for long (DESIGN §5).

Provenance, written by the services and opaque to storage, says who: ``actor`` (`archive.audit.events.Actor`), and for a
stored object ``study`` (`StudyTouched` without its counts); for any other event ``description`` and ``alert``.
"""

from collections.abc import Sequence
from typing import Any

from archive.audit.events import Alert, ConfigurationChanged, InstanceStored, Outcome
from archive.audit.trail import AuditTrail
from storage.ports import LedgerEntry


class TrailJournal:
    """The commit journal of storage, kept in the audit trail (implements `storage.ports.CommitJournal`)."""

    def __init__(self, trail: AuditTrail) -> None:
        self._trail = trail

    def committed(self, entries: Sequence[LedgerEntry]) -> None:
        """A record of each entry is on stable storage on return. Raises `AuditUnavailable`."""
        self._trail.append([_record(entry) for entry in entries])

    def recovered(self, entries: Sequence[LedgerEntry]) -> None:
        """As `committed`, marked as written at start-up."""
        self._trail.append([_record(entry) | {"recovered": True} for entry in entries])

    def position(self) -> int:
        """The ledger sequence that the trail has reached."""
        return self._trail.ledger_position


def _record(entry: LedgerEntry) -> dict[str, Any]:
    stored = entry.event == "stored"
    facts = _stored(entry) if stored else _changed(entry)
    kind = InstanceStored.kind if stored else ConfigurationChanged.kind
    return {"time": entry.time, "kind": kind, "facts": facts, "ledger": entry.sequence}


def _stored(entry: LedgerEntry) -> dict[str, Any]:
    study = entry.provenance.get("study")
    sop_class = entry.facts.get("sop_class_uid")
    return {
        "actor": entry.provenance.get("actor", {}),
        "outcome": Outcome.SUCCESS.value,
        "study": {**(study if isinstance(study, dict) else {}), "sop_classes": {str(sop_class): 1}},
        "sop_instance_uid": entry.facts.get("sop_instance_uid", ""),
    }


def _changed(entry: LedgerEntry) -> dict[str, Any]:
    facts = {
        "actor": entry.provenance.get("actor", {}),
        "outcome": _outcome(entry).value,
        "alert": entry.provenance.get("alert", Alert.SECURITY_CONFIGURATION.value),
        "description": entry.provenance.get("description", entry.event),
    }
    study_uid = entry.facts.get("study_uid")
    return facts | {"study_uid": study_uid} if study_uid else facts


def _outcome(entry: LedgerEntry) -> Outcome:
    """A change that was told, and then did not take effect, is told again as ``failed``."""
    return Outcome.MINOR_FAILURE if entry.facts.get("failed") else Outcome.SUCCESS
