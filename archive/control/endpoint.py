"""The control socket's edge, shared by both ends: how it is named to the kernel, and how a line is read from it."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from archive.errors import UsageInvalid


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """The name under which to bind or connect ``path``.

    A socket's address holds 107 bytes and a home's path may be longer, so the folder is named by a descriptor.

    Raises:
        OSError: the folder cannot be opened.
    """
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def read_line(connection: socket.socket, limit: int, seconds: float) -> bytes:
    """One line of at most ``limit`` bytes, all of it within ``seconds``.

    Raises:
        UsageInvalid: the line is longer, or the peer closed before its end.
        TimeoutError: it did not come in time.
    """
    deadline = time.monotonic() + seconds
    line = bytearray()
    while not line.endswith(b"\n"):
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        connection.settimeout(remaining)
        data = connection.recv(min(65_536, limit + 1 - len(line)))
        line += data
        if not data or len(line) > limit:
            raise UsageInvalid("the message on the control socket is incomplete or too long: run the command again")
    return bytes(line)
