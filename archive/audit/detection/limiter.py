"""How many alerts there may be: whoever causes findings must not bury the officer, nor the trail, in them.

In an hour one alert for each rule and subject, ``per_source`` for one source, and ``per_hour`` in all; what the
unverified cause counts apart from what verified people, nodes and the archive itself do, so that a crowd of strangers
cannot use up what an insider's alert needs. What was left out is told as a number, once, when the hour is over.

The hour and what was told in it outlive a restart, in one small file, so that restarting is no way to be flooded again.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from archive.audit.detection.seen import Moment
from archive.errors import SettingsInvalid

_log = structlog.get_logger("strongroom.detection")
_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """Section ``[alerts]``. Raises `SettingsInvalid` for a value out of range."""

    per_source: int = 5
    per_hour: int = 30

    def __post_init__(self) -> None:
        if not 1 <= self.per_source <= self.per_hour <= 1000:
            raise SettingsInvalid("alerts.per_source must be from 1 to alerts.per_hour, and that at most 1000")


class Limiter:
    """Counts the alerts of the present hour."""

    def __init__(self, limits: AlertLimits, kept: Path, moment: Moment) -> None:
        """Go on with the hour that ``kept`` tells of, if it is not over; one that makes no sense begins a new one."""
        self._limits = limits
        self._kept = kept
        self._ends = moment.ticking + _HOUR
        self._told: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._left_out = 0
        try:
            self._resume(json.loads(kept.read_text("utf-8")), moment)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError, KeyError, ArithmeticError) as error:
            _log.warning("what was told of the last hour is not legible", file=str(kept), error=type(error).__name__)

    def allows(self, rule: str, subject: str, source: str, *, verified: bool) -> bool:
        """Whether a finding becomes an alert; if so it is counted."""
        key, group = f"{rule} {subject}", "verified" if verified else "unverified"
        counted = (f"of {group}", f"from {source}")
        full = self._counts[counted[0]] >= self._limits.per_hour or (
            bool(source) and self._counts[counted[1]] >= self._limits.per_source
        )
        if key in self._told or full:
            self._left_out += 1
            return False
        self._told.add(key)
        self._counts.update(counted)
        return True

    def over(self, moment: Moment) -> int:
        """Begin a new hour if it is time; how many findings the last one left out."""
        if moment.ticking < self._ends:
            return 0
        left_out, self._left_out = self._left_out, 0
        self._ends = moment.ticking + _HOUR
        self._told.clear()
        self._counts.clear()
        return left_out

    def keep(self, moment: Moment) -> None:
        """Write the hour down. Where that fails, only the next start knows less."""
        ends = moment.wall.timestamp() + self._ends - moment.ticking
        counts = {name: count for name, count in self._counts.items() if count}
        state = {"ends": ends, "told": sorted(self._told), "counts": counts, "left_out": self._left_out}
        beside = self._kept.with_suffix(".new")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(state, stream)
            beside.replace(self._kept)
        except OSError as error:
            _log.warning("what was told cannot be written down", file=str(self._kept), error=error.strerror)

    def _resume(self, state: dict[str, object], moment: Moment) -> None:
        left = datetime.fromtimestamp(float(str(state["ends"])), UTC) - moment.wall
        told, counts = state["told"], state["counts"]
        if not (isinstance(told, list) and isinstance(counts, dict)):
            raise TypeError
        counted = Counter({str(name): int(count) for name, count in counts.items()})
        if 0 < left.total_seconds() <= _HOUR:
            self._ends = moment.ticking + left.total_seconds()
            self._told, self._counts = {str(key) for key in told}, counted
            self._left_out = int(str(state["left_out"]))
