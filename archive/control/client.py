"""The command line's end of the control socket."""

import socket
from collections.abc import Mapping
from pathlib import Path

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


def ask(path: Path, operation: str, arguments: Mapping[str, object]) -> Json:
    """Have the running archive behind a control socket do one operation.

    Raises:
        OperationRefused: it was not done, and why.
        ServerUnreachable: nobody answers there, or not in time; in the latter case it may have been done.
        UsageInvalid: the request is too large, or the answer is none.
    """
    request = encode_request(Request(operation, arguments))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(REQUEST_SECONDS)
            with socket_address(path) as address:
                connection.connect(address)
            connection.sendall(request)
            return decode_answer(read_line(connection, MAX_ANSWER_BYTES, ANSWER_SECONDS))
    except TimeoutError:
        raise ServerUnreachable(
            f"the server behind {path} did not answer in time: see its log, and whether the change was made"
        ) from None
    except OSError as error:
        raise ServerUnreachable(
            f"no server answers on {path} ({error.strerror}): run as the archive's user, or restart it"
        ) from None
