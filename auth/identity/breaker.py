"""Whether somebody who stopped answering is worth asking: a circuit breaker, as a pure state machine with a clock.

    closed ──(so many unavailable answers in a row)──> open ──(the pause is over)──> one probe
      ^                                                 ^                               │
      └───────────────── it was answered ───────────────┼───────────────────────────────┤
                                                        └── unavailable: twice the pause ┘

Every attempt carries the epoch in which it began, and is heard in that epoch only: what was asked before the circuit
opened says nothing about the one probe that was let through since. No thread and no lock: whoever shares one among
threads guards it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

GROWTH: Final = 2.0
"""How many times as long each pause is as the one before, up to the longest."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Leave to ask once; to be given back as `Breaker.answered`, `unavailable` or `undecided`."""

    epoch: int


class Breaker:
    """The circuit to one provider."""

    def __init__(
        self,
        *,
        failures: int = 3,
        pause_seconds: float = 1.0,
        longest_pause_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A closed circuit.

        Args:
            failures: unavailable answers in a row that open it.
            pause_seconds: from opening to the first probe.
            longest_pause_seconds: what the pause grows to; a provider that is back is found after at most that long.
            clock: seconds that never go back.
        """
        if failures < 1 or not 0 < pause_seconds <= longest_pause_seconds:
            raise ValueError(
                "a breaker opens after at least one failure, for a pause above 0 and not above the longest"
            )
        self._limit = failures
        self._first_pause = pause_seconds
        self._longest_pause = longest_pause_seconds
        self._clock = clock
        self._epoch = 0
        self._failures = 0
        self._pause = pause_seconds
        self._open_until: float | None = None
        self._probing = False

    @property
    def refuses(self) -> bool:
        """Whether `begin` would give no leave at this moment."""
        return self._open_until is not None and (self._probing or self._clock() < self._open_until)

    def begin(self) -> Attempt | None:
        """Leave to ask; None while the circuit is open, or while its one probe is out."""
        if self.refuses:
            return None
        self._probing = self._open_until is not None
        return Attempt(self._epoch)

    def answered(self, attempt: Attempt) -> None:
        """The provider gave an answer, be it a refusal: the circuit is closed, and its history forgotten."""
        if attempt.epoch != self._epoch:
            return
        self._failures = 0
        if self._open_until is not None:
            self._epoch += 1
            self._open_until, self._probing, self._pause = None, False, self._first_pause

    def unavailable(self, attempt: Attempt) -> None:
        """The provider could not be asked, or did not answer in time."""
        if attempt.epoch != self._epoch:
            return
        self._failures += 1
        if self._open_until is None and self._failures < self._limit:
            return
        self._epoch += 1
        self._open_until, self._probing = self._clock() + self._pause, False
        self._pause = min(self._pause * GROWTH, self._longest_pause)

    def undecided(self, attempt: Attempt) -> None:
        """Nothing was learnt of the provider; if this was the probe, the next attempt is."""
        if attempt.epoch == self._epoch:
            self._probing = False
