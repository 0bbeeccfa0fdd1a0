"""The kinds of rules: each a frozen dataclass whose fields are the keys of its ``[[rule]]``, and the state it keeps.

A rule sees one `Seen` at a time, in the order of recording, and says what it finds. It knows no clock, no thread and no
trail, and what it remembers is bounded (`archive.audit.detection.habits`). State begins empty at every start: what is
usual has to be learned anew, and until then only floors count.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Final, Protocol

from archive.audit.detection.habits import Hours, Remembered
from archive.audit.detection.seen import Finding, Moment, Seen
from archive.audit.events import NodeRefused, QueryPerformed, TransferBegun, UserAuthenticated
from archive.errors import SettingsInvalid

_TITLE_ALERT: Final = "110126"
"""Node Authentication (PS3.16 CID 403)."""
_RESTRICTED: Final = "110132"
"""Use of Restricted Function (CID 403)."""
_MOST: Final = 1000


class Rule(Protocol):
    """What the watch knows of every rule."""

    name: str
    enabled: bool
    alert: ClassVar[str]
    """Code of the Security Alert's type (CID 403)."""

    def observe(self, seen: Seen) -> Iterator[Finding]:
        """What an event leads to."""

    def tick(self, moment: Moment) -> Iterator[Finding]:
        """What the passing of time leads to; called about once a second."""


@dataclass(slots=True)
class Named:
    """What every rule has."""

    alert: ClassVar[str] = _RESTRICTED
    name: str
    enabled: bool = True

    def observe(self, seen: Seen) -> Iterator[Finding]:
        """Nothing, for a rule about time alone."""
        yield from ()

    def tick(self, moment: Moment) -> Iterator[Finding]:
        """Nothing, for a rule about events alone."""
        yield from ()

    def _within(self, key: str, least: float, most: float) -> None:
        value = getattr(self, key)
        if not least <= value <= most:  # a NaN is refused here too
            raise SettingsInvalid(f"rule {self.name!r}: {key} is {value}: it must be from {least} to {most}")


