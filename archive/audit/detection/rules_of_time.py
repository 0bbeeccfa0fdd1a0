"""Rules about what does not happen, and about time itself. As `archive.audit.detection.rules`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Final

from archive.audit.detection.habits import Remembered
from archive.audit.detection.rules import Named
from archive.audit.detection.seen import Finding, Moment, Seen

_SECURITY_CONFIGURATION: Final = "110129"
_NETWORK_CONFIGURATION: Final = "110128"
"""PS3.16 CID 403."""
_ANCHOR_SECONDS: Final = 3600.0
"""How long the clock is compared with one instant. Adjusting it slowly (500 ppm at most) moves it by 1.8 s in that."""


@dataclass(slots=True)
class ClockJump(Named):
    """The clock of the records set back, or forward, while the other clock of the machine says otherwise.

    So does a machine that was suspended: its other clock stood still.
    """

    alert: ClassVar[str] = _SECURITY_CONFIGURATION
    forward_seconds: float = 60.0
    backward_seconds: float = 2.0
    _anchor: Moment | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self._within("forward_seconds", 1, 86_400)
        self._within("backward_seconds", 1, 86_400)

    def observe(self, seen: Seen) -> Iterator[Finding]:
        """As `tick`: no event is recorded between a jump and its finding."""
        return self.tick(seen.moment)

    def tick(self, moment: Moment) -> Iterator[Finding]:
        """One finding for each jump."""
        anchor = self._anchor or moment
        passed = moment.ticking - anchor.ticking
        moved = (moment.wall - anchor.wall).total_seconds() - passed
        jumped = not -self.backward_seconds <= moved <= self.forward_seconds
        if self._anchor is None or jumped or passed > _ANCHOR_SECONDS:
            self._anchor = moment
        if jumped:
            figures = f"the clock was moved by {moved:+.1f} s within {passed:.0f} s, to {moment.wall:%Y-%m-%d %H:%M:%S}"
            yield Finding("", figures)


@dataclass(slots=True)
class _Heard:
    """When a node was heard."""

    first: float = -1.0
    last: float = -1.0
    longest: float = 0.0
    """Seconds between two times."""
    silent: bool = False
    """Found so, and not heard since."""


@dataclass(slots=True)
class Silence(Named):
    """A node that is usually heard, and no longer is: for longer than ever before, and than a floor."""

    alert: ClassVar[str] = _NETWORK_CONFIGURATION
    silent_seconds: float = 86_400.0
    """Never a finding before this."""
    factor: float = 2.0
    """Times the longest silence of that node so far."""
    usual_seconds: float = 604_800.0
    """How long a node must have been coming before it is usual: a week has a weekend."""
    _nodes: Remembered[_Heard] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._within("silent_seconds", 1, 10**7)
        self._within("factor", 1, 1000)
        self._within("usual_seconds", 0, 10**8)
        self._nodes = Remembered(_Heard)

    def observe(self, seen: Seen) -> Iterator[Finding]:
        """Nothing; the node is heard, unless it was refused and may not be itself."""
        if seen.actor.node and not seen.failed:
            heard, present = self._nodes.of(seen.actor.node), seen.moment.ticking
            heard.first = present if heard.first < 0 else heard.first
            heard.longest = max(heard.longest, present - heard.last) if heard.last >= 0 else 0.0
            heard.last, heard.silent = present, False
        yield from ()

    def tick(self, moment: Moment) -> Iterator[Finding]:
        """One finding for each silence."""
        for node, heard in self._nodes.items():
            silence = moment.ticking - heard.last
            limit = max(self.silent_seconds, self.factor * heard.longest)
            if not heard.silent and heard.last - heard.first >= self.usual_seconds and silence > limit:
                heard.silent = True
                yield Finding(node, f"not heard for {silence:.0f} s; {heard.longest:.0f} s was the longest before")
