"""Syslog over TLS (RFC 5425), with the one sign of delivery that it has: the end of the connection.

A syslog receiver acknowledges nothing, and what its TCP acknowledges may lie unread when it stops. A receiver that
answers our ``close_notify``, though, has read all that was before it. So messages count as delivered once the
connection that carried them was ended in order, and a connection is ended so after a bounded volume and time
(`archive.audit.forward.sender`); whatever was on a connection that ended otherwise is sent again.
"""

import contextlib
import fcntl
import hashlib
import hmac
import os
import select
import socket
import ssl
import struct
import termios
import time
from pathlib import Path
from typing import Any, Final

from archive.audit.forward.link import RepositoryUnavailable
from archive.audit.forward.syslog import Header, frame
from archive.audit.forward.target import AuditTarget
from archive.audit.trail_format import TrailRecord
from auth.errors import AuthorityError
from auth.node.tls import client_context

_WRITE_BYTES: Final = 64 * 1024
_VERDICT_SECONDS: Final = 0.5
"""In TLS 1.3 a server judges our certificate after we have finished: for so long we listen for its alert, or for the
session ticket that says that it did not mind."""
_PROBES: Final = 3
_ACKNOWLEDGED_SECONDS: Final = 0.01
"""How often we look whether the last octets are acknowledged; the receiver's FIN mostly says so itself."""


def connected(target: AuditTarget, identity: tuple[Path, Path], *, known: bool = False) -> ssl.SSLSocket:
    """A connection to the target, both sides authenticated, the name and fingerprint of its certificate checked.

    Args:
        target: whom to reach.
        identity: our certificate and key, where the target has none of its own.
        known: it took our certificate a moment ago, so its verdict is not waited for.

    Raises:
        RepositoryUnavailable: it cannot be reached, is not who it should be, or does not take us.
    """
    if target.ca is None:
        raise RepositoryUnavailable("no authority is named that could vouch for it")
    own = (target.certificate, target.key) if target.certificate and target.key else identity
    try:
        context = client_context(own, target.ca)
        found = socket.getaddrinfo(*target.address, type=socket.SOCK_STREAM)
    except (AuthorityError, OSError) as error:
        raise RepositoryUnavailable(_words(error)) from None
    reason = "its name has no address"
    for family, _, protocol, _, address in found:
        try:
            return _connected_to(address, socket.socket(family, socket.SOCK_STREAM, protocol), context, target, known)
        except (OSError, RepositoryUnavailable) as error:
            reason = _words(error)
    raise RepositoryUnavailable(reason)


def _connected_to(
    address: Any, plain: socket.socket, context: ssl.SSLContext, target: AuditTarget, known: bool
) -> ssl.SSLSocket:
    seconds = target.deadline.total_seconds()
    name = target.server_name or target.host
    # Wrapped before it is connected: Python loses a socket that is reset between the two.
    connection = context.wrap_socket(plain, server_hostname=name, suppress_ragged_eofs=False)
    try:
        _watch(connection, seconds)
        connection.settimeout(seconds)
        connection.connect(address)
        _check_fingerprint(connection, target.fingerprint)
        _hear(connection, 0.0 if known else min(seconds, _VERDICT_SECONDS))
    except BaseException:
        connection.close()
        raise
    return connection


class TlsLink:
    """One connection to a syslog receiver."""

    lasting = False

    def __init__(
        self, target: AuditTarget, identity: tuple[Path, Path], header: Header, *, known: bool = False
    ) -> None:
        """Connect, as `connected`. Raises `RepositoryUnavailable`."""
        self._seconds = target.deadline.total_seconds()
        self._header = header
        self._buffer = bytearray()
        self._connection = connected(target, identity, known=known)

    def send(self, record: TrailRecord, xml: str) -> int:
        """As `Link.send`."""
        framed = frame(self._header.message(record.time, xml))
        self._buffer += framed
        if len(self._buffer) >= _WRITE_BYTES:
            self.flush()
        return len(framed)

    def flush(self) -> None:
        """As `Link.flush`."""
        try:
            _hear(self._connection, 0.0)
            self._connection.settimeout(self._seconds)
            self._connection.sendall(self._buffer)
        except OSError as error:
            raise RepositoryUnavailable(self._last_words(error)) from None
        self._buffer.clear()

    def confirm(self) -> None:
        """End the connection in order: the receiver has read everything once it has ended it too."""
        self.flush()
        try:
            # 1 TLS: our close_notify, and the receiver's. One that does not send any may still end TCP in order.
            with contextlib.suppress(ssl.SSLEOFError):
                self._connection.unwrap()
            # 2 TCP: a close_notify can have crossed ours. A receiver that left something unread, or that is gone when
            #   it comes, resets the connection (RFC 9293 section 3.10.7, RFC 2525 section 2.17); one that has read it
            #   all sends its FIN and acknowledges ours.
            self._end_transport()
        except OSError as error:
            raise RepositoryUnavailable(f"the end was not confirmed: {self._last_words(error)}") from None
        finally:
            self.close()

    def close(self) -> None:
        """As `Link.close`."""
        self._connection.close()

    def abort(self) -> None:
        """As `Link.abort`."""
        cut(self._connection)

    def _end_transport(self) -> None:
        """Send our FIN, and wait for the receiver's and for the acknowledgement of everything. Raises `OSError`."""
        ends = time.monotonic() + self._seconds
        plain = self._connection
        socket.socket.shutdown(plain, socket.SHUT_WR)
        plain.settimeout(self._seconds)
        while socket.socket.recv(plain, 4096):
            pass
        while struct.unpack("i", fcntl.ioctl(plain, termios.TIOCOUTQ, bytes(4)))[0]:
            if time.monotonic() >= ends:
                raise TimeoutError
            time.sleep(_ACKNOWLEDGED_SECONDS)
        if number := plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, os.strerror(number))

    def _last_words(self, error: OSError) -> str:
        """Why it ended: an alert that arrived before the reset says more than the reset."""
        try:
            self._connection.settimeout(0)
            self._connection.recv(1)
        except ssl.SSLError as alert:
            if not isinstance(alert, ssl.SSLWantReadError | ssl.SSLEOFError):
                return _words(alert)
        except OSError:
            pass
        return _words(error)


def cut(connection: socket.socket) -> None:
    """Let whatever waits for the connection, in any thread, fail now."""
    with contextlib.suppress(OSError):
        # TLS is left out of it: its state belongs to the other thread.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _hear(connection: ssl.SSLSocket, seconds: float) -> None:
    """Take in what arrives until then: a ticket is nothing, an alert or an end is the end. Raises `OSError`."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if not poll.poll(seconds * 1000):
        return
    connection.settimeout(0)
    try:
        if not connection.recv(4096):
            raise ConnectionResetError(0, "the repository ended the connection")
    except ssl.SSLWantReadError:
        return


def _check_fingerprint(connection: ssl.SSLSocket, wanted: str) -> None:
    if not wanted:
        return
    found = hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
    if not hmac.compare_digest(found, wanted):
        raise RepositoryUnavailable(f"its certificate is another one: SHA-256 {found}")


def _watch(plain: socket.socket, seconds: float) -> None:
    """Have the system find out when the peer is gone: unacknowledged data, and probes where there is none."""
    every = max(1, int(seconds))
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, every)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, every)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, every * _PROBES * 1000)


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLEOFError):
        return "it broke off without an alert: see whether it takes our certificate"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