@dataclass(slots=True)
class RepeatedFailures(Named):
    """So many refusals of one claimed name, or of one source, within so many seconds."""

    per: str = "source"
    """``person``: by the name that was claimed. ``source``: by address, IPv6 by its /64."""
    failures: int = 20
    within_seconds: float = 300.0
    _times: Remembered[deque[float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.per not in ("person", "source"):
            raise SettingsInvalid(f'rule {self.name!r}: per must be "person" or "source"')
        self._within("failures", 2, _MOST)
        self._within("within_seconds", 1, 86_400)
        self._times = Remembered(lambda: deque(maxlen=self.failures))

    def observe(self, seen: Seen) -> Iterator[Finding]:
        """A finding for each full count; counting begins anew after it."""
        kinds = (UserAuthenticated.kind,) if self.per == "person" else (UserAuthenticated.kind, NodeRefused.kind)
        subject = seen.claimed if self.per == "person" else seen.source
        if not seen.failed or seen.kind not in kinds or not subject:
            return
        times = self._times.of(subject)
        times.append(seen.moment.ticking)
        took = times[-1] - times[0]
        if len(times) == self.failures and took <= self.within_seconds:
            times.clear()
            figures = f"{self.failures} refusals within {took:.0f} s (limit {self.within_seconds:g} s)"
            yield Finding(subject, figures, seen.actor, verified=False)


@dataclass(slots=True)
class TitleProbing(Named):
    """One source trying so many calling AE titles, all refused, within so many seconds."""

    alert: ClassVar[str] = _TITLE_ALERT
    titles: int = 5
    within_seconds: float = 600.0
    _tried: Remembered[dict[str, float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._within("titles", 2, 100)
        self._within("within_seconds", 1, 86_400)
        self._tried = Remembered(dict)

    def observe(self, seen: Seen) -> Iterator[Finding]:
        """A finding when there are enough different titles; counting begins anew after it."""
        if not seen.failed or seen.kind != NodeRefused.kind or not seen.ae_title or not seen.source:
            return
        tried = self._tried.of(seen.source)
        tried[seen.ae_title] = seen.moment.ticking
        for title in [title for title, when in tried.items() if when < seen.moment.ticking - self.within_seconds]:
            del tried[title]
        if len(tried) >= self.titles:
            tried.clear()
            figures = f"{self.titles} AE titles tried within {self.within_seconds:g} s"
            yield Finding(seen.source, figures, seen.actor, verified=False)


@dataclass(slots=True)
class UnusualVolume(Named):
    """Far more queries, or objects fetched, in an hour than is somebody's own habit: a floor, and times the median."""

    of: str = "retrievals"
    """``queries``, or ``retrievals``: the objects that are about to be sent."""
    floor: int = 2000
    """Never a finding up to here, whatever is usual."""
    factor: float = 4.0
    """Times the median of one's own past hours in which one did any."""
    _hours: Remembered[Hours] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.of not in ("queries", "retrievals"):
            raise SettingsInvalid(f'rule {self.name!r}: of must be "queries" or "retrievals"')
        self._within("floor", 1, 10**9)
        self._within("factor", 1, 1000)
        self._hours = Remembered(Hours)

    def observe(self, seen: Seen) -> Iterator[Finding]:
        """At most one finding for somebody in an hour."""
        kind = QueryPerformed.kind if self.of == "queries" else TransferBegun.kind
        if seen.kind != kind or not seen.who:
            return
        hours = self._hours.of(seen.who)
        hours.add(int(seen.moment.wall.timestamp() // 3600), 1 if self.of == "queries" else seen.instances)
        limit = max(self.floor, self.factor * hours.habit)
        if hours.present > limit and not hours.alerted:
            hours.alerted = True
            what = "queries" if self.of == "queries" else "objects fetched"
            figures = f"{hours.present} {what} in this hour; {hours.habit:g} are usual, {limit:g} the limit"
            yield Finding(seen.who, figures, seen.actor)


@dataclass(slots=True)
class UnusualDestination(Named):
    """Objects going where somebody has never had them sent before, once enough is known of that person."""

    transfers: int = 20
    """Of a person, from which on a new destination is unusual."""
    _known: Remembered[dict[str, int]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._within("transfers", 1, 10**6)
        self._known = Remembered(dict)

    def observe(self, seen: Seen) -> Iterator[Finding]:
        """A finding at a person's first transfer to a new destination, which is known from then on."""
        if seen.kind != TransferBegun.kind or not seen.destination or not seen.who:
            return
        known = self._known.of(seen.who)
        if seen.destination not in known and sum(known.values()) >= self.transfers:
            figures = f"{seen.destination}, never used before in {sum(known.values())} transfers to {len(known)} others"
            yield Finding(seen.who, figures, seen.actor)
        known[seen.destination] = known.get(seen.destination, 0) + 1
        while len(known) > _MOST // 10:
            del known[min(known, key=known.__getitem__)]


@dataclass(slots=True)
class OutOfHours(Named):
    """A person logging in outside of the hours of work, by the clock on the wall of this machine."""

    begins: str = "07:00"
    ends: str = "19:00"
    """A window that ends before it begins goes over midnight."""
    days: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Of the week (ISO 8601: 1 is Monday), on which there is work at all."""
    people: tuple[str, ...] = ()
    """Who works at other times, and is left out."""

    def __post_init__(self) -> None:
        for key in ("begins", "ends"):
            try:
                datetime.strptime(getattr(self, key), "%H:%M")
            except ValueError:
                raise SettingsInvalid(f"rule {self.name!r}: {key} must be a time like 07:00") from None
        if not set(self.days) <= set(range(1, 8)):
            raise SettingsInvalid(f"rule {self.name!r}: days may hold 1 to 7, Monday to Sunday")

    def observe(self, seen: Seen) -> Iterator[Finding]:
        """A finding for each such login; the watch tells a person's once in a while."""
        if seen.failed or seen.kind != UserAuthenticated.kind or not seen.who or seen.who in self.people:
            return
        local = seen.moment.wall.astimezone()
        if not self._at_work(f"{local:%H:%M}", local.isoweekday()):
            yield Finding(seen.who, f"login at {local:%H:%M} ({self.begins} to {self.ends} is usual)", seen.actor)

    def _at_work(self, time: str, day: int) -> bool:
        if self.begins <= self.ends:
            return day in self.days and self.begins <= time < self.ends
        before_midnight = time >= self.begins and day in self.days
        return before_midnight or (time < self.ends and (day - 2) % 7 + 1 in self.days)
