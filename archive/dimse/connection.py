"""One accepted connection from its TLS handshake to its end, in the thread that is its own.

Whatever goes wrong ends here: the thread ends, the place is given back, the descriptor is closed.
"""

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace

import structlog

from archive.budget import Budget, Place
from archive.dimse.association import Association
from archive.dimse.channel import Admission, Dispatcher, Peer
from archive.dimse.reporting import Reporter
from archive.dimse.transport import Transport
from archive.errors import ProtocolViolation
from archive.penalties import Penalties
from archive.session import AssociationSession
from archive.upper_layer.limits import Limits

_log = structlog.get_logger("strongroom.server")

TlsContext = Callable[[], ssl.SSLContext]


class Connections:
    """Serves every connection of one server, each in a thread that calls `serve`. Knows those with an association."""

    def __init__(
        self,
        limits: Limits,
        budget: Budget,
        penalties: Penalties,
        admission: Admission,
        dispatcher: Dispatcher,
        reporter: Reporter,
        draining: Callable[[], bool],
    ) -> None:
        self._limits = limits
        seconds = limits.penalty_deadline_seconds
        self._hasty = replace(
            limits,
            handshake_seconds=min(seconds, limits.handshake_seconds),
            associate_seconds=min(seconds, limits.associate_seconds),
        )
        self._budget = budget
        self._penalties = penalties
        self._admission = admission
        self._dispatcher = dispatcher
        self._reporter = reporter
        self._draining = draining
        self._lock = threading.Lock()
        self._live: dict[Place, Association] = {}

    def serve(self, tls: TlsContext | None, connection: socket.socket, address: str, port: int, place: Place) -> None:
        """Serve one connection to its end, and give its place back. ``tls`` None: plain."""
        limits = self._hasty if self._penalties.penalised(place.source) else self._limits
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            certificate = None
            if tls is not None:
                # One deadline for the whole of do_handshake, however slowly its bytes drip.
                connection.settimeout(limits.handshake_seconds)
                secure = tls().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                connection = secure
                self._budget.replace(place, secure)
                if not self._handshake(secure, address, place, limits):
                    return
                certificate = secure.getpeercert(binary_form=True)
                if not self._budget.associate(place):
                    return
            if not place.evicted:
                self._associate(connection, Peer(address, port, tls is not None, certificate), place, limits)
        except OSError as error:
            _log.debug("connection failed", peer=address, error=str(error))
        except Exception:  # noqa: BLE001 -- ours, a TLS context that cannot be made; the thread ends here either way
            _log.exception("connection failed", peer=address)
        finally:
            self._budget.leave(place)
            connection.close()
            self._tell_of_room(address, place)

    def live(self) -> list[tuple[AssociationSession, Callable[[], bool], Callable[[], None]]]:
        """Each admitted association with what ends it: at its next message, and at once."""
        with self._lock:
            held = list(self._live.items())
        return [
            (session, association.withdraw, lambda place=place: self._budget.cut(place))  # type: ignore[misc]
            for place, association in held
            if (session := association.admitted) is not None
        ]

    def _handshake(self, connection: ssl.SSLSocket, address: str, place: Place, limits: Limits) -> bool:
        reason, limit = "", ""
        try:
            connection.do_handshake()
        except (ssl.SSLEOFError, ConnectionError):
            # Gone before it showed anything: a port probe, not an attempt.
            return False
        except ssl.SSLError as error:
            reason = f"TLS: {getattr(error, 'verify_message', '') or error.reason or 'failed'}"
        except TimeoutError:
            limit = "handshake_seconds"
            reason = f"TLS: no handshake within handshake_seconds ({limits.handshake_seconds})"
        if reason and not place.evicted:
            self._reporter.refused(address, place.source, "tls", reason, limit)
        return not reason

    def _associate(self, connection: socket.socket, peer: Peer, place: Place, limits: Limits) -> None:
        def violated(session: AssociationSession | None, error: ProtocolViolation) -> None:
            if not place.evicted:
                self._reporter.violated(peer.address, place.source, session, error)

        association = Association(
            Transport(connection, limits),
            peer,
            limits,
            self._admission,
            self._dispatcher,
            established=lambda: self._established(place, association),
            draining=self._draining,
            violated=violated,
        )
        try:
            ending = association.run()
        finally:
            with self._lock:
                self._live.pop(place, None)
        if not (place.evicted or place.refused):
            self._reporter.ended(place.source, ending)

    def _established(self, place: Place, association: Association) -> bool:
        if not self._budget.establish(place):
            return False
        with self._lock:
            self._live[place] = association
        return True

    def _tell_of_room(self, address: str, place: Place) -> None:
        """A connection that had to go, or could not become an association, for want of room."""
        for what, limit in (("evicted", place.evicted), ("rejected", place.refused)):
            if limit:
                name = limit.partition(" ")[0]
                self._reporter.refused(address, place.source, "room", f"{what}: {limit} reached", name)
