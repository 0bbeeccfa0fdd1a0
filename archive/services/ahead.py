"""The next object of a retrieval, read and verified before its turn, while the peer is busy with the one before it.

Nothing is decided here: whether an object may leave is asked when its turn comes, and one that may not is let go.
Without a thread: handing objects from one to another costs more than it saves (docs/decisions/objects-going-out.md).
"""

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from storage.errors import StorageError


class Closeable(Protocol):
    """What is opened ahead."""

    def close(self) -> None:
        """Let go of it."""


_Opened = TypeVar("_Opened", bound=Closeable)


class Ahead(Generic[_Opened]):
    """Keeps at most one thing that was opened ahead of its turn. `close` it."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._opened: _Opened | None = None

    def expect(self, key: Hashable, opening: Callable[[], _Opened]) -> None:
        """Open what `take` will probably be asked for next. What fails here is opened, and fails, again in its turn."""
        self.close()
        try:
            self._opened = opening()
        except StorageError:
            return
        self._key = key

    def take(self, key: Hashable, opening: Callable[[], _Opened]) -> _Opened:
        """What was opened under this key, else what is opened now. Raises what opening it raises."""
        if self._opened is not None and self._key == key:
            opened, self._opened = self._opened, None
            return opened
        return opening()

    def close(self) -> None:
        """Let go of what nobody took; idempotent."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            opened.close()
