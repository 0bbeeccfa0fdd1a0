"""Warning people outside of the archive: alerts are gathered, sent together, and tried again; nobody waits for that.

Each target has one queue of bounded length and one thread, which begins with the first alert. What cannot be sent is in
the operational log and never an audit event, or a mail server that is down would fill the trail. Every alert is in the
trail already, so what a stop or a crash finds unsent is lost for the target alone.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import structlog

from archive.audit.events import SecurityAlert
from archive.audit.log import now

MAX_WAITING: Final = 256
"""Alerts that wait for one target; beyond that the oldest is left out."""
_FIRST_DELAY, _LONGEST_DELAY = 5.0, 300.0
"""Seconds to wait after a failure, doubling."""

_log = structlog.get_logger("strongroom.detection")


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert, and when it was raised."""

    time: datetime
    alert: SecurityAlert

    def facts(self) -> dict[str, object]:
        """It as JSON-ready values."""
        return {"time": self.time.isoformat(timespec="seconds"), **self.alert.facts()}


class Target(Protocol):
    """Where notices go."""

    @property
    def where(self) -> str:
        """It in words, for the log."""

    @property
    def gather_seconds(self) -> float:
        """How long to wait for more, after the first."""

    @property
    def deadline_seconds(self) -> float:
        """How long one delivery may take."""

    def deliver(self, notices: Sequence[Notice], left_out: int) -> None:
        """Send them together, and how many others were left out before them. Raises `OSError`: it did not work."""


class Outbox:
    """Implements `archive.audit.vigil.Warned` for one target."""

    def __init__(
        self, target: Target, clock: Callable[[], datetime] = now, first_delay_seconds: float = _FIRST_DELAY
    ) -> None:
        self._target = target
        self._clock = clock
        self._first_delay = first_delay_seconds
        self._changed = threading.Condition()
        self._waiting: deque[Notice] = deque()
        self._left_out = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def tell(self, alert: SecurityAlert) -> None:
        """Take an alert to be sent; never waits."""
        with self._changed:
            if self._closed:
                return
            self._waiting.append(Notice(self._clock(), alert))
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                self._left_out += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"warn {self._target.where}", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Try once to send what waits, within the deadline of the target; idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(2 * self._target.deadline_seconds + 1)

    def _run(self) -> None:
        delay = self._target.gather_seconds
        failed = 0
        while True:
            with self._changed:
                last = self._changed.wait_for(lambda: self._closed, delay)
                notices, left_out = list(self._waiting), self._left_out
                if not notices:
                    self._thread = None
                    return
            if self._sent(notices, left_out):
                delay, failed = self._target.gather_seconds, 0
            else:
                delay, failed = min(self._first_delay * 2**failed, _LONGEST_DELAY), min(failed + 1, 16)
            if last:
                return

    def _sent(self, notices: Sequence[Notice], left_out: int) -> bool:
        try:
            self._target.deliver(notices, left_out)
        except OSError as error:
            _log.warning("alerts were not sent", target=self._target.where, alerts=len(notices), error=str(error)[:200])
            return False
        except Exception:  # noqa: BLE001 -- ours; the thread is needed for the next
            _log.exception("alerts were not sent", target=self._target.where)
            return False
        with self._changed:
            # Some of them may have been left out meanwhile, to make room for new ones.
            sent = {id(notice) for notice in notices}
            while self._waiting and id(self._waiting[0]) in sent:
                self._waiting.popleft()
            self._left_out -= left_out
        return True
