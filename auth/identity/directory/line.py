"""A TLS connection to a directory, on a socket of ours: every step of its making ends at the deadline.

libldap would do all this itself, but nothing bounds its TLS handshake: a server that accepts a connection and stays
silent holds the caller until the server is gone. Here Python's ssl does it, in whose handshake a timeout is absolute.
"""

import socket
import ssl
from contextlib import suppress
from typing import Final

from auth.errors import ProviderUnavailable
from auth.identity.directory.config import DirectoryConfig
from auth.identity.directory.deadline import Deadline, too_slow

_CONNECT: Final = "accept a connection"
_START_TLS: Final = "answer StartTLS"
_HANDSHAKE: Final = "finish the TLS handshake"

_START_TLS_REQUEST: Final = bytes.fromhex("301d 020101 7718 8016") + b"1.3.6.1.4.1.1466.20037"
"""LDAPMessage 1, ExtendedRequest with StartTLS's name (RFC 4511 4.12 and 4.14.1)."""
_MAX_START_TLS_BYTES: Final = 4096
_WRONG_NAME: Final = frozenset({62, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL."""


def open_line(config: DirectoryConfig, tls: ssl.SSLContext, deadline: Deadline) -> ssl.SSLSocket:
    """Connect, start TLS, and check that it is the directory.

    Raises:
        ProviderUnavailable: unreachable, too slow, no TLS, not its certificate; the reason says which.
    """
    plain = _connect(config, deadline)
    try:
        if config.transport == "starttls":
            _start_tls(plain, deadline)
        plain.settimeout(deadline.left(_HANDSHAKE))
        return tls.wrap_socket(plain, server_hostname=config.host)
    except TimeoutError as error:
        raise too_slow(_HANDSHAKE) from error
    except ssl.SSLCertVerificationError as error:
        wrong = "is another host's" if error.verify_code in _WRONG_NAME else "is not vouched for by the configured CA"
        raise ProviderUnavailable(f"the directory's certificate {wrong}") from error
    except (OSError, ValueError) as error:
        raise ProviderUnavailable("the TLS handshake with the directory failed") from error
    finally:
        plain.close()  # of no effect where the TLS socket has taken it over


def _connect(config: DirectoryConfig, deadline: Deadline) -> socket.socket:
    """The first address that accepts; each gets its share of what is left."""
    try:
        addresses = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ProviderUnavailable("the directory's host name does not resolve") from error
    for tried, (*_, address) in enumerate(addresses):
        with suppress(OSError):
            share = deadline.left(_CONNECT) / (len(addresses) - tried)
            line = socket.create_connection((str(address[0]), config.port), share)
            # A request is small and its answer awaited: it shall not wait for the acknowledgement of the one before.
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return line
    deadline.left(_CONNECT)
    raise ProviderUnavailable("the directory does not accept connections")


def _start_tls(plain: socket.socket, deadline: Deadline) -> None:
    """Ask for TLS and read the one answer, no byte more: what was sent in clear after it fails in the handshake.

    Raises:
        ProviderUnavailable: no, no answer, or not an answer.
    """
    try:
        plain.settimeout(deadline.left(_START_TLS))
        plain.sendall(_START_TLS_REQUEST)
        code = _result_code(_message(plain, deadline))
    except TimeoutError as error:
        raise too_slow(_START_TLS) from error
    except (OSError, ValueError) as error:
        raise ProviderUnavailable("the directory's answer to StartTLS cannot be read") from error
    if code != 0:
        raise ProviderUnavailable("the directory refuses StartTLS")


def _message(plain: socket.socket, deadline: Deadline) -> bytes:
    """The content of the next LDAPMessage (RFC 4511 4.1.1)."""
    head = _exactly(plain, 2, deadline)
    if head[1] >= 0x80:
        head += _exactly(plain, head[1] & 0x7F, deadline)
    length = int.from_bytes(head[2:], "big") if head[1] >= 0x80 else head[1]
    if head[0] != 0x30 or length > _MAX_START_TLS_BYTES:
        raise ValueError("not an LDAP message of reasonable size")
    return _exactly(plain, length, deadline)


def _exactly(plain: socket.socket, count: int, deadline: Deadline) -> bytes:
    received = b""
    while len(received) < count:
        plain.settimeout(deadline.left(_START_TLS))
        chunk = plain.recv(count - len(received))
        if not chunk:
            raise ConnectionError("closed by the directory")
        received += chunk
    return received


def _result_code(message: bytes) -> int:
    """The resultCode of an ExtendedResponse to message 1 (RFC 4511 4.12).

    Raises:
        ValueError: it is something else.
    """
    message_id, rest = _element(message, tag=0x02)
    response, _ = _element(rest, tag=0x78)
    code, _ = _element(response, tag=0x0A)
    if message_id != b"\x01":
        raise ValueError("an answer to another question")
    return int.from_bytes(code, "big") if code else -1


def _element(data: bytes, *, tag: int) -> tuple[bytes, bytes]:
    """The value of the BER element at the front, which must have this tag, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise ValueError("not the expected element")
    octets = data[1] & 0x7F if data[1] >= 0x80 else 0
    start = 2 + octets
    length = int.from_bytes(data[2:start], "big") if octets else data[1]
    if data[1] == 0x80 or len(data) < start + length:
        raise ValueError("the element is cut off, or of indefinite length")
    return data[start : start + length], data[start + length :]
