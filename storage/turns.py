"""Whoever wants the same thing waits for a turn; others do not wait."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """One holder at a time for each key; others wait."""

    def __init__(self) -> None:
        self._held: set[bytes] = set()
        self._freed = threading.Condition()

    @contextmanager
    def turn(self, key: bytes) -> Iterator[None]:
        """Hold a key for the length of a block; wait until nobody else does."""
        with self._freed:
            while key in self._held:
                self._freed.wait()
            self._held.add(key)
        try:
            yield
        finally:
            with self._freed:
                self._held.remove(key)
                self._freed.notify_all()
