"""Where the front door tells what it turned away or broke off: once each in the audit, in the metrics, and to the
penalties of the source. Floods are the audit's business (`archive.audit.coalescing`).
"""

from typing import Protocol

import structlog

from archive.audit.events import Actor, AuditEvent, NodeRefused, Outcome, SecurityAlert
from archive.dimse.channel import Ending
from archive.errors import AuditUnavailable, ProtocolViolation
from archive.metrics import Metrics
from archive.penalties import Penalties
from archive.session import AssociationSession

_log = structlog.get_logger("strongroom.server")


class AuditRecorder(Protocol):
    """Where refusals are told (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Raises `AuditUnavailable`."""


class Reporter:
    """Told by every connection of one server. Thread-safe."""

    def __init__(self, audit: AuditRecorder, metrics: Metrics, penalties: Penalties) -> None:
        self._audit = audit
        self._metrics = metrics
        self._penalties = penalties

    def accepted(self) -> None:
        """A connection was accepted."""
        self._metrics.accepted.inc()

    def refused(self, address: str, source: str, stage: str, reason: str, limit: str = "") -> None:
        """A connection was turned away before any node was recognized; ``stage`` as `Metrics.refused` names it."""
        self._failed(source, stage, limit)
        self._record(NodeRefused(Actor(address=address), Outcome.SERIOUS_FAILURE, reason))

    def violated(self, address: str, source: str, session: AssociationSession | None, error: ProtocolViolation) -> None:
        """A peer broke the protocol or crossed a limit, and its association, if there was one, was aborted."""
        if session is None:
            self.refused(address, source, "protocol", str(error), error.limit)
            return
        if error.limit:
            self._metrics.limits_crossed.labels(error.limit).inc()
        self._record(
            SecurityAlert(
                Actor.of(session), Outcome.MINOR_FAILURE, str(error), description="the association was aborted"
            )
        )

    def withdrawn(self, session: AssociationSession, reason: str) -> None:
        """An association is ended because its node may not be connected any more."""
        self._record(NodeRefused(Actor.of(session), Outcome.MINOR_FAILURE, reason))

    def ended(self, source: str, ending: Ending) -> None:
        """A connection whose handshake was good is over."""
        if ending is Ending.REJECTED:
            # The audit was told by whoever rejected it.
            self._failed(source, "admission")
        elif ending is not Ending.NOTHING:
            self._metrics.associations.labels(ending.value).inc()
            self._penalties.succeeded(source)

    def _failed(self, source: str, stage: str, limit: str = "") -> None:
        self._penalties.failed(source)
        self._metrics.refused.labels(stage).inc()
        if limit:
            self._metrics.limits_crossed.labels(limit).inc()

    def _record(self, event: NodeRefused | SecurityAlert) -> None:
        try:
            self._audit.record(event)
        except AuditUnavailable:
            _log.exception("a refusal could not be audited", peer=event.actor.address, reason=event.reason)
