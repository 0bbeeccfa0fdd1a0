"""The rules at work: every event past each of them, and of what they find the alerts that the limits let through."""

import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from archive.audit.detection.limiter import AlertLimits, Limiter
from archive.audit.detection.rules import Rule
from archive.audit.detection.seen import Finding, Moment, Seen
from archive.audit.events import Actor, AuditEvent, Outcome, SecurityAlert
from archive.audit.log import now
from archive.audit.sources import source_of

_SUBJECT_LENGTH: Final = 64
"""Of a subject, which may be what a peer made up, this much is told."""


class Watch:
    """Shared by all associations; thread-safe. Nothing here waits for a disk or a peer, but for `take`."""

    def __init__(
        self,
        rules: Sequence[Rule],
        limits: AlertLimits,
        kept: Path,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with the rules that are enabled; ``kept`` is the file of the `Limiter`."""
        self._rules = tuple(rule for rule in rules if rule.enabled)
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._limiter = Limiter(limits, kept, self._moment())
        self._alerts: list[SecurityAlert] = []

    def observe(self, *events: AuditEvent) -> None:
        """Show the rules what was recorded."""
        moment = self._moment()
        with self._lock:
            for seen in (Seen.of(event, moment) for event in events):
                for rule in self._rules:
                    for finding in rule.observe(seen):
                        self._found(rule, finding)

    def tick(self) -> None:
        """Show the rules what time it is."""
        moment = self._moment()
        with self._lock:
            for rule in self._rules:
                for finding in rule.tick(moment):
                    self._found(rule, finding)
            if left_out := self._limiter.over(moment):
                description = f"{left_out} more findings of the last hour, of the same or beyond the limit of alerts"
                self._alerts.append(SecurityAlert(Actor(), Outcome.MINOR_FAILURE, description=description))

    def take(self) -> list[SecurityAlert]:
        """The alerts since the last time, to be recorded now."""
        with self._lock:
            alerts, self._alerts = self._alerts, []
            if alerts:
                self._limiter.keep(self._moment())
        return alerts

    def _found(self, rule: Rule, finding: Finding) -> None:
        subject = finding.subject[:_SUBJECT_LENGTH]
        source = source_of(finding.actor.address)
        if self._limiter.allows(rule.name, subject, source, verified=finding.verified):
            description = f"{rule.name}: {subject}: {finding.figures}" if subject else f"{rule.name}: {finding.figures}"
            alert = SecurityAlert(finding.actor, Outcome.MINOR_FAILURE, alert=rule.alert, description=description)
            self._alerts.append(alert)

    def _moment(self) -> Moment:
        return Moment(self._clock(), self._monotonic())
