"""How many connections one listener may have at once, stage by stage: in all, and from one source.

A connection that has proved nothing yet never keeps another one out: where a stage is full, the oldest of the source
that holds most of it is closed, so that a source that opens many crowds out itself. Established connections are work
that was let in, and are not closed for a newcomer; the newcomer is refused.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

PENALISED_WEIGHT: Final = 8
"""Each connection of a penalised source counts so often when the source that holds most is looked for."""


class Stage(Enum):
    """How far a connection has come."""

    HALF_OPEN = "half-open"
    """Accepted; the TLS handshake is under way."""
    ASSOCIATING = "associating"
    """Connected; no association request was answered yet."""
    ESTABLISHED = "established"


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections a stage has room for, and what the settings call these numbers."""

    in_all: int
    per_source: int
    in_all_name: str = "connections"
    per_source_name: str = "connections_per_source"

    @property
    def in_words(self) -> str:
        """The limit on all."""
        return f"{self.in_all_name} ({self.in_all})"

    @property
    def per_source_in_words(self) -> str:
        """The limit on one source."""
        return f"{self.per_source_name} ({self.per_source})"


@dataclass(eq=False, slots=True)
class Place:
    """One connection's place in the budget."""

    connection: socket.socket
    source: str
    stage: Stage = Stage.HALF_OPEN
    evicted: str = ""
    """The limit, in words, for whose sake it was closed to make room for another."""
    refused: str = ""
    """The limit, in words, for whose sake it may not become established."""


class Budget:
    """Who holds which place. Thread-safe."""

    def __init__(self, rooms: Mapping[Stage, Room], penalised: Callable[[str], bool] = lambda source: False) -> None:
        """``rooms`` of the stages that there are; ``penalised`` says whether a source goes before others."""
        self._rooms = MappingProxyType(dict(rooms))
        self._penalised = penalised
        self._changed = threading.Condition()
        self._held: dict[Stage, dict[str, dict[Place, None]]] = {stage: {} for stage in Stage}
        self._counts: dict[Stage, int] = dict.fromkeys(Stage, 0)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Half-open, associating and established connections at this moment."""
        with self._changed:
            return self._counts[Stage.HALF_OPEN], self._counts[Stage.ASSOCIATING], self._counts[Stage.ESTABLISHED]

    def enter(self, connection: socket.socket, source: str, stage: Stage = Stage.HALF_OPEN) -> Place:
        """A place for a new connection; another may lose its own for it. ``stage``: without TLS, it is associating."""
        place = Place(connection, source, stage)
        with self._changed:
            self._make_room(stage, source)
            self._put(place)
        return place

    def replace(self, place: Place, connection: socket.socket) -> None:
        """The connection goes on as another socket around the same descriptor."""
        with self._changed:
            place.connection = connection
            if place.evicted:
                # While neither socket could be reached.
                _shut(connection)

    def associate(self, place: Place) -> bool:
        """Move on to the associating ones, where another may lose its place; False if this one was lost."""
        with self._changed:
            if place.evicted:
                return False
            self._take(place)
            self._make_room(Stage.ASSOCIATING, place.source)
            place.stage = Stage.ASSOCIATING
            self._put(place)
            return True

    def establish(self, place: Place) -> bool:
        """Move on to the established ones; False if they are full, in all or of this source, or the place was lost."""
        room = self._rooms[Stage.ESTABLISHED]
        with self._changed:
            if place.evicted:
                return False
            if self._counts[Stage.ESTABLISHED] >= room.in_all:
                place.refused = room.in_words
            elif len(self._held[Stage.ESTABLISHED].get(place.source, ())) >= room.per_source:
                place.refused = room.per_source_in_words
            if place.refused:
                return False
            self._take(place)
            place.stage = Stage.ESTABLISHED
            self._put(place)
            return True

    def leave(self, place: Place) -> None:
        """The connection is done with. Called before it is closed, so that nobody shuts a descriptor used anew."""
        with self._changed:
            self._take(place)
            self._changed.notify_all()

    def wait_until_empty(self, seconds: float) -> bool:
        """Whether every connection ended within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not any(self._counts.values()), seconds)

    def hang_up(self, *, established: bool) -> None:
        """End every connection that is not established, and with ``established`` those too."""
        with self._changed:
            for stage, sources in self._held.items():
                if established or stage is not Stage.ESTABLISHED:
                    for places in sources.values():
                        for place in places:
                            _shut(place.connection)

    def cut(self, place: Place) -> None:
        """End one connection, if it still has its place."""
        with self._changed:
            if place in self._held[place.stage].get(place.source, ()):
                _shut(place.connection)

    def _put(self, place: Place) -> None:
        self._held[place.stage].setdefault(place.source, {})[place] = None
        self._counts[place.stage] += 1

    def _take(self, place: Place) -> None:
        sources = self._held[place.stage]
        places = sources.get(place.source)
        if places is None or place not in places:
            return
        del places[place]
        self._counts[place.stage] -= 1
        if not places:
            del sources[place.source]

    def _make_room(self, stage: Stage, source: str) -> None:
        """Room for one more of ``source``: its own oldest goes where it has its share, else the largest source's."""
        room, sources = self._rooms[stage], self._held[stage]
        if len(sources.get(source, ())) >= room.per_source:
            self._evict(sources[source], room.per_source_in_words)
        elif self._counts[stage] >= room.in_all:
            self._evict(sources[max(sources, key=lambda each: self._weight(sources, each))], room.in_words)

    def _weight(self, sources: Mapping[str, Mapping[Place, None]], source: str) -> int:
        return len(sources[source]) * (PENALISED_WEIGHT if self._penalised(source) else 1)

    def _evict(self, places: Mapping[Place, None], why: str) -> None:
        oldest = next(iter(places))
        self._take(oldest)
        oldest.evicted = why
        _shut(oldest.connection)


def _shut(connection: socket.socket) -> None:
    """Wake whoever waits on the connection; its thread closes it, once it has left its place.

    The method of the plain socket, since that of `ssl.SSLSocket` takes the TLS state from under the other thread.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
