"""A time stamping authority (RFC 3161 section 3.4) asked over HTTP, within one deadline and one size.

Whose stamps count is `storage.integrity.timestamp`'s business. Nothing here keeps anything or tries twice.
"""

import http.client
import io
import socket
import ssl
import time
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from storage.integrity.timestamp import MAX_TOKEN_BYTES, Stamp, StampInvalid, StampVerifier

UNREACHED: Final = (StampInvalid, OSError, http.client.HTTPException, ValueError)
"""What asking raises where no stamp comes of it."""
_HEAD_BYTES: Final = 16_384
"""What the head of an answer may take."""


class TimestampAuthority:
    """One authority. Threads may share it."""

    def __init__(self, url: str, ca: Path, *, seconds: float) -> None:
        """Take where to ask and whom to believe.

        Args:
            url: of the authority, as the settings allow it.
            ca: PEM; a stamp's chain leads there, and so may that of the authority's HTTPS, else to this system's.
            seconds: for a whole exchange. Finding the host's address is the system's and not bounded here.

        Raises:
            OSError: ``ca`` cannot be read.
            ValueError: it holds no certificate.
        """
        self.url = url
        self._verifier = StampVerifier.trusting(ca)
        self._context = ssl.create_default_context()
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_verify_locations(cafile=str(ca))
        self._seconds = seconds

    def stamp(self, data: bytes) -> Stamp:
        """Have bytes stamped; the authority sees their SHA-256.

        Raises:
            StampInvalid: it refuses, or what it gives does not hold.
            OSError: not reached, not trusted, or not in time.
            http.client.HTTPException: the answer is not HTTP.
        """
        request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
        if request.nonce is None:
            raise StampInvalid("the request has no nonce")
        answer = _posted(self.url, request.as_bytes(), self._context, time.monotonic() + self._seconds)
        return self._verifier.answered(answer, data, request.nonce)

    def token(self, data: bytes) -> bytes:
        """As `stamp`; its token, DER."""
        return self.stamp(data).token


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
