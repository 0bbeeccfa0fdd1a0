"""Operations on what proves the audit trail: its checkpoints, and the lawful removal of its oldest records."""

from datetime import datetime

from archive.audit.events import Alert
from archive.audit.forward.position import StandingFile
from archive.audit.forward.target import targets_of
from archive.bootstrap import Archive
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.errors import UsageInvalid


@operation("audit.checkpoint")
def audit_checkpoint(call: Call) -> Json:
    """Vouch for everything recorded so far."""
    call.arguments.finish()
    made = call.archive.trail.checkpoint(call.operator.actor)
    return {"sequence": made.sequence, "time": made.time, "line": made.line}


@operation("audit.retain")
def audit_retain(call: Call) -> Json:
    """Remove the segments in which every record is older than a moment; null if there are none.

    Nothing goes that a configured audit repository does not have yet.
    """
    before = _moment(call.arguments.text("before"))
    why = call.arguments.text("why").strip()
    call.arguments.finish()
    if not why:
        raise UsageInvalid("why must say why the records may go")
    archive, retention = call.archive, call.archive.retention
    old = retention.older_than(before, _delivered(archive))
    if old is None:
        return None
    first, last = old.first, old.last.sequence
    who = call.operator.actor.os_user or "an operator"
    removal = call.change(
        {"change": "audit-removed", "first": first, "last": last, "before": before.isoformat(), "why": why},
        f"audit records {first} to {last}, older than {before.isoformat()}, removed: {why}",
        Alert.SECURITY_CONFIGURATION,
        lambda: retention.remove(old, before=before, who=who, why=why),
    )
    return {"first": removal.first, "last": removal.sequence, "statement": removal.line}


def _delivered(archive: Archive) -> int | None:
    """The last record that every configured audit repository has; None if there is no repository."""
    files = [StandingFile(archive.home.forward, one.name) for one in targets_of(archive.settings, archive.home)]
    places = [file.load().place for file in files]
    return min((place.sequence if place else 0 for place in places), default=None)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageInvalid(f"{text!r:.40} is no date: write one like 2026-01-31") from None
    return moment if moment.tzinfo else moment.astimezone()
