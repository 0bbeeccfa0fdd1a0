"""Has checkpoints stamped by a time stamping authority, and keeps what it says.

Whoever calls may be held up for one deadline; that is a thread which nobody waits for. Failures go to the operational
log, once for each reason, and the next attempt comes after a pause that doubles.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from archive.audit.checkpoint import Checkpoint
from archive.audit.timestamp import stamped_line
from archive.audit.trail_files import add_line
from archive.timestamp_authority import UNREACHED, TimestampAuthority
from storage.integrity.timestamp import StampInvalid

FIRST_PAUSE_SECONDS: Final = 30.0
LONGEST_PAUSE_SECONDS: Final = 3600.0

_log = structlog.get_logger("strongroom.audit")


class Stamper:
    """One authority and one file of stamped lines. For one thread."""

    def __init__(
        self, url: str, ca: Path, file: Path, *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take where to ask and whom to believe.

        Args:
            url: of the authority, as the settings allow it.
            ca: PEM; a stamp's chain leads there, and so may that of the authority's HTTPS, else to this system's.
            file: gets one line for each stamp.
            seconds: for a whole exchange. Finding the host's address is the system's and not bounded here.
            clock: like `time.monotonic`.

        Raises:
            OSError: ``ca`` cannot be read.
            ValueError: it holds no certificate.
        """
        self._authority = TimestampAuthority(url, ca, seconds=seconds)
        self._file = file
        self._clock = clock
        self._stamped = 0
        self._failure = ""
        self._pause = 0.0
        self._not_before = 0.0

    def stamp(self, checkpoint: Checkpoint) -> None:
        """Have it stamped and keep that, unless it was, or a pause is not over. Raises nothing."""
        if checkpoint.sequence <= self._stamped or self._clock() < self._not_before:
            return
        try:
            stamp = self._authority.stamp(checkpoint.line.encode())
            add_line(self._file, stamped_line(checkpoint.line, stamp))
        except UNREACHED as error:
            self._failed(str(error) if isinstance(error, StampInvalid) else f"{type(error).__name__}: {error}")
        else:
            if self._failure:
                _log.info("checkpoints are stamped again", authority=self._authority.url)
            self._stamped, self._failure, self._pause, self._not_before = checkpoint.sequence, "", 0.0, 0.0

    def _failed(self, reason: str) -> None:
        if reason != self._failure:
            _log.warning("checkpoints cannot be stamped", authority=self._authority.url, error=reason[:200])
        self._failure = reason
        self._pause = min(max(2 * self._pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        self._not_before = self._clock() + self._pause
