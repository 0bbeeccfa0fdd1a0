"""Where the processes come from: one that is forked while the archive has no threads yet, and forks the others.

A process that has threads cannot be forked safely, and one that starts from nothing takes a second for its imports. So
the nursery is made first, does nothing but wait, and makes a worker whenever it is sent a socket for one. It holds no
key: each worker reads what it needs by itself.
"""

import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Final

from storage.errors import StoreReadOnly
from storage.ingest.intake import IntakeTools
from storage.ingest.worker import run_worker

_FIRST_FILE: Final = 3
"""Behind standard input, output and error."""
_log = logging.getLogger(__name__)


class Nursery:
    """The archive's end of it. Its processes end when `close` is called, or when the archive does."""

    def __init__(self, make_tools: Callable[[], IntakeTools]) -> None:
        """Fork. To be called before the first thread is started. ``make_tools`` is called in each worker."""
        self._control, theirs = socket.socketpair()
        self.process = os.fork()
        if self.process == 0:
            self._control.close()
            _nurse(theirs, make_tools)
        theirs.close()

    def worker(self) -> socket.socket:
        """A new worker's control socket; whoever closes it ends the worker. It sends one byte once it is ready.

        Raises:
            StoreReadOnly: the nursery is gone.
        """
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self._control, [b"\1"], [theirs.fileno()])
        except OSError as error:
            ours.close()
            raise StoreReadOnly("no process can be made that takes objects in") from error
        finally:
            theirs.close()
        return ours

    def close(self) -> None:
        """End it; idempotent. Workers end with their control sockets."""
        self._control.close()
        process, self.process = self.process, 0
        if process:
            os.waitpid(process, 0)


def _nurse(control: socket.socket, make_tools: Callable[[], IntakeTools]) -> None:
    """Fork a worker for each socket that comes, until none can come any more. Never returns."""
    code = 1
    try:
        # What its parent has open is not its own: whoever reads a stream to its end, or waits for a lock, must not wait
        # for this process.
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1):
            os.dup2(null, stream)
        os.closerange(_FIRST_FILE, control.fileno())
        os.closerange(control.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        # Workers are not waited for: the kernel takes them away.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            told, files, _, _ = socket.recv_fds(control, 1, 1)
            if not told:
                code = 0
                break
            worker = socket.socket(fileno=files[0])
            if os.fork() == 0:
                control.close()
                run_worker(worker, make_tools)
            worker.close()
    except BaseException:  # noqa: BLE001  (a forked process has no caller to tell)
        _log.exception("the nursery failed")
    finally:
        os._exit(code)
