"""Which sources have failed so often lately that they are trusted with less time and are the first to make room.

A penalty never shuts a source out: honest peers may share an address with others. What it takes away is patience.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

MAX_SOURCES: Final = 4096
"""Sources that are remembered; beyond it the one that was longest without a failure is forgotten."""


class Penalties:
    """Counts failures in a leaky bucket for each source. Thread-safe."""

    def __init__(self, failures: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """A source with ``failures`` within ``seconds`` is penalised, for at most that long after its last one."""
        self._most = float(failures)
        self._rate = failures / seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._scores: dict[str, tuple[float, float]] = {}

    def failed(self, source: str) -> None:
        """A peer there was refused, broke the protocol, let a deadline pass or lost its place."""
        now = self._clock()
        with self._lock:
            score, since = self._scores.pop(source, (0.0, now))
            remaining = max(0.0, score - (now - since) * self._rate)
            self._scores[source] = (min(remaining + 1, 2 * self._most - 1), now)
            if len(self._scores) > MAX_SOURCES:
                del self._scores[next(iter(self._scores))]

    def succeeded(self, source: str) -> None:
        """A peer there was let in: what failed before may have been somebody else, or a mistake put right."""
        with self._lock:
            self._scores.pop(source, None)

    def penalised(self, source: str) -> bool:
        """Whether the source has failed so often that it is penalised now."""
        known = self._scores.get(source)
        if known is None:
            return False
        score, since = known
        return score - (self._clock() - since) * self._rate > self._most - 1
