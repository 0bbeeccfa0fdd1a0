"""The next object of a retrieval, read and verified while the one before it is on its way.

Nothing is decided here: whether an object may leave is asked when its turn comes, and one that may not is let go.
"""

from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar


class Closeable(Protocol):
    """What is opened ahead."""

    def close(self) -> None:
        """Let go of it."""


_Opened = TypeVar("_Opened", bound=Closeable)


class Ahead(Generic[_Opened]):
    """Opens at most one thing ahead of its turn, in a thread of its own. Used by one thread; `close` it."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._expected: tuple[Hashable, Future[_Opened]] | None = None

    def expect(self, key: Hashable, opening: Callable[[], _Opened]) -> None:
        """Begin to open what `take` will probably be asked for next; what was expected before is let go."""
        self._let_go()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, "read-ahead")
        self._expected = (key, self._executor.submit(opening))

    def take(self, key: Hashable, opening: Callable[[], _Opened]) -> _Opened:
        """What was expected under this key, else what is opened now. Raises what opening it raised."""
        if self._expected is not None and self._expected[0] == key:
            _, future = self._expected
            self._expected = None
            return future.result()
        return opening()

    def close(self) -> None:
        """Let go of what nobody took, and end; idempotent."""
        self._let_go()
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def _let_go(self) -> None:
        if self._expected is not None:
            _, future = self._expected
            self._expected = None
            if not future.cancel() and future.exception() is None:
                future.result().close()
