"""Makes checkpoints while time passes, and carries the newest to a file that lies elsewhere.

A file on another machine may hang or fail. So it is written by a thread of its own, which nobody waits for while the
trail is written, and for some seconds only when the archive stops.
"""

import os
import threading
from pathlib import Path
from typing import Final

import structlog

from archive.audit.trail import AuditTrail
from archive.audit.trail_files import write_all
from archive.errors import AuditUnavailable

STOP_SECONDS: Final = 10.0
"""What the file gets to take the last checkpoint when the archive stops."""

_log = structlog.get_logger("strongroom.audit")


class CheckpointKeeper:
    """One thread for one trail. `close` it after the trail, whose last checkpoint it still carries."""

    def __init__(self, trail: AuditTrail, *, seconds: float, file: Path | None) -> None:
        """Begin. ``seconds``: between two checkpoints; ``file``: gets one line for each, None: there is none."""
        self._trail = trail
        self._seconds = seconds
        self._file = file
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
            _log.warning("the last checkpoint was not carried: the file did not answer", file=str(self._file))

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._trail.checkpoint()
            except AuditUnavailable:
                return  # whoever records is told of that; a checkpoint would say nothing more
            self._carry()
        self._carry()

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


def add_line(path: Path, line: str) -> None:
    """Add one line to a file on stable storage, making it (0600) if there is none. Raises `OSError`."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        write_all(file, f"{line}\n".encode("ascii"))
        os.fsync(file)
    finally:
        os.close(file)
