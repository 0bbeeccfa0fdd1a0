"""How often somebody may be wrong: a growing delay for a name from a source, and a budget of failures for a source.

**The delay.** The first ``free_failures`` of a name from a source cost nothing. After each further one the next attempt
waits ``first_delay_seconds``, then twice that, and so on up to ``longest_delay_seconds``: with the defaults 0, 0, 0, 0,
1, 2, 4, 8, 16, 32, 60, 60 … s. Only an examined attempt counts: one that is refused here changes nothing, so that
whoever keeps knocking waits no longer than whoever stays away. While there is a delay, an admitted attempt takes the
turn: the next is admitted a delay later, however the first ends, so that attempts at one time are not more guesses. A
success ends it all; so does ``forget_seconds`` without a failure.

**The budget.** Each failure costs its source ``seconds_per_failure``, paid off by time. Where one more would make it
owe more than ``source_failures``, it is refused until it would not, except for names that were verified from there
before: many people behind one address are not shut out by one of them. One name alone cannot use up a budget, for its
delay grows.

**What is wrong with a token** is no guess at a signature, and everybody's tokens at a source look alike before they are
verified. So where no name is legible there is no delay, only the budget.

No user is locked out by name: whatever is kept of a name is kept of it *at one source*, and no other source's failures
are ever looked at. Memory is bounded: what failed least recently is forgotten first, and a flood from one source is
over its budget long before it can make room for itself (`Limits` checks that).
"""

import hashlib
import ipaddress
import math
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from auth.errors import TooManyAttempts

