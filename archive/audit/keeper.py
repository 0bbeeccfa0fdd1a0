"""Makes checkpoints while time passes; carries the newest to a file that lies elsewhere, and has it stamped.

A file on another machine may hang or fail, and so may a stamping authority. So both are served by a thread of its own,
which nobody waits for while the trail is written, and for some seconds only when the archive stops.
"""

import threading
from pathlib import Path
from typing import Final

import structlog

from archive.audit.timestamping import Stamper
from archive.audit.trail import AuditTrail
from archive.audit.trail_files import add_line
from archive.errors import AuditUnavailable

STOP_SECONDS: Final = 10.0
"""What the file and the authority get to take the last checkpoint when the archive stops."""

_log = structlog.get_logger("strongroom.audit")


class CheckpointKeeper:
    """One thread for one trail. `close` it after the trail, whose last checkpoint it still carries."""

    def __init__(self, trail: AuditTrail, *, seconds: float, file: Path | None, stamper: Stamper | None = None) -> None:
        """Begin.

        Args:
            trail: whose checkpoints are made.
            seconds: between two of them.
            file: gets one line for each; None: there is none.
            stamper: has each stamped; None: nobody does.
        """
        self._trail = trail
        self._seconds = seconds
        self._file = file
        self._stamper = stamper
        self._carried = 0
        self._failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Carry the last checkpoint, and end; idempotent."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)
        if self._thread.is_alive():
            _log.warning("the last checkpoint was not carried or stamped in time", file=str(self._file))

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._trail.checkpoint()
            except AuditUnavailable:
                break  # closed, or broken, of which whoever records is told: only what there is can still be carried
            self._carry()
            self._stamp()
        self._carry()
        self._stamp()

    def _carry(self) -> None:
        checkpoint = self._trail.last_checkpoint
        if self._file is None or checkpoint is None or checkpoint.sequence <= self._carried:
            return
        try:
            add_line(self._file, checkpoint.line)
        except OSError as error:
            if not self._failing:
                _log.warning("checkpoints cannot be carried", file=str(self._file), error=error.strerror)
            self._failing = True
            return
        self._carried, self._failing = checkpoint.sequence, False

    def _stamp(self) -> None:
        checkpoint = self._trail.last_checkpoint
        if self._stamper is not None and checkpoint is not None:
            self._stamper.stamp(checkpoint)
