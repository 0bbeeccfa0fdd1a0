"""Where the rest of the archive tells its events: typed in, durable on return."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from archive.audit.events import AuditEvent
from archive.audit.trail import AuditTrail


def now() -> datetime:
    """The present, with its offset."""
    return datetime.now(UTC)


class AuditLog:
    """Records events in the trail."""

    def __init__(self, trail: AuditTrail, clock: Callable[[], datetime] = now) -> None:
        self._trail = trail
        self._clock = clock

    def record(self, *events: AuditEvent) -> None:
        """Put the events on stable storage before returning.

        Raises:
            AuditUnavailable: they are not; what they speak of must not go ahead.
        """
        moment = self._clock().isoformat(timespec="milliseconds")
        self._trail.append([_record(event, moment) for event in events])


def _record(event: AuditEvent, moment: str) -> dict[str, Any]:
    return {"time": moment, "kind": event.kind, "facts": event.facts()}
