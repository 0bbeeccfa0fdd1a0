"""Has checkpoints stamped by a time stamping authority over HTTP (RFC 3161 section 3.4), and keeps what it says.

Whoever calls may be held up for one deadline; that is a thread which nobody waits for. Failures go to the operational
log, once for each reason, and the next attempt comes after a pause that doubles.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

import structlog
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from archive.audit.checkpoint import Checkpoint
from archive.audit.timestamp import MAX_TOKEN_BYTES, Stamp, StampInvalid, StampVerifier, stamped_line
from archive.audit.trail_files import add_line

FIRST_PAUSE_SECONDS: Final = 30.0
LONGEST_PAUSE_SECONDS: Final = 3600.0
_HEAD_BYTES: Final = 16_384
"""What the head of an answer may take."""

_log = structlog.get_logger("strongroom.audit")


class Stamper:
    """One authority and one file of stamped lines. For one thread."""

    def __init__(
        self, url: str, ca: Path, file: Path, *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take where to ask and whom to believe.

        Args:
            url: of the authority, as the settings allow it.
            ca: PEM; a stamp's chain leads there, and so may that of the authority's HTTPS, else to this system's.
            file: gets one line for each stamp.
            seconds: for a whole exchange. Finding the host's address is the system's and not bounded here.
            clock: like `time.monotonic`.

        Raises:
            OSError: ``ca`` cannot be read.
            ValueError: it holds no certificate.
        """
        self._url = url
        self._verifier = StampVerifier.trusting(ca)
        self._context = ssl.create_default_context()
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_verify_locations(cafile=str(ca))
        self._file = file
        self._seconds = seconds
        self._clock = clock
        self._stamped = 0
        self._failure = ""
        self._pause = 0.0
        self._not_before = 0.0

    def stamp(self, checkpoint: Checkpoint) -> None:
        """Have it stamped and keep that, unless it was, or a pause is not over. Raises nothing."""
        if checkpoint.sequence <= self._stamped or self._clock() < self._not_before:
            return
        try:
            add_line(self._file, stamped_line(checkpoint.line, self._asked(checkpoint.line)))
        except StampInvalid as error:
            self._failed(str(error))
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._failed(f"{type(error).__name__}: {error}")
        else:
            if self._failure:
                _log.info("checkpoints are stamped again", authority=self._url)
            self._stamped, self._failure, self._pause, self._not_before = checkpoint.sequence, "", 0.0, 0.0

    def _asked(self, line: str) -> Stamp:
        request = TimestampRequestBuilder().data(line.encode()).hash_algorithm(HashAlgorithm.SHA256).build()
        if request.nonce is None:
            raise StampInvalid("the request has no nonce")
        answer = _posted(self._url, request.as_bytes(), self._context, time.monotonic() + self._seconds)
        return self._verifier.answered(answer, line, request.nonce)

    def _failed(self, reason: str) -> None:
        if reason != self._failure:
            _log.warning("checkpoints cannot be stamped", authority=self._url, error=reason[:200])
        self._failure = reason
        self._pause = min(max(2 * self._pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        self._not_before = self._clock() + self._pause


def _posted(url: str, body: bytes, context: ssl.SSLContext, ends: float) -> bytes:
    """The body of the answer to a POST, status 200. No redirect is followed, no proxy used.

    Raises:
        StampInvalid: another status, or a body that no token needs.
        OSError: not reached, not trusted, or not in time.
        http.client.HTTPException: the answer is not HTTP.
    """
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    head = (
        f"POST {parts.path or '/'}{'?' if parts.query else ''}{parts.query} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/timestamp-query",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "",
        "",
    )
    connection = socket.create_connection((host, parts.port or (443 if secure else 80)), _left(ends))
    try:
        if secure:
            connection = context.wrap_socket(connection, server_hostname=host, do_handshake_on_connect=False)
            connection.settimeout(_left(ends))
            connection.do_handshake()
        connection.settimeout(_left(ends))
        connection.sendall("\r\n".join(head).encode("ascii") + body)
        response = http.client.HTTPResponse(cast("socket.socket", _Readable(connection, ends)), method="POST")
        response.begin()
        if response.status != 200:
            raise StampInvalid(f"the authority answers with status {response.status}")
        answer = response.read(MAX_TOKEN_BYTES + 1)
        if len(answer) > MAX_TOKEN_BYTES:
            raise StampInvalid(f"the authority's answer is longer than {MAX_TOKEN_BYTES} bytes")
        return answer
    finally:
        connection.close()


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("the authority does not answer in time")
    return left


class _Readable(io.RawIOBase):
    """A socket's bytes within one deadline and one size, as `http.client.HTTPResponse` asks for them."""

    def __init__(self, connection: socket.socket, ends: float) -> None:
        self._connection = connection
        self._ends = ends
        self._room = _HEAD_BYTES + MAX_TOKEN_BYTES

    def makefile(self, mode: str) -> io.BufferedReader:
        """The one file there is, for reading."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._connection.settimeout(_left(self._ends))
        count = self._connection.recv_into(buffer)
        self._room -= count
        if self._room < 0:
            raise StampInvalid("the authority's answer is longer than any")
        return count
