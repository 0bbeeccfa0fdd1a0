"""Listening, and one thread for each connection: TLS handshake under a deadline, then one association.

The accepting thread only accepts. A peer that is silent, slow or makes no sense costs its own thread until a deadline.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from archive.audit.events import Actor, AuditEvent, NodeRefused, Outcome
from archive.budget import Budget, Place
from archive.dimse.association import Association
from archive.dimse.channel import Admission, Dispatcher, Peer
from archive.dimse.transport import Transport
from archive.errors import AuditUnavailable, ListenFailed
from archive.upper_layer.limits import Limits

_log = structlog.get_logger("strongroom.server")
_BACKLOG = 256


class AuditRecorder(Protocol):
    """Where refusals are told (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Raises `AuditUnavailable`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address to listen on. ``tls`` gives the context for the next connection; None is plain TCP."""

    host: str
    port: int
    tls: Callable[[], ssl.SSLContext] | None


class DicomServer:
    """The acceptor of associations."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        limits: Limits,
        admission: Admission,
        dispatcher: Dispatcher,
        audit: AuditRecorder,
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._limits = limits
        self._admission = admission
        self._dispatcher = dispatcher
        self._audit = audit
        self._budget = Budget(limits.half_open_connections, limits.associations)
        self._listeners: list[socket.socket] = []
        self._stopping = threading.Event()

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where it listens, endpoint by endpoint."""
        return tuple(listener.getsockname()[:2] for listener in self._listeners)

    @property
    def connections(self) -> tuple[int, int]:
        """Half-open and established connections."""
        return self._budget.counts

    def listen(self) -> None:
        """Take the addresses and accept from now on.

        Raises:
            ListenFailed: an address cannot be listened on.
        """
        try:
            for endpoint in self._endpoints:
                self._listeners.append(_listener(endpoint))
        except OSError as error:
            self.close()
            raise ListenFailed(f"cannot listen on {endpoint.host}:{endpoint.port}: {error.strerror}") from error
        for endpoint, listener in zip(self._endpoints, self._listeners, strict=True):
            threading.Thread(
                target=self._accept, args=(endpoint, listener), name=f"accept-{endpoint.port}", daemon=True
            ).start()

    def drain(self, seconds: float) -> bool:
        """Accept nothing more, let requests finish, end associations between two requests.

        Returns:
            True if every connection ended by itself; those that did not within ``seconds`` were cut.
        """
        self._stopping.set()
        self._stop_listening()
        self._budget.hang_up(established=False)
        if self._budget.wait_until_empty(seconds):
            return True
        self._budget.hang_up(established=True)
        self._budget.wait_until_empty(self._limits.close_seconds)
        return False

    def close(self) -> None:
        """Stop at once; idempotent."""
        self._stopping.set()
        self._stop_listening()
        self._budget.hang_up(established=True)

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                # Closing alone does not wake a thread that waits in accept.
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, endpoint: Endpoint, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = listener.accept()
            except OSError as error:
                if self._stopping.is_set():
                    return
                _log.warning("accept failed", error=str(error))
                # Out of descriptors, most likely: waiting lets connections end, spinning would not.
                self._stopping.wait(0.1)
                continue
            place = self._budget.enter(connection, address[0])
            if self._stopping.is_set():
                # Accepted after everybody was hung up on.
                self._budget.leave(place)
                connection.close()
                return
            thread = threading.Thread(
                target=self._serve, args=(endpoint, connection, address, place), name=f"peer-{address[0]}", daemon=True
            )
            try:
                thread.start()
            except RuntimeError:
                self._budget.leave(place)
                connection.close()

    def _serve(self, endpoint: Endpoint, connection: socket.socket, address: tuple[str, int], place: Place) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if endpoint.tls is not None:
                # One deadline for the whole of do_handshake, however slowly its bytes drip.
                connection.settimeout(self._limits.handshake_seconds)
                connection = endpoint.tls().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                self._budget.replace(place, connection)
            if not isinstance(connection, ssl.SSLSocket) or self._handshake(connection, address, place):
                self._associate(endpoint, connection, address, place)
        except OSError as error:
            _log.debug("connection failed", peer=address[0], error=str(error))
        except Exception:  # noqa: BLE001 -- ours, a TLS context that cannot be made; the thread ends here either way
            _log.exception("connection failed", peer=address[0])
        finally:
            self._budget.leave(place)
            connection.close()
        if place.evicted:
            self._refused(address[0], f"evicted: half_open_connections ({self._limits.half_open_connections}) reached")

    def _handshake(self, connection: ssl.SSLSocket, address: tuple[str, int], place: Place) -> bool:
        reason = ""
        try:
            connection.do_handshake()
        except (ssl.SSLEOFError, ConnectionError):
            # Gone before it showed anything: a port probe, not an attempt.
            return False
        except ssl.SSLError as error:
            reason = f"TLS: {getattr(error, 'verify_message', '') or error.reason or 'failed'}"
        except TimeoutError:
            reason = f"TLS: no handshake within handshake_seconds ({self._limits.handshake_seconds})"
        if reason and not place.evicted:
            self._refused(address[0], reason)
        return not reason

    def _associate(self, endpoint: Endpoint, connection: socket.socket, address: tuple[str, int], place: Place) -> None:
        certificate = connection.getpeercert(binary_form=True) if isinstance(connection, ssl.SSLSocket) else None
        peer = Peer(address[0], address[1], endpoint.tls is not None, certificate)
        Association(
            Transport(connection, self._limits),
            peer,
            self._limits,
            self._admission,
            self._dispatcher,
            established=lambda: self._budget.establish(place),
            draining=self._stopping.is_set,
            violated=lambda who, reason: None if place.evicted else self._refused(who.address, reason),
        ).run()

    def _refused(self, address: str, reason: str) -> None:
        try:
            self._audit.record(NodeRefused(Actor(address=address), Outcome.SERIOUS_FAILURE, reason))
        except AuditUnavailable:
            _log.exception("a refusal could not be audited", peer=address, reason=reason)


def _listener(endpoint: Endpoint) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((endpoint.host, endpoint.port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
