"""Whether the store may still be written to. Once it may not, it never may again in this process."""

import logging
import threading

from storage.errors import StoreReadOnly

_log = logging.getLogger(__name__)


class Health:
    """A latch: healthy until the first failure that leaves the disk's content in doubt."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: str | None = None

    @property
    def reason(self) -> str | None:
        """Why the store is read-only; None while it is healthy."""
        return self._reason

    def check(self) -> None:
        """Raises `StoreReadOnly` unless healthy."""
        if self._reason is not None:
            raise StoreReadOnly(f"the store is read-only: {self._reason}")

    def fail(self, reason: str) -> None:
        """From now on the store is read-only; the first reason stands."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
        _log.critical("the store is read-only from now on: %s", reason)
