"""Tells the trail of what the ledger committed, inside the commit, so that neither can run ahead for long (DESIGN §5).

Provenance, written by the services and opaque to storage, says who: ``actor`` (`archive.audit.events.Actor`), and for a
stored object, or one that came again, ``study`` (`StudyTouched` without its counts); for objects taken away ``study``,
``reason``, and whether that was the ``whole`` of it; for any other event ``description`` and ``alert``.
"""

from collections.abc import Sequence
from typing import Any

from archive.audit.events import Alert, ConfigurationChanged, InstancesDeleted, InstanceStored, Outcome, StudyDeleted
from archive.audit.trail import AuditTrail
from storage.events import labels_in
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
    match entry.event:
        case "stored":
            kind, facts = InstanceStored.kind, _stored(entry)
        case "restored" if "sop_instance_uid" in entry.provenance:
            kind, facts = InstanceStored.kind, _stored(entry)
        case "tombstoned" | "erased":
            whole = entry.provenance.get("whole") is True
            kind, facts = StudyDeleted.kind if whole else InstancesDeleted.kind, _deleted(entry)
        case _:
            kind, facts = ConfigurationChanged.kind, _changed(entry)
    return {"time": entry.time, "kind": kind, "facts": facts, "ledger": entry.sequence}


def _stored(entry: LedgerEntry) -> dict[str, Any]:
    study = entry.provenance.get("study")
    said = entry.facts if entry.event == "stored" else entry.provenance
    labels = list(labels_in(entry.facts))
    return {
        "actor": entry.provenance.get("actor", {}),
        "outcome": Outcome.SUCCESS.value,
        "study": {**(study if isinstance(study, dict) else {}), "sop_classes": {str(said.get("sop_class_uid")): 1}},
        "sop_instance_uid": said.get("sop_instance_uid", ""),
        **({"labels": labels} if labels else {}),
    }


def _deleted(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "actor": entry.provenance.get("actor", {}),
        "outcome": Outcome.SUCCESS.value,
        "reason": entry.provenance.get("reason", entry.event),
        "study": entry.provenance.get("study", {"study_uid": entry.facts.get("study_uid", "")}),
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
