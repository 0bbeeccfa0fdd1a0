"""How a rebuild beside a listening server is going: begun by a verb or at start-up, asked for by whoever waits."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from archive.errors import ArchiveError, UsageInvalid
from storage.errors import StorageError, StoreNotReady
from storage.recovery import Progress

_log: Final = structlog.get_logger("rebuild")


@dataclass(frozen=True, slots=True)
class RebuildState:
    """What is known at one moment."""

    running: bool = False
    done: int = 0
    total: int = 0
    """Ledger records that are in the new index, and that will be."""
    failure: ArchiveError | StorageError | None = None
    """Of the last one that ended."""


class LiveRebuild:
    """One rebuild at a time, in a thread of its own. Thread-safe; `close` it before the repository."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = RebuildState()
        self._thread: threading.Thread | None = None
        self._stopping = False

    @property
    def state(self) -> RebuildState:
        """How it is going, or how the last one ended."""
        return self._state

    def begin(self, work: Callable[[Progress], None]) -> None:
        """Have the work done, which tells its progress.

        Raises:
            UsageInvalid: one is going on.
        """
        with self._lock:
            if self._state.running or self._stopping:
                raise UsageInvalid("the index is being rebuilt already: wait for its end")
            self._state = RebuildState(running=True)
            self._thread = threading.Thread(target=self._run, args=(work,), name="rebuild", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop what is going on, which is begun again at the next start; idempotent."""
        with self._lock:
            self._stopping = True
        if self._thread is not None:
            self._thread.join()

    def _tell(self, done: int, total: int) -> None:
        if self._stopping:
            raise StoreNotReady("the server stopped while it made its index anew; the next start begins again")
        self._state = RebuildState(True, done, total)

    def _run(self, work: Callable[[Progress], None]) -> None:
        failure: ArchiveError | StorageError | None = None
        try:
            work(self._tell)
        except (ArchiveError, StorageError) as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whoever waits is told, and the thread ends either way
            _log.exception("rebuild failed")
            failure = ArchiveError(f"the rebuild failed ({type(error).__name__}): see the server's log")
        if failure is not None:
            _log.error("the index could not be made anew", error=f"E{failure.number} {failure}")
        self._state = RebuildState(False, self._state.done, self._state.total, failure)
