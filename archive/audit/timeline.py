"""A record of the trail as one sentence: who did what to which study of which patient, from where, and how it ended."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from archive.audit.asked import asked_in_words
from archive.audit.trail_format import TrailRecord

_DEEDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "application-started": "started the archive",
        "application-stopped": "stopped the archive",
        "recording-started": "began to record",
        "recording-stopped": "ceased to record",
        "network-entered": "opened the network",
        "network-left": "left the network",
        "node-refused": "was refused as a node",
        "node-authenticated": "was admitted as a node",
        "user-authenticated": "logged in",
        "access-refused": "was denied",
        "instance-stored": "stored",
        "query-performed": "asked for",
        "transfer-begun": "began to fetch",
        "instances-transferred": "fetched",
        "security-alert": "ALERT",
        "configuration-changed": "changed",
        "audit-log-used": "read the audit trail",
    }
)
"""By the kind of event; a kind that is not here is told by its name."""
_OUTCOMES: Final = MappingProxyType({0: "", 4: "failed", 8: "FAILED", 12: "FAILED, out of service"})


def sentence_of(record: TrailRecord) -> str:
    """The record in words, on one line."""
    facts = record.facts
    parts = [
        _who(facts),
        _DEEDS.get(record.kind, record.kind),
        asked_in_words(facts) if record.kind == "query-performed" else "",
        *_studies(facts),
        *(str(facts[name]) for name in ("action", "description") if facts.get(name)),
        f"study {facts['study_uid']}" if facts.get("study_uid") else "",
        f"to {facts['destination']}" if facts.get("destination") else "",
        "once more" if facts.get("already_kept") else "",
        f"which labels it {', '.join(facts['labels'])}" if facts.get("labels") else "",
        _often(facts.get("repeated")),
        _ending(facts),
    ]
    return " ".join(part for part in parts if part)


def _who(facts: Mapping[str, Any]) -> str:
    actor = facts.get("actor", {})
    person = actor.get("person") or actor.get("os_user") or ""
    claimed = f"somebody as {facts['claimed']}" if facts.get("claimed") and not person else ""
    node = actor.get("node") or actor.get("ae_title") or ""
    address = actor.get("address", "")
    place = f"{node} ({address})" if node and address else node or address
    who = person or claimed
    return f"{who} at {place}" if who and place else who or place or "the archive"


def _studies(facts: Mapping[str, Any]) -> list[str]:
    studies = facts.get("studies") or ([facts["study"]] if facts.get("study") else [])
    return [_study(study) for study in studies]


def _study(study: Mapping[str, Any]) -> str:
    count = sum((study.get("sop_classes") or {}).values())
    patient = " ".join(str(study[name]) for name in ("patient_id", "patient_name") if study.get(name))
    parts = [
        f"{count} instance{'' if count == 1 else 's'} of" if count else "",
        f"study {study.get('study_uid') or 'unknown'}",
        f"of patient {patient}" if patient else "",
    ]
    return " ".join(part for part in parts if part)


def _often(repeated: object) -> str:
    if not isinstance(repeated, Mapping):
        return ""
    return f"{repeated.get('count')} times from {repeated.get('first')} to {repeated.get('last')}"


def _ending(facts: Mapping[str, Any]) -> str:
    outcome = _OUTCOMES.get(facts.get("outcome", 0), str(facts.get("outcome")))
    reason = str(facts.get("reason") or "")
    if outcome and reason:
        return f"— {outcome}: {reason}"
    return f"— {outcome or reason}" if outcome or reason else ""
