"""The repository's doors: syslog over TLS (RFC 5425), one thread for each connection; syslog over UDP (RFC 5426)."""

import contextlib
import hashlib
import select
import socket
import ssl
import threading
from typing import Final

import structlog

from archive.budget import Budget, Place, Room, Stage
from archive.errors import ArchiveError, AuditUnavailable, ListenFailed
from archive.repository.connection import receive
from archive.repository.limits import Limits
from archive.repository.receiving import Receiver
from archive.repository.store import Sender

_log = structlog.get_logger("strongroom.repository")
_BACKLOG: Final = 128
_DATAGRAM_BYTES: Final = 65_535
"""No UDP datagram is larger (RFC 5426 3.1)."""
_DATAGRAMS_AT_ONCE: Final = 64
"""Kept with one sync where they have come already."""
_CLOSE_SECONDS: Final = 10.0
_SLICE_MILLISECONDS: Final = 500
"""How long one wait for a datagram lasts before it looks whether to stop."""


class _Door:
    """A bound socket and the thread that waits at it."""

    def __init__(self, host: str, port: int, kind: socket.SocketKind) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, kind)
        try:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1 if kind == socket.SOCK_STREAM else 0)
            self.socket.bind((host, port))
        except OSError as error:
            self.socket.close()
            raise ListenFailed(f"cannot listen on {host}:{port} ({error.strerror}): name another port") from None
        self._stopping = threading.Event()

    @property
    def address(self) -> str:
        """Where it listens, as HOST:PORT."""
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def stopping(self) -> bool:
        """Whether it is being closed."""
        return self._stopping.is_set()

    def close(self) -> None:
        """Take nothing more; idempotent."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            # Closing alone does not wake a thread that waits for a connection.
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class TlsDoor(_Door):
    """Takes connections, each of which proves who it is before it says anything."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, receiver: Receiver, limits: Limits) -> None:
        """Take the address; `start` begins to accept.

        Raises:
            ListenFailed: it cannot be taken.
        """
        super().__init__(host, port, socket.SOCK_STREAM)
        self._context = context
        self._receiver = receiver
        self._limits = limits
        self._budget = Budget(
            {
                Stage.HALF_OPEN: Room(limits.half_open_connections, limits.half_open_connections),
                Stage.ESTABLISHED: Room(limits.connections, limits.connections_per_source),
            }
        )

    def start(self) -> None:
        """Accept from now on."""
        self.socket.listen(_BACKLOG)
        threading.Thread(target=self._accept, name="accept-syslog-tls", daemon=True).start()

    def close(self) -> None:
        """Accept nothing more and hang up; what has been read is kept before its thread ends."""
        super().close()
        self._budget.hang_up(established=True)
        self._budget.wait_until_empty(_CLOSE_SECONDS)

    def _accept(self) -> None:
        while not self.stopping():
            try:
                connection, address = self.socket.accept()
            except OSError:
                # Out of descriptors, most likely: waiting lets connections end, spinning would not.
                self._stopping.wait(0.1)
                continue
            try:
                wrapped = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            except OSError:
                connection.close()
                continue
            place = self._budget.enter(wrapped, address[0])
            try:
                threading.Thread(target=self._serve, args=(wrapped, place), name="sender", daemon=True).start()
            except RuntimeError:
                self._done(wrapped, place)

    def _serve(self, connection: ssl.SSLSocket, place: Place) -> None:
        try:
            # One deadline for the whole handshake, however slowly its octets drip.
            connection.settimeout(self._limits.handshake_seconds)
            connection.do_handshake()
            if self._budget.establish(place):
                certificate = hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
                sender = Sender(place.source, "tls", certificate)
                receive(connection, sender, self._receiver, self._limits, self.stopping)
            else:
                _log.warning("refused", peer=place.source, reason=f"{place.refused} reached")
        except (ArchiveError, OSError) as error:
            if not self.stopping():
                _log.warning("connection ended", peer=place.source, error=str(error) or type(error).__name__)
        finally:
            self._done(connection, place)

    def _done(self, connection: ssl.SSLSocket, place: Place) -> None:
        self._budget.leave(place)
        connection.close()


class UdpDoor(_Door):
    """Takes datagrams from anybody. Nothing says who sent them, that all came, or that none was read on the way."""

    def __init__(self, host: str, port: int, receiver: Receiver) -> None:
        """Take the address; `start` begins to receive.

        Raises:
            ListenFailed: it cannot be taken.
        """
        super().__init__(host, port, socket.SOCK_DGRAM)
        self._receiver = receiver
        self._finished = threading.Event()
        self._finished.set()

    def start(self) -> None:
        """Receive from now on."""
        self.socket.setblocking(False)
        self._finished.clear()
        threading.Thread(target=self._receive, name="syslog-udp", daemon=True).start()

    def close(self) -> None:
        """Receive nothing more; what has been read is kept before."""
        self._stopping.set()
        self._finished.wait(_CLOSE_SECONDS)
        super().close()

    def _receive(self) -> None:
        waiting = select.poll()
        waiting.register(self.socket, select.POLLIN)
        try:
            while not self.stopping():
                if waiting.poll(_SLICE_MILLISECONDS):
                    self._take_what_waits()
        except (AuditUnavailable, OSError) as error:
            _log.warning("UDP is no longer received", error=str(error))
        finally:
            self._finished.set()

    def _take_what_waits(self) -> None:
        """Keep the datagrams that are there, those of one source together."""
        batches: dict[str, list[bytes]] = {}
        for _ in range(_DATAGRAMS_AT_ONCE):
            try:
                datagram, address = self.socket.recvfrom(_DATAGRAM_BYTES)
            except BlockingIOError:
                break
            batches.setdefault(address[0], []).append(datagram)
        for source, datagrams in batches.items():
            self._receiver.take(datagrams, Sender(source, "udp"))
