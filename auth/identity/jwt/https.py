"""One document over HTTPS, within one deadline for everything, or the reason why not."""

import http.client
import io
import re
import socket
import ssl
import time
from pathlib import Path
from typing import Final, cast

from auth.errors import ProviderUnavailable

MAX_DOCUMENT_BYTES: Final = 262_144
_URL: Final = re.compile(
    r"https://(?P<authority>(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?)"
    r"(?P<target>/[\x21\x22\x24-\x7e]*)?"
)
"""No user name, no fragment, and nothing that could end a line."""


def trusting(ca: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or later to a server whose name is in a certificate issued under ``ca``; None: under this system's.

    Raises:
        ProviderUnavailable: the file is missing or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ValueError):
        raise ProviderUnavailable("the issuer's CA file cannot be read") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def fetch(url: str, context: ssl.SSLContext, ends: float) -> bytes:
    """The body of the answer to a GET: at most 256 kB, identity encoding, status 200.

    No redirect is followed and no proxy used: what is trusted is the host that was named.

    Args:
        url: an ``https`` URL without user name or fragment.
        context: whom to trust.
        ends: `time.monotonic` at which to give up. Finding the host's address is the system's and not bounded here.

    Raises:
        ProviderUnavailable: it could not be fetched.
    """
    host, port, request = _request(url)
    try:
        with (
            socket.create_connection((host, port), _left(ends)) as plain,
            context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False) as connection,
        ):
            # A timeout of Python's ssl is for the handshake as a whole, and so is one for a single record.
            connection.settimeout(_left(ends))
            connection.do_handshake()
            connection.settimeout(_left(ends))
            connection.sendall(request)
            return _body(connection, ends)
    except TimeoutError:
        raise ProviderUnavailable("the issuer does not answer in time") from None
    except ssl.SSLCertVerificationError:
        raise ProviderUnavailable("the issuer's TLS certificate is not trusted") from None
    except OSError:
        raise ProviderUnavailable("the issuer cannot be reached") from None
    except (http.client.HTTPException, ValueError):
        raise ProviderUnavailable("the issuer's answer is not HTTP") from None


def _request(url: str) -> tuple[str, int, bytes]:
    parts = _URL.fullmatch(url)
    port = int(parts["port"] or 443) if parts else 0
    if parts is None or not 0 < port < 65_536:
        raise ProviderUnavailable("the issuer's keys are not at an https URL")
    first = f"GET {parts['target'] or '/'} HTTP/1.1"
    lines = first, f"Host: {parts['authority']}", "Accept: application/json", "Connection: close", "", ""
    return parts["host"].strip("[]"), port, "\r\n".join(lines).encode("ascii")


def _body(connection: ssl.SSLSocket, ends: float) -> bytes:
    response = http.client.HTTPResponse(cast("socket.socket", _Readable(connection, ends)), method="GET")
    response.begin()
    if 300 <= response.status < 400:
        raise ProviderUnavailable("the issuer redirects, and redirects are not followed")
    if response.status != 200:
        raise ProviderUnavailable(f"the issuer answers with status {response.status}")
    if response.getheader("Content-Encoding", "identity").lower() != "identity":
        raise ProviderUnavailable("the issuer's answer is compressed")
    body = response.read(MAX_DOCUMENT_BYTES + 1)
    if len(body) > MAX_DOCUMENT_BYTES:
        raise ProviderUnavailable(f"the issuer's answer is longer than {MAX_DOCUMENT_BYTES} bytes")
    return body


def _left(ends: float) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _Readable:
    """As much of a socket as `http.client.HTTPResponse` asks for."""

    def __init__(self, connection: ssl.SSLSocket, ends: float) -> None:
        self._stream = _UntilDeadline(connection, ends)

    def makefile(self, mode: str) -> io.BufferedReader:
        """The one file there is, for reading."""
        return io.BufferedReader(self._stream)


class _UntilDeadline(io.RawIOBase):
    """Reads that share one deadline, however many bytes each of them brings."""

    def __init__(self, connection: ssl.SSLSocket, ends: float) -> None:
        self._connection = connection
        self._ends = ends

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._connection.settimeout(_left(self._ends))
        return self._connection.recv_into(buffer)
