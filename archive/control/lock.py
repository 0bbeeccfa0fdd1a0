"""One writer per home: flock on ``HOME/lock``, held by the server for its life or by a verb for its moment.

The lock goes away with the process that holds it, however that process ends. The file stays; its text says who held
it last, for the operator's eyes alone.
"""

import fcntl
import os
from pathlib import Path
from types import TracebackType

from archive.errors import HomeInUse, HomeInvalid

_MAX_HOLDER_BYTES = 64


class HomeLock:
    """The writer's right to one home. Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            HomeInUse: another process holds it.
            HomeInvalid: the lock file cannot be opened.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise HomeInvalid(
                f"{self._path} cannot be opened ({error.strerror}): run as the owner of the home"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, _MAX_HOLDER_BYTES, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            number = holder if holder.isdecimal() else "unknown"
            raise HomeInUse(f"{self._path.parent} is held by process {number}: stop it, or name another home") from None
        except OSError as error:
            os.close(descriptor)
            raise HomeInvalid(f"{self._path} cannot be locked ({error.strerror}): use a local file system") from None
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; idempotent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "HomeLock":
        if self._descriptor is None:
            self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def held(path: Path) -> bool:
    """Whether somebody holds this lock at this moment."""
    try:
        with HomeLock(path):
            return False
    except HomeInUse:
        return True
