"""Breaking the glass: more than one's role, for an hour at most, with a reason, told at once and looked at afterwards.

1. the policy permits BreakGlass to the person and the node; it is asked again at every later decision
   (`archive.enforcement.pep`);
2. a Security Alert says that it begins (DCM 110127), before anybody is served under it;
3. it is kept, bound to the person and the node: whichever association of the two is decided on until its end;
4. its end, by time or by hand, is told as well (DCM 110138), also while associations go on: they lose it then;
5. it waits for review.
"""

import threading
from datetime import timedelta
from typing import Final, Protocol

import structlog

from archive.audit.events import Actor, Alert, AuditEvent, SecurityAlert
from archive.enforcement.grant import Grant
from archive.errors import AuditUnavailable
from archive.records.overrides import LONGEST, Override, OverrideRecords
from archive.session import AssociationSession
from storage.errors import StorageError

PAUSE_SECONDS: Final = 1.0
"""Between two looks for what is over."""
_log = structlog.get_logger("strongroom.glass")


class AuditRecorder(Protocol):
    """Where beginnings and ends are told (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Put the events on stable storage. Raises `AuditUnavailable`."""


class GlassEnforcement(Protocol):
    """What is asked of `archive.enforcement.pep.PolicyEnforcementPoint`."""

    def break_glass(self, session: AssociationSession) -> Grant:
        """May the person break the glass at this node? Raises `AccessDenied`, audited."""


class GlassService:
    """Breaks glass for the people of associations. Thread-safe."""

    def __init__(self, records: OverrideRecords, pep: GlassEnforcement, audit: AuditRecorder) -> None:
        self._records = records
        self._pep = pep
        self._audit = audit

    def break_at(self, session: AssociationSession, reason: str) -> None:
        """Break the glass for the person of a session at its node; nothing is added where it is broken already.

        Raises:
            AccessDenied: the policy does not permit it.
            AuditUnavailable, StorageError: it could not be told or kept, and is not broken.
        """
        grant = self._pep.break_glass(session)
        person, node = session.person or "", session.node.name
        if self._records.active(person, node) is None:
            begin(
                self._records,
                self._audit,
                self._records.prepared(person, node, reason, person),
                Actor.of(grant.session),
            )


def begin(records: OverrideRecords, audit: AuditRecorder, override: Override, actor: Actor) -> None:
    """Tell of an override and keep it, in this order. Raises `AuditUnavailable`, `StorageError`."""
    words = f"glass broken by {override.opened_by} for {override.person} at {override.node}"
    until = override.ends.isoformat(timespec="seconds")
    _tell(audit, Alert.EMERGENCY_OVERRIDE_STARTED, actor, f"{words} until {until} ({override.id}): {override.reason}")
    records.keep(override)


def end_what_is_over(records: OverrideRecords, audit: AuditRecorder) -> None:
    """Tell of every override whose time has passed, once. Raises `AuditUnavailable`, `StorageError`."""
    for override in records.over():
        actor = Actor(person=override.person, node=override.node)
        ended = override.ends.isoformat(timespec="seconds")
        words = f"glass broken for {override.person} at {override.node} ended {ended} ({override.id}), to be reviewed"
        _tell(audit, Alert.EMERGENCY_OVERRIDE_STOPPED, actor, words)
        records.told(override.id)


def minutes(number: int | None) -> timedelta:
    """How long an operator wants it to last."""
    return LONGEST if number is None else timedelta(minutes=number)


def _tell(audit: AuditRecorder, alert: Alert, actor: Actor, words: str) -> None:
    audit.record(SecurityAlert(actor, alert=alert.value, description=words))


class GlassWatch:
    """A thread that tells of ends as they come. `close` it."""

    def __init__(self, records: OverrideRecords, audit: AuditRecorder, *, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._records = records
        self._audit = audit
        self._pause = pause_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="glass", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look a last time, and end; idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            stopping = self._stop.wait(self._pause)
            try:
                end_what_is_over(self._records, self._audit)
            except (AuditUnavailable, StorageError) as error:
                # It counts no more either way, and is told at the next look.
                _log.warning("the end of an override could not be told", error=type(error).__name__)
            if stopping:
                return
