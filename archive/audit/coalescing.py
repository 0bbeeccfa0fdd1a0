"""A flood of refusals must not fill the trail: what is refused again and again is counted, and told once a window.

Of one kind, source, person and reason the first ``each`` refusals of a window are records of their own, on stable
storage before the peer hears of them; so is the first of every reason of every kind, whatever else is going on. Further
ones, and those of further sources once a kind has ``in_all`` records, become one record at the window's end, with how
many they were, the first and the last time, and what all of them have in common. What succeeds is never held back.

A window has, of each kind, at most ``in_all`` + `MAX_REASONS` records of their own and ``in_all`` + 2 × `MAX_REASONS`
that stand for others, however many peers there are. What a crash loses is the count of the window that it falls in.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar

from archive.audit.events import (
    AccessRefused,
    Actor,
    AuditEvent,
    NodeRefused,
    Outcome,
    Repeated,
    SecurityAlert,
    UserAuthenticated,
)
from archive.audit.log import now
from archive.audit.sources import source_of
from archive.errors import SettingsInvalid

MAX_REASONS: Final = 64
"""Reasons of one kind that a window tells apart; the last of them is all others."""
MAX_SOURCES: Final = 256
"""Sources that are counted for one record; "or more" from there."""
_REASON_LENGTH: Final = 120
_VARYING: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\d+(?:\.\d+)?")
"""What differs between two refusals for the same reason."""
_REFUSALS: Final = (NodeRefused, UserAuthenticated, AccessRefused, SecurityAlert)

_Event = TypeVar("_Event")


class AuditRecorder(Protocol):
    """Where events go on to (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Put the events on stable storage. Raises `AuditUnavailable`."""


@dataclass(frozen=True, slots=True)
class FloodLimits:
    """Section ``[flood]``. Raises `SettingsInvalid` for a value out of range."""

    window_seconds: float = 60.0
    each: int = 20
    """Records of their own, of one kind, source, person and reason in a window."""
    in_all: int = 100
    """Records of their own, of one kind in a window, over all sources."""

    def __post_init__(self) -> None:
        if not 1 <= self.window_seconds <= 3600:
            raise SettingsInvalid("flood.window_seconds must be from 1 to 3600")
        if not 1 <= self.each <= self.in_all <= 10_000:
            raise SettingsInvalid("flood.each must be from 1 to flood.in_all, and that at most 10000")


class Coalescer:
    """Stands before the trail as an `AuditRecorder`. Thread-safe; somebody calls `tick` about once a second."""

    def __init__(
        self,
        audit: AuditRecorder,
        limits: FloodLimits,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._audit = audit
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._window: _Window | None = None
        self._ends = 0.0

    def record(self, *events: AuditEvent) -> None:
        """Record the events, but for those that are only counted. Raises `AuditUnavailable`."""
        with self._lock:
            records = [*self._over(), *(event for event in events if not self._withholds(event))]
        if records:
            self._audit.record(*records)

    def tick(self) -> None:
        """Record what a window held back, once it is over. Raises `AuditUnavailable`."""
        self.record()

    def close(self) -> None:
        """Record what is held back now. Raises `AuditUnavailable`."""
        with self._lock:
            self._ends = self._monotonic()
        self.tick()

    def _over(self) -> list[AuditEvent]:
        if self._window is None or self._monotonic() < self._ends:
            return []
        window, self._window = self._window, None
        return window.held_back()

    def _withholds(self, event: AuditEvent) -> bool:
        if event.outcome is Outcome.SUCCESS or not isinstance(event, _REFUSALS) or not event.actor.address:
            return False
        if self._window is None:
            self._window = _Window(self._limits)
            self._ends = self._monotonic() + self._limits.window_seconds
        return self._window.withholds(event, self._clock())


class _Window:
    """The refusals of one window. Pure: knows no clock and no trail."""

    def __init__(self, limits: FloodLimits) -> None:
        self._limits = limits
        self._own: Counter[str] = Counter()
        self._sources: dict[tuple[str, ...], _Bucket] = {}
        self._elsewhere: dict[tuple[str, str], _Bucket] = {}

    def withholds(self, event: AuditEvent, moment: datetime) -> bool:
        """Whether the event is only counted; if not, it has to become a record now."""
        reason = self._reason(event)
        source = (event.kind, reason, source_of(event.actor.address), _who(event))
        elsewhere = self._elsewhere.get((event.kind, reason))
        bucket = self._sources.get(source)
        room = self._own[event.kind] < self._limits.in_all
        if elsewhere is None or (room and (bucket is None or bucket.own < self._limits.each)):
            self._elsewhere.setdefault((event.kind, reason), _Bucket(reason))
            self._own[event.kind] += 1
            self._sources.setdefault(source, _Bucket(reason)).own += 1
            return False
        (bucket or elsewhere).hold(event, moment)
        return True

    def held_back(self) -> list[AuditEvent]:
        """One event for whatever was held back of each source, and of all those without a place of their own."""
        buckets = (*self._sources.values(), *self._elsewhere.values())
        return [event for bucket in buckets if (event := bucket.told()) is not None]

    def _reason(self, event: AuditEvent) -> str:
        reason = _VARYING.sub("#", event.reason or getattr(event, "description", ""))[:_REASON_LENGTH]
        known = (event.kind, reason) in self._elsewhere
        if not known and sum(kind == event.kind for kind, _ in self._elsewhere) >= MAX_REASONS - 1:
            return "for various reasons"
        return reason


@dataclass(slots=True)
class _Bucket:
    """What is held back of refusals that are alike."""

    reason: str
    own: int = 0
    count: int = 0
    first: datetime = datetime.min
    last: datetime = datetime.min
    event: AuditEvent | None = None
    """What all of them have in common; None while there are none."""
    sources: set[str] = field(default_factory=set)

    def hold(self, event: AuditEvent, moment: datetime) -> None:
        """Count one more."""
        if self.event is None:
            self.event, self.first = event, moment
        else:
            self.event = _common(self.event, event)
        self.last = moment
        self.count += 1
        if len(self.sources) < MAX_SOURCES:
            self.sources.add(source_of(event.actor.address))

    def told(self) -> AuditEvent | None:
        """One event that stands for all of them, if there are any."""
        if self.event is None:
            return None
        first, last = (moment.isoformat(timespec="milliseconds") for moment in (self.first, self.last))
        repeated = Repeated(self.count, first, last, len(self.sources))
        more = " or more" if len(self.sources) == MAX_SOURCES else ""
        origin = "" if len(self.sources) == 1 else f", from {len(self.sources)}{more} sources"
        reason = f"{self.reason} ({self.count} more times from {first} to {last}{origin})"
        return replace(self.event, reason=reason, repeated=repeated)


def _who(event: AuditEvent) -> str:
    """Verified people and nodes, and what they were refused, so that no record speaks of two of them as one.

    Nothing that a peer may choose freely: claimed names and AE titles do not count.
    """
    action = event.action if isinstance(event, AccessRefused) else ""
    return f"{event.actor.person or ''}@{event.actor.node or ''} {action}"


def _common(one: AuditEvent, other: AuditEvent) -> AuditEvent:
    """``one`` without what ``other`` differs in; the worse outcome of both."""
    outcome = max(one.outcome, other.outcome, key=lambda outcome: outcome.value)
    actor = Actor(**_agreed(one.actor, other.actor))
    return replace(one, **{**_agreed(one, other), "actor": actor, "outcome": outcome})


def _agreed(one: _Event, other: _Event) -> dict[str, Any]:
    """The fields in which two dataclasses agree, and the default of each other one that has a default."""
    agreed = {}
    for each in fields(one):  # type: ignore[arg-type]
        value = getattr(one, each.name)
        if value == getattr(other, each.name):
            agreed[each.name] = value
        elif each.default is not MISSING:
            agreed[each.name] = each.default
    return agreed
