"""How many senders may be connected at once: in their handshake and after it, counted apart, and by source.

When half-open connections fill their budget, the oldest of the source that holds most of them is closed: a source that
opens many crowds out itself.
"""

import contextlib
import socket
import threading
from collections import Counter
from dataclasses import dataclass

from archive.repository.limits import Limits


@dataclass(eq=False, slots=True)
class Place:
    """One connection's place."""

    connection: socket.socket
    source: str


class Places:
    """Who holds which place. Thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self._half_open: dict[Place, None] = {}
        self._established: dict[Place, None] = {}

    def enter(self, connection: socket.socket, source: str) -> Place:
        """A place for a new connection; another may lose its own for it."""
        place = Place(connection, source)
        with self._changed:
            if len(self._half_open) >= self._limits.half_open_connections:
                most, _ = Counter(held.source for held in self._half_open).most_common(1)[0]
                oldest = next(held for held in self._half_open if held.source == most)
                del self._half_open[oldest]
                _shut(oldest.connection)
            self._half_open[place] = None
        return place

    def establish(self, place: Place) -> bool:
        """After the handshake; False if there are enough already, of this source or altogether."""
        with self._changed:
            of_source = sum(held.source == place.source for held in self._established)
            full = len(self._established) >= self._limits.connections
            if place not in self._half_open or full or of_source >= self._limits.connections_per_source:
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

    def hang_up(self, seconds: float) -> None:
        """End every connection, and wait so long for their threads to leave."""
        with self._changed:
            for place in (*self._half_open, *self._established):
                _shut(place.connection)
            self._changed.wait_for(lambda: not self._half_open and not self._established, seconds)


def _shut(connection: socket.socket) -> None:
    """Wake whoever waits on the connection; the method of the plain socket leaves TLS to its own thread."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
