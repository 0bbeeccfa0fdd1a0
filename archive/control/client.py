"""The command line's end of the control socket."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from archive.control.endpoint import read_line, socket_address
from archive.control.protocol import (
    ANSWER_SECONDS,
    MAX_ANSWER_BYTES,
    REQUEST_SECONDS,
    Json,
    Request,
    decode_answer,
    encode_request,
)
from archive.errors import ServerUnreachable

_NOBODY: Final = (FileNotFoundError, ConnectionRefusedError)


def connected(path: Path) -> socket.socket | None:
    """A connection to the server behind a control socket; None where nobody listens, at this moment at least.

    Raises:
        ServerUnreachable: somebody may, but not to us, or not in time.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(REQUEST_SECONDS)
    try:
        with socket_address(path) as address:
            connection.connect(address)
    except _NOBODY:
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise _unreachable(path, error) from None
    return connection


def ask(connection: socket.socket, path: Path, operation: str, arguments: Mapping[str, object]) -> Json:
    """Have the server at the other end do one operation; the connection is closed after it.

    Raises:
        OperationRefused: it was not done, and why.
        ServerUnreachable: no answer, or not in time; it may have been done.
        UsageInvalid: the request is too large, or the answer is none.
    """
    with connection:
        request = encode_request(Request(operation, arguments))
        try:
            connection.sendall(request)
            return decode_answer(read_line(connection, MAX_ANSWER_BYTES, ANSWER_SECONDS))
        except OSError as error:
            raise _unreachable(path, error) from None


def _unreachable(path: Path, error: OSError) -> ServerUnreachable:
    if isinstance(error, TimeoutError):
        return ServerUnreachable(f"the server behind {path} did not answer in time: see its log before trying again")
    return ServerUnreachable(
        f"the server behind {path} cannot be asked ({error.strerror}): run as the archive's user, or see its log"
    )
