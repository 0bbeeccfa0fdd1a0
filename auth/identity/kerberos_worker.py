"""The process in which Kerberos tokens are examined: the one place that touches pykerberos.

pykerberos takes keytab, replay cache and realm settings from the environment of its whole process, cannot be
interrupted, and keeps 0.44 KiB of every refused token for ever. So it runs by itself: its environment is its own, it
can be killed at a deadline, and `kerberos_pool` replaces it before what it keeps matters.

The file is run as it stands (``python -I kerberos_worker.py SERVICE SECONDS``) and imports nothing of this package. It
speaks over the socket that is its standard input. A message is four bytes of length, big-endian, and that many bytes:

- once, from the worker: one byte, a `Readiness`
- a question: 16 bytes chosen by who asks, then the GSS-API token
- its answer: the same 16 bytes, an `Outcome`, an error number, two bytes of length and so many of the principal's name
  in UTF-8, then the GSS-API token to answer with, which may be empty
"""

import base64
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

NONCE_BYTES = 16
LENGTH = struct.Struct("!L")
ANSWER_HEAD = struct.Struct(f"!{NONCE_BYTES}sBBH")
MAX_MESSAGE_BYTES = 128 * 1024

_RFC_4120_ERRORS = -1765328384
"""Where libkrb5's error codes begin; less this, they are the numbers of RFC 4120 7.5.9."""
_LAST_RFC_4120_ERROR = 127
_LAST_SYSTEM_ERROR = 255


class Readiness(IntEnum):
    """Whether the worker can examine anything."""

    READY = 0
    NO_LIBRARY = 1
    """pykerberos is not installed, or its own libraries are not."""
    NO_KEY = 2
    """The keytab cannot be read, or has no key of the service."""


class Outcome(IntEnum):
    """What came of a token."""

    ACCEPTED = 0
    REFUSED = 1
    """The error number says why (RFC 4120 7.5.9); 0: for a reason that has none."""
    UNAVAILABLE = 2
    """The token was not judged: keytab or replay cache cannot be used."""


@dataclass(frozen=True, slots=True, repr=False)
class Accepted:
    """Whose token it was."""

    principal: str
    answer: bytes
    """A GSS-API token; empty where the requestor cannot check one."""


class Refused(Exception):
    """The token is not good."""

    def __init__(self, error_number: int) -> None:
        super().__init__(error_number)
        self.error_number = error_number


class Unavailable(Exception):
    """The token could not be judged."""


def accept(gss_token: bytes, service: str) -> Accepted:
    """Examine one initial token for a service (``name@host``): all that this archive wants of a Kerberos library.

    Raises:
        Refused: it is not good, or was presented before.
        Unavailable: it could not be judged.
    """
    import kerberos

    try:
        _, context = kerberos.authGSSServerInit(service)
    except kerberos.GSSError as error:
        raise Unavailable from error
    try:
        if kerberos.authGSSServerStep(context, base64.b64encode(gss_token).decode()) != kerberos.AUTH_GSS_COMPLETE:
            raise Refused(0)
        answer = kerberos.authGSSServerResponse(context)
        return Accepted(kerberos.authGSSServerUserName(context), base64.b64decode(answer or ""))
    except kerberos.GSSError as error:
        raise _meaning(error) from error
    finally:
        kerberos.authGSSServerClean(context)


def _meaning(error: Exception) -> Refused | Unavailable:
    """By the library's minor status; its text is for people, and may quote the token."""
    try:
        code = error.args[1][1]
    except (IndexError, TypeError):
        return Refused(0)
    # A code of the operating system's: a file cannot be read or written.
    if 0 < code <= _LAST_SYSTEM_ERROR:
        return Unavailable()
    number = code - _RFC_4120_ERRORS
    return Refused(number if 0 < number <= _LAST_RFC_4120_ERROR else 0)


def _readiness(service: str) -> Readiness:
    try:
        import kerberos
    except ImportError:
        return Readiness.NO_LIBRARY
    try:
        _, context = kerberos.authGSSServerInit(service)
    except kerberos.GSSError:
        return Readiness.NO_KEY
    kerberos.authGSSServerClean(context)
    return Readiness.READY


def _answer(question: bytes, service: str) -> bytes:
    nonce, token = question[:NONCE_BYTES], question[NONCE_BYTES:]
    try:
        accepted = accept(token, service)
    except Refused as refused:
        return ANSWER_HEAD.pack(nonce, Outcome.REFUSED, refused.error_number, 0)
    except Unavailable:
        return ANSWER_HEAD.pack(nonce, Outcome.UNAVAILABLE, 0, 0)
    principal = accepted.principal.encode()
    return ANSWER_HEAD.pack(nonce, Outcome.ACCEPTED, 0, len(principal)) + principal + accepted.answer


def receive(channel: socket.socket, count: int, seconds_left: Callable[[], float | None] = lambda: None) -> bytes:
    """Exactly so many bytes. ``seconds_left`` is asked before each wait; None: there is no end of it.

    Raises:
        EOFError: the other side is gone.
        TimeoutError: no time is left.
        OSError: the channel broke.
    """
    received = bytearray()
    while len(received) < count:
        channel.settimeout(seconds_left())
        piece = channel.recv(count - len(received))
        if not piece:
            raise EOFError
        received += piece
    return bytes(received)


def main(service: str, seconds: float) -> None:
    """Answer until the other side is gone. Anything unforeseen ends the process, which the asking side takes as no."""
    # Keys and tickets of people pass through this memory: no core file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A signal to the terminal's group is for the server, which ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with socket.socket(fileno=0) as channel:
        readiness = _readiness(service)
        channel.sendall(LENGTH.pack(1) + bytes([readiness]))
        while readiness is Readiness.READY:
            try:
                (length,) = LENGTH.unpack(receive(channel, LENGTH.size))
            except EOFError:
                return
            # Should the server be gone while the library hangs, nobody kills this process: the alarm does.
            signal.setitimer(signal.ITIMER_REAL, seconds)
            answer = _answer(receive(channel, length), service)
            channel.sendall(LENGTH.pack(len(answer)) + answer)
            signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
