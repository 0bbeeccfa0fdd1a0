"""What goes over the control socket: one JSON line there, one JSON line back, then the connection closes.

Pure: bytes in, values out. A request is ``{"operation": name, "arguments": {...}}``; an answer is ``{"result": value}``
or ``{"failure": {"number", "message", "exit_code"}}``. Both sides bound a line before they read it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final, TypeAlias

from archive.errors import ArchiveError, UsageInvalid
from auth.errors import AuthError
from storage.errors import IntegrityFault, ObjectMissing, StorageError

MAX_REQUEST_BYTES: Final = 1_048_576
MAX_ANSWER_BYTES: Final = 67_108_864
REQUEST_SECONDS: Final = 10.0
"""For a whole request to arrive."""
ANSWER_SECONDS: Final = 300.0
"""For an operation to be done and answered; the longest waits for the archive's writer."""

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Request:
    """One operation, asked for."""

    operation: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an operation was not done: the error's number and message, and the exit code that tells it."""

    number: int
    message: str
    exit_code: int = 2


class OperationRefused(Exception):
    """The running archive answered with a failure; it carries the number of the error that happened there."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failure_of(error: ArchiveError | StorageError | AuthError) -> Failure:
    """An error of ours as what an operator is told. Exit code 1 is for data that is not as it was written."""
    if isinstance(error, ArchiveError):
        return Failure(error.number, str(error), error.exit_code)
    return Failure(error.number, str(error), 1 if isinstance(error, IntegrityFault | ObjectMissing) else 2)


def encode_request(request: Request) -> bytes:
    """One line.

    Raises:
        UsageInvalid: the arguments are larger than a request may be.
    """
    line = _line({"operation": request.operation, "arguments": dict(request.arguments)})
    if len(line) > MAX_REQUEST_BYTES:
        raise UsageInvalid(f"the request is larger than {MAX_REQUEST_BYTES} bytes: give less at once")
    return line


def decode_request(line: bytes) -> Request:
    """The request in one line, its newline included or not.

    Raises:
        UsageInvalid: it is not a request.
    """
    match _value(line):
        case {"operation": str(operation), "arguments": dict(arguments), **rest} if not rest:
            return Request(operation, arguments)
    raise UsageInvalid("not a control request: use the strongroom of the release that is running")


def encode_answer(result: "Json | Failure") -> bytes:
    """One line."""
    return _line({"failure": asdict(result)} if isinstance(result, Failure) else {"result": result})


def decode_answer(line: bytes) -> Json:
    """The result in one line.

    Raises:
        OperationRefused: the answer is a failure.
        UsageInvalid: it is no answer at all.
    """
    match _value(line):
        case {"result": result, **rest} if not rest:
            return result  # type: ignore[no-any-return]  # it came out of json.loads
        case {"failure": {"number": int(number), "message": str(message), "exit_code": int(exit_code)}}:
            raise OperationRefused(Failure(number, message, exit_code))
    raise UsageInvalid("not a control answer: use the strongroom of the release that is running")


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def _value(line: bytes) -> object:
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value