_DIGEST_BYTES: Final = 16

Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers of a `Throttle`."""

    free_failures: int = 4
    """Failures of a name at a source without any delay."""
    first_delay_seconds: float = 1.0
    longest_delay_seconds: float = 60.0
    forget_seconds: float = 900.0
    """Without a failure, after which a name at a source begins anew."""
    attempts_at_once: int = 32
    """Of a name at a source, begun and not yet ended; workstations open several associations at a time."""
    settle_seconds: float = 10.0
    """After the last attempt that was begun, those that never ended (nobody could be asked) no longer count."""
    source_failures: int = 100
    """Failures that a source may owe."""
    seconds_per_failure: float = 2.0
    """In which a source pays one off."""
    names: int = 16_384
    """Names at sources that are kept, some 350 bytes each."""
    sources: int = 4_096
    """Sources that are kept, some 150 bytes each."""
    regulars: int = 4_096
    """Names at sources that were verified there, which are kept, some 200 bytes each."""

    def __post_init__(self) -> None:
        """Raises ValueError where the numbers contradict each other."""
        if min(self.free_failures, self.attempts_at_once, self.source_failures, self.sources, self.regulars) < 1:
            raise ValueError("the counts of a throttle are at least 1")
        if not 0 < self.first_delay_seconds <= self.longest_delay_seconds < self.forget_seconds:
            raise ValueError("a throttle's first delay is at most its longest, which is below what it forgets after")
        if self.settle_seconds <= 0 or self.seconds_per_failure <= 0:
            raise ValueError("the seconds of a throttle are above 0")
        # One source could otherwise make its own failures forgotten faster than by waiting.
        if self.names < self.source_failures + self.longest_delay_seconds / self.seconds_per_failure:
            raise ValueError("a throttle keeps more names than one source can fail with during the longest delay")
        # One name could otherwise shut a source for all: what fails at once, while the delay grows, and from then on.
        doublings = math.ceil(math.log2(self.longest_delay_seconds / self.first_delay_seconds))
        if (
            self.free_failures + self.attempts_at_once + doublings >= self.source_failures
            or self.seconds_per_failure >= self.longest_delay_seconds
        ):
            raise ValueError("one name alone could use up a throttle's budget for a source")

    def delay(self, failures: int) -> float:
        """Seconds between the last of so many failures of a name at a source, and its next attempt."""
        beyond = failures - self.free_failures
        if beyond <= 0:
            return 0.0
        # The exponent is bounded before the power is: failures may be many.
        return min(self.first_delay_seconds * 2.0 ** min(beyond - 1, 63), self.longest_delay_seconds)


@dataclass(slots=True)
class _History:
    """Of a name at a source."""

    failures: int = 0
    failed_at: float = 0.0
    not_before: float = 0.0
    begun: int = 0
    """Attempts that were admitted and have not ended."""
    begun_at: float = 0.0


class Throttle:
    """Says whether an attempt may be examined at all. Shared by all associations; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, limits: Limits | None = None) -> None:
        """``clock``: seconds that never go back. ``limits``: None for the defaults."""
        self._clock = clock
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._histories: OrderedDict[tuple[bytes, bytes], _History] = OrderedDict()
        self._paid_off: OrderedDict[bytes, float] = OrderedDict()
        """When each source will owe nothing."""
        self._regulars: OrderedDict[tuple[bytes, bytes], None] = OrderedDict()

    @property
    def kept(self) -> tuple[int, int, int]:
        """How many names at sources, sources, and regulars are remembered."""
        with self._lock:
            return len(self._histories), len(self._paid_off), len(self._regulars)

    def admit(self, name: str | int, source: str) -> None:
        """Let an attempt be examined; `failed` or `succeeded` follows, or neither if nobody could be asked.

        Args:
            name: the claimed name; the user identity type where none is legible.
            source: the address that the connection came from.

        Raises:
            TooManyAttempts: not now. The attempt does not count.
        """
        key = _key(name, source)
        claimed = name if isinstance(name, str) else None
        with self._lock:
            now = self._clock()
            # 1 The name at this source.
            history = self._history(key, now)
            if claimed is not None:
                if now < history.not_before:
                    raise TooManyAttempts("too many failures of this name from this address", claimed=claimed)
                if history.begun >= self._limits.attempts_at_once:
                    raise TooManyAttempts("too many attempts at once for this name from this address", claimed=claimed)
            # 2 The source, but for whom it is known for.
            owed = (self._paid_off.get(key[1], now) - now) / self._limits.seconds_per_failure
            if owed + 1 > self._limits.source_failures and key not in self._regulars:
                raise TooManyAttempts("too many failures from this address", claimed=claimed)
            # 3 It is examined, and takes the turn where turns are taken.
            if claimed is not None:
                history.begun += 1
                history.begun_at = now
                history.not_before = now + self._limits.delay(history.failures)
                _keep(self._histories, key, history, self._limits.names)

    def failed(self, name: str | int, source: str) -> None:
        """An admitted attempt was examined, and was not good."""
        key = _key(name, source)
        with self._lock:
            now = self._clock()
            owed_until = max(self._paid_off.get(key[1], now), now) + self._limits.seconds_per_failure
            _keep(self._paid_off, key[1], owed_until, self._limits.sources)
            if isinstance(name, str):
                history = self._history(key, now)
                history.begun = max(0, history.begun - 1)
                history.failures += 1
                history.failed_at = now
                history.not_before = now + self._limits.delay(history.failures)
                _keep(self._histories, key, history, self._limits.names)

    def succeeded(self, name: str | int, source: str) -> None:
        """An admitted attempt was good: earlier failures of this name at this source are forgotten."""
        key = _key(name, source)
        with self._lock:
            self._histories.pop(key, None)
            _keep(self._regulars, key, None, self._limits.regulars)

    def _history(self, key: tuple[bytes, bytes], now: float) -> _History:
        """As it counts now; a new one, not kept yet, if there is none."""
        history = self._histories.get(key)
        if history is None:
            return _History()
        if history.failures and now - history.failed_at >= self._limits.forget_seconds:
            history.failures, history.not_before = 0, 0.0
        if now - history.begun_at >= self._limits.settle_seconds:
            history.begun = 0
        return history


def _key(name: str | int, source: str) -> tuple[bytes, bytes]:
    return _name_key(name), _source_key(source)


def _name_key(name: str | int) -> bytes:
    """A name by what directories compare: without case, width and repeated spaces; or a type, which is no name.

    A digest, so that no entry is longer for a longer name, and none can be read.
    """
    if isinstance(name, int):
        return b"%d" % name
    folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return hashlib.sha256(folded.encode("utf-8", "surrogatepass")).digest()[:_DIGEST_BYTES]


def _source_key(source: str) -> bytes:
    """An IPv4 address; of an IPv6 address its /64, which is what one customer has (RFC 6177); else what is written."""
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return hashlib.sha256(source.encode("utf-8", "surrogatepass")).digest()[:_DIGEST_BYTES]
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped.packed if address.ipv4_mapped else address.packed[:8]
    return address.packed


def _keep(kept: OrderedDict[Key, Value], key: Key, value: Value, most: int) -> None:
    """As the most recent, in the place of the least recent where there is no other."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
