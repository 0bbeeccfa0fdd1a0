"""Requests of ours that wait for their turn on an association, and those that wait for their answer. Thread-safe."""

import threading
from collections.abc import Iterator

from archive.dimse.channel import Report
from archive.upper_layer.commands import CommandSet, Field


class Outbox:
    """Of one association. Whatever is still in it when it is closed is told that no answer will come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Report] = []
        self._sent: dict[tuple[int, int], Report] = {}
        self._number = 0
        self._closed = False

    @property
    def waiting(self) -> bool:
        """Whether something is to be sent."""
        return bool(self._waiting)

    def post(self, report: Report) -> bool:
        """Put a report in; False where it is closed."""
        with self._lock:
            if self._closed:
                return False
            self._waiting.append(report)
            return True

    def taken(self) -> Iterator[tuple[Report, int]]:
        """What is to be sent now, with its message id; each waits for its answer from then on."""
        while self._waiting:
            with self._lock:
                report = self._waiting.pop(0)
                self._number = self._number % 0xFFFF + 1
                self._sent[report.context_id, self._number] = report
            yield report, self._number

    def answered(self, context_id: int, response: CommandSet) -> bool:
        """Take a response; False if it answers nothing that was sent."""
        with self._lock:
            report = self._sent.pop((context_id, response.message_id_being_responded_to), None)
        if report is None or response.field != Field.N_EVENT_REPORT_RSP:
            return False
        report.answered(response)
        return True

    def close(self) -> None:
        """The association is over; idempotent."""
        with self._lock:
            self._closed = True
            left = [*self._sent.values(), *self._waiting]
            self._sent.clear()
            self._waiting.clear()
        for report in left:
            report.answered(None)
