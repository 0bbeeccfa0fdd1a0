"""One thread that follows the trail to one repository: at least once, in order, however long the repository is away.

    read ──> render ──> send ──> confirm ──> keep the position
      ^                   │
      └── from the last confirmed place, after a pause that grows

Nothing here holds up recording: the trail is the queue, and this only reads it.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from archive.audit.events import Actor, Alert, Outcome, SecurityAlert
from archive.audit.forward.link import Link, MessageRefused, RepositoryUnavailable
from archive.audit.forward.position import Standing, StandingFile
from archive.audit.forward.tail import Place, TrailTail
from archive.audit.forward.target import AuditTarget
from archive.audit.log import AuditLog
from archive.audit.trail_format import TrailRecord
from archive.errors import AuditUnavailable, TrailDamaged

CONFIRM_OCTETS: Final = 8 * 1024 * 1024
"""What may be on its way unconfirmed: so much is sent again, at most, after a crash or a broken connection."""
_LOOK_SECONDS: Final = 0.25
"""How often an idle sender looks whether the trail has grown: one `stat` and one empty read."""
_FIRST_PAUSE_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 30.0
"""A repository that is back sooner was never away, as far as the audit is concerned."""
_REFUSALS_SECONDS: Final = 3600.0
"""Refused messages are told at most once in so long."""
_FAREWELL_SECONDS: Final = 3.0
"""What a stopping sender takes to hand over what was recorded last."""

_log = structlog.get_logger("strongroom.audit.forward")


@dataclass(frozen=True, slots=True)
class Way:
    """What a sender needs for its target."""

    connect: Callable[[bool], Link]
    """Is told whether the repository confirmed the connection before. May raise `RepositoryUnavailable`."""
    tail: Callable[[Place | None], TrailTail]
    render: Callable[[TrailRecord], str]


class Sender:
    """Follows the trail to one target, from `start` to `close`."""

    def __init__(
        self,
        target: AuditTarget,
        way: Way,
        standing_file: StandingFile,
        audit: AuditLog,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._target = target
        self._way = way
        self._file = standing_file
        self._audit = audit
        self._patience = patience_seconds
        self._standing: Standing = standing_file.load()
        self._stopping = threading.Event()
        self._link: Link | None = None
        self._tail: TrailTail | None = None
        self._ahead: Place | None = self._standing.place
        self._octets = self._messages = 0
        self._waiting = False
        self._unconfirmed_since = 0.0
        self._failures = 0
        self._first_failure = 0.0
        self._refusals_told = float("-inf")
        self._refusals = 0
        self._damaged = False
        self._known = False
        self._gap_told = 0
        self._thread = threading.Thread(target=self._run, name=f"audit-{target.name}", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to hand over what it can, confirm, and end; returns at once."""
        self._stopping.set()

    def close(self, ends: float) -> None:
        """Wait for the thread until ``ends`` (`time.monotonic`), then cut its connection. Idempotent."""
        self.stop()
        if self._thread.ident is None:
            return
        self._thread.join(max(0.0, ends - time.monotonic()))
        link = self._link
        if link is not None and self._thread.is_alive():
            link.abort()
            self._thread.join(1.0)

    def _run(self) -> None:
        try:
            self._follow()
        finally:
            self._drop_link()

    def _follow(self) -> None:
        farewell = float("inf")
        while True:
            if self._stopping.is_set() and farewell == float("inf"):
                farewell = time.monotonic() + _FAREWELL_SECONDS
            ending = time.monotonic() >= farewell
            try:
                idle = ending or not self._step()
                if idle and self._stopping.is_set():
                    self._confirm()
                    return
                if self._due():
                    self._confirm()
            except (RepositoryUnavailable, OSError) as error:
                self._failed(error)
                if self._stopping.wait(self._pause()):
                    return
            else:
                if idle:
                    self._stopping.wait(_LOOK_SECONDS)

    def _step(self) -> bool:
        """Hand over the next records; whether there were any."""
        if self._damaged:
            return False
        if self._tail is None:
            self._tail = self._way.tail(self._standing.place)
            self._ahead = self._standing.place
        found = False
        try:
            for record, place in self._tail.read():
                self._hand_over(record)
                self._ahead = place
                found = True
        except TrailDamaged as error:
            # Nothing behind it can be read, and reading again changes nothing.
            self._damaged = True
            self._tell(Outcome.SERIOUS_FAILURE, f"forwarding stops, for the audit trail is damaged: {error}")
        if self._link is not None:
            self._link.flush()
        return found

    def _hand_over(self, record: TrailRecord) -> None:
        ahead = self._ahead.sequence if self._ahead is not None else record.sequence - 1
        if record.sequence > ahead + 1 and record.sequence != self._gap_told:
            self._gap_told = record.sequence
            self._tell(
                Outcome.SERIOUS_FAILURE,
                f"records {ahead + 1} to {record.sequence - 1} were removed before they were forwarded",
            )
        if self._link is None:
            self._link = self._way.connect(self._known)
        if not self._waiting:
            self._unconfirmed_since = time.monotonic()
        self._waiting = True
        try:
            self._octets += self._link.send(record, self._rendered(record))
            self._messages += 1
        except MessageRefused as refusal:
            self._refused(record, str(refusal))

    def _rendered(self, record: TrailRecord) -> str:
        try:
            return self._way.render(record)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # A record of another release: the others must not wait for it.
            raise MessageRefused(f"it cannot be rendered ({type(error).__name__})") from None

    def _refused(self, record: TrailRecord, reason: str) -> None:
        self._file.refuse(record.sequence, reason)
        self._standing.refused += 1
        self._refusals += 1
        if time.monotonic() - self._refusals_told >= _REFUSALS_SECONDS:
            words = f"{self._refusals} messages were refused, last record {record.sequence}: {reason}"
            self._refusals_told, self._refusals = time.monotonic(), 0
            self._tell(Outcome.MINOR_FAILURE, words)

    def _due(self) -> bool:
        waited = time.monotonic() - self._unconfirmed_since
        return self._waiting and (self._octets >= CONFIRM_OCTETS or waited >= self._target.confirm.total_seconds())

    def _confirm(self) -> None:
        """Make sure of everything handed over, and keep the place behind it."""
        link = self._link
        if not self._waiting or link is None:
            return
        link.confirm()
        self._known = True
        if not link.lasting:
            self._drop_link()
        self._arrived()
        back = self._standing.told
        self._failures = 0
        self._standing.unreachable_since, self._standing.told, self._standing.last_error = None, False, ""
        self._file.save(self._standing)
        if back:
            self._tell(Outcome.SUCCESS, "it takes messages again")

    def _arrived(self) -> None:
        """Everything handed over has arrived, or is refused for good."""
        self._standing.place = self._ahead
        self._standing.delivered += self._messages
        self._octets, self._messages, self._waiting = 0, 0, False

    def _failed(self, error: Exception) -> None:
        """Go back to the last confirmed place, and say once that the repository is away if it stays so."""
        # 1 What was sent without being confirmed is sent again.
        self._known = False
        if self._link is not None and self._link.lasting:
            self._arrived()
        self._drop_link()
        self._tail = None
        self._octets, self._messages, self._waiting = 0, 0, False
        # 2 One line in the operational log for each outage, and one event for a long one.
        reason = str(error) or type(error).__name__
        if not self._failures:
            self._first_failure = time.monotonic()
            _log.warning("audit messages wait", target=self._target.name, reason=reason)
        self._failures += 1
        standing = self._standing
        standing.unreachable_since = standing.unreachable_since or datetime.now(UTC).isoformat(timespec="seconds")
        standing.last_error = reason
        lost = not standing.told and time.monotonic() - self._first_failure >= self._patience
        standing.told = standing.told or lost
        try:
            self._file.save(standing)
        except OSError as unwritable:
            _log.warning("the position of an audit target cannot be kept", reason=unwritable.strerror)
        if lost:
            words = f"it cannot be reached since {standing.unreachable_since}: {reason}; messages wait in the trail"
            self._tell(Outcome.MINOR_FAILURE, words)

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _pause(self) -> float:
        """Seconds until the next attempt: twice as long each time, and never in step with other senders."""
        longest = self._target.longest_pause.total_seconds()
        grown = min(longest, _FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 16))
        return grown * random.uniform(0.5, 1.0)  # noqa: S311  (spreads load, guards nothing)

    def _tell(self, outcome: Outcome, words: str) -> None:
        """An event about the repository. It waits in the trail like every other, so it must stay rare."""
        name = self._target.name
        _log.warning("audit repository", target=name, state=words)
        alert = Alert.SECURITY_CONFIGURATION.value
        try:
            self._audit.record(
                SecurityAlert(Actor(), outcome, alert=alert, description=f"audit repository {name}: {words}")
            )
        except AuditUnavailable:
            _log.warning("the audit trail does not take what its forwarder says", target=name)
