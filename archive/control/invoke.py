"""How a verb gets its operation done: by the server that holds the home, or by itself where nobody does."""

import time
from collections.abc import Mapping
from typing import Final

from archive.control.client import ask, connected
from archive.control.lock import HomeLock
from archive.control.operator import Operator
from archive.control.protocol import Json, Request
from archive.errors import HomeInUse, ServerUnreachable
from archive.home import Home

PATIENCE_SECONDS: Final = 60.0
"""While somebody holds the lock and listens to nobody: other verbs, of a second or two each, or a server that starts or
stops."""
_PAUSE_SECONDS: Final = 0.1


def invoke(home: Home, operation: str, arguments: Mapping[str, object]) -> Json:
    """Do an operation on a home.

    Raises:
        OperationRefused: the running server did not do it.
        ServerUnreachable: somebody holds the home and does not answer.
        HomeInvalid, ArchiveError, StorageError, AuthError: it could not be done without a server either.
    """
    home.require()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        lock = HomeLock(home.lock)
        try:
            lock.acquire()
        except HomeInUse as error:
            connection = connected(home.control_socket)
            if connection is not None:
                return ask(connection, home.control_socket, operation, arguments)
            if time.monotonic() > deadline:
                raise ServerUnreachable(f"{error}; it takes no requests") from None
            time.sleep(_PAUSE_SECONDS)
        else:
            with lock:
                return _alone(home, operation, arguments)


def _alone(home: Home, operation: str, arguments: Mapping[str, object]) -> Json:
    """The same operation without a server; the caller holds the lock."""
    # Heavy, and not needed beside a running server, which has them.
    from archive.bootstrap import open_archive
    from archive.control.table import perform

    archive = open_archive(home)
    try:
        return perform(archive, Request(operation, arguments), Operator.this())
    finally:
        archive.close()
