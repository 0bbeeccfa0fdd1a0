"""The data set that follows a command, as an iterator of views into the receive buffer."""

from collections.abc import Callable, Iterator

from archive.errors import LimitExceeded
from archive.upper_layer.framing import DataFragment


class IncomingMessageData:
    """One data set on its way in (`archive.dimse.channel.IncomingData`)."""

    def __init__(self, next_fragment: Callable[[], DataFragment], data_set_bytes: int) -> None:
        """``next_fragment`` waits for the next one; ``data_set_bytes`` may come until a service bounds it otherwise."""
        self._next_fragment = next_fragment
        self._bound = self._left = data_set_bytes
        self._limit = "data_set_bytes"
        self._ended = False

    def limit(self, data_set_bytes: int, name: str = "data_set_bytes") -> None:
        """Bound what may still come; ``name`` is that of the limit."""
        self._bound = self._left = data_set_bytes
        self._limit = name

    def __iter__(self) -> Iterator[memoryview]:
        """Each fragment, valid until the next is asked for."""
        while not self._ended:
            fragment = self._next_fragment()
            self._ended = fragment.ends_message_part
            self._left -= len(fragment.data)
            if self._left < 0:
                raise LimitExceeded(
                    f"a data set exceeds {self._limit} ({self._bound})", abort_reason=6, limit=self._limit
                )
            yield fragment.data

    def drain(self) -> None:
        """Read and forget whatever is left."""
        for _ in self:
            pass
