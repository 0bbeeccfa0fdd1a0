"""The control socket of a running archive: who may speak to it, and one request at a time.

1. The socket lies in the home, which is the owner's alone, and has mode 0600 before anybody can connect to it.
2. The kernel says who is at the other end (SO_PEERCRED): the archive's own user or root, nobody else.
3. A request is one line, bounded in bytes and in time; its operation runs before the next request is read.
"""

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from archive.control.endpoint import read_line, socket_address
from archive.control.operator import Operator
from archive.control.protocol import (
    ANSWER_SECONDS,
    MAX_REQUEST_BYTES,
    REQUEST_SECONDS,
    Failure,
    Json,
    Request,
    decode_request,
    encode_answer,
    failure_of,
)
from archive.errors import ArchiveError, HomeInvalid, UsageInvalid
from auth.errors import AuthError
from storage.errors import StorageError

_CREDENTIALS: Final = struct.Struct("3i")
_BACKLOG: Final = 16
ROOT: Final = 0
"""The user id that may speak for everybody on this machine."""
_log = structlog.get_logger("control")


Handler = Callable[[Request, Operator], Json]


class ControlServer:
    """Answers requests on one socket in one thread of its own, from `start` to `close`."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen. The caller holds the home's lock, so whatever has the socket's name is a leftover.

        Raises:
            HomeInvalid: the socket cannot be made.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            with socket_address(self._path) as address:
                listener.bind(address)
            self._path.chmod(0o600)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            raise HomeInvalid(
                f"{self._path} cannot be made ({error.strerror}): put the home on a local file system"
            ) from None
        self._socket = listener
        self._thread = threading.Thread(target=self._serve, args=(listener,), name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more requests, wait for the one at work, remove the socket; idempotent."""
        if self._socket is None or self._thread is None:
            return
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._socket = None

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed
            with connection:
                try:
                    self._answer(connection)
                except OSError as error:
                    _log.info("control connection lost", error=type(error).__name__)

    def _answer(self, connection: socket.socket) -> None:
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _, uid, _ = _CREDENTIALS.unpack(peer)
        if uid not in (ROOT, os.geteuid()):
            _log.warning("control request refused", uid=uid)
            return
        connection.settimeout(ANSWER_SECONDS)
        connection.sendall(encode_answer(self._result(connection, Operator.of(uid))))

    def _result(self, connection: socket.socket, operator: Operator) -> "Json | Failure":
        try:
            request = decode_request(read_line(connection, MAX_REQUEST_BYTES, REQUEST_SECONDS))
            return self._handler(request, operator)
        except (ArchiveError, StorageError, AuthError) as error:
            return failure_of(error)
        except TimeoutError:
            return failure_of(UsageInvalid("the request did not arrive in time: run the command again"))
        except OSError as error:
            return failure_of(ArchiveError(f"the system refused ({error.strerror}): see the server's log"))
        except Exception:  # noqa: BLE001 - a defect in one operation must not end the thread that takes the next
            _log.exception("control operation failed")
            return failure_of(ArchiveError("the operation failed inside the server: see its log"))
