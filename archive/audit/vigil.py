"""What stands between the archive's services and its trail while it serves: floods are counted, behaviour is watched.

1. An event is recorded, unless it is one of a flood, which is only counted (`archive.audit.coalescing`).
2. The rules see every event, counted ones too (`archive.audit.detection.watch`). They look at memory alone: recording
   waits for none of what follows.
3. One thread, here, tells the trail what was counted once it is time, and each alert, as an event of its own; then it
   hands the alert to whoever is warned outside (`archive.audit.detection.notify`), which waits for nobody either.
"""

import contextlib
import threading
from typing import Final, Protocol

import structlog

from archive.audit.coalescing import AuditRecorder, Coalescer
from archive.audit.detection.watch import Watch
from archive.audit.events import AuditEvent, SecurityAlert
from archive.errors import AuditUnavailable

_log = structlog.get_logger("strongroom.detection")
_TICK_SECONDS: Final = 1.0


class Warned(Protocol):
    """Who is told of alerts besides the trail (`archive.audit.detection.notify`)."""

    def tell(self, alert: SecurityAlert) -> None:
        """Take an alert to be told; never waits."""

    def close(self) -> None:
        """Tell what is left, within a deadline; idempotent."""


class Vigil:
    """Implements `AuditRecorder` on top of another one. `close` it before that one."""

    def __init__(
        self, audit: AuditRecorder, coalescer: Coalescer, watch: Watch, warned: tuple[Warned, ...] = ()
    ) -> None:
        """Prepare; what depends on time alone waits for `begin`.

        Args:
            audit: where alerts are recorded.
            coalescer: where events are, which passes on what it does not hold back.
            watch: the rules.
            warned: who else is told of alerts.
        """
        self._audit = audit
        self._coalescer = coalescer
        self._watch = watch
        self._warned = warned
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vigil", daemon=True)

    def begin(self) -> None:
        """Look at the time from now on."""
        self._thread.start()

    def record(self, *events: AuditEvent) -> None:
        """Put the events on stable storage, or count them. Raises `AuditUnavailable`."""
        self._coalescer.record(*events)
        try:
            self._watch.observe(*events)
        except Exception:  # noqa: BLE001 -- whoever finds a fault in a rule gains nothing by it
            _log.exception("a rule failed")

    def close(self) -> None:
        """Record what is held back and the alerts that are left; idempotent. Raises `AuditUnavailable`."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            self._coalescer.close()
            self._raise_alerts()
        finally:
            for warned in self._warned:
                warned.close()

    def _run(self) -> None:
        while not self._stop.wait(_TICK_SECONDS):
            # What cannot be recorded is lost, and so is everything else: the trail is closed until somebody looks.
            with contextlib.suppress(AuditUnavailable):
                self._coalescer.tick()
            try:
                self._watch.tick()
                self._raise_alerts()
            except AuditUnavailable:
                continue
            except Exception:  # noqa: BLE001 -- the next second may go better, and the thread is needed
                _log.exception("detection failed")

    def _raise_alerts(self) -> None:
        for alert in self._watch.take():
            self._audit.record(alert)
            for warned in self._warned:
                warned.tell(alert)
