"""How many connections one listener may have at once: half-open ones and established ones, counted apart.

When half-open connections fill their budget, the oldest of the source that holds most of them is closed; a source that
opens many therefore only ever crowds out itself.
"""

import contextlib
import socket
import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Place:
    """One connection's place in the budget."""

    connection: socket.socket
    source: str
    evicted: bool = False
    """It was closed to make room for another."""


class Budget:
    """Who holds which place. Thread-safe."""

    def __init__(self, half_open: int, established: int, *, established_per_source: int | None = None) -> None:
        """Connections at most: before they are established, after it, and after it from one source (None: no bound)."""
        self._most_half_open = half_open
        self._most_established = established
        self._most_of_one_source = established if established_per_source is None else established_per_source
        self._changed = threading.Condition()
        self._half_open: dict[Place, None] = {}
        self._established: dict[Place, None] = {}

    @property
    def counts(self) -> tuple[int, int]:
        """Half-open and established connections at this moment."""
        with self._changed:
            return len(self._half_open), len(self._established)

    def enter(self, connection: socket.socket, source: str) -> Place:
        """A place for a new connection; another may lose its own for it."""
        place = Place(connection, source)
        with self._changed:
            if len(self._half_open) >= self._most_half_open:
                self._evict()
            self._half_open[place] = None
        return place

    def replace(self, place: Place, connection: socket.socket) -> None:
        """The connection goes on as another socket around the same descriptor."""
        with self._changed:
            place.connection = connection
            if place.evicted:
                # While neither socket could be reached.
                _shut(connection)

    def establish(self, place: Place) -> bool:
        """Move to the established ones; False if they are full, in all or of this source, or the place was lost."""
        with self._changed:
            if place not in self._half_open or len(self._established) >= self._most_established:
                return False
            if sum(held.source == place.source for held in self._established) >= self._most_of_one_source:
                return False
            del self._half_open[place]
            self._established[place] = None
            return True

    def leave(self, place: Place) -> None:
        """The connection is done with. Called before it is closed, so that nobody shuts a descriptor used anew."""
        with self._changed:
            self._half_open.pop(place, None)
            self._established.pop(place, None)
            self._changed.notify_all()

    def wait_until_empty(self, seconds: float) -> bool:
        """Whether every connection ended within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._half_open and not self._established, seconds)

    def hang_up(self, *, established: bool) -> None:
        """End every half-open connection, and with ``established`` those too."""
        with self._changed:
            for place in (*self._half_open, *(self._established if established else ())):
                _shut(place.connection)

    def _evict(self) -> None:
        most, _ = Counter(place.source for place in self._half_open).most_common(1)[0]
        oldest = next(place for place in self._half_open if place.source == most)
        del self._half_open[oldest]
        oldest.evicted = True
        _shut(oldest.connection)


def _shut(connection: socket.socket) -> None:
    """Wake whoever waits on the connection; its thread closes it, once it has left its place.

    The method of the plain socket, since that of `ssl.SSLSocket` takes the TLS state from under the other thread.
    """
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
