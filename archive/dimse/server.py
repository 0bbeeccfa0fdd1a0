"""Listening: connections are accepted, counted and given a thread each; and the end of all of them.

The accepting thread only accepts. A peer that is silent, slow or makes no sense costs its own thread until a deadline
(`archive.dimse.connection`).
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from archive.audit.sources import source_of
from archive.budget import Budget, Room, Stage
from archive.dimse.channel import Admission, Dispatcher
from archive.dimse.connection import Connections
from archive.dimse.reporting import AuditRecorder, Reporter
from archive.dimse.threads import Threads
from archive.errors import ListenFailed
from archive.metrics import Metrics
from archive.penalties import Penalties
from archive.session import AssociationSession
from archive.upper_layer.limits import Limits

_log = structlog.get_logger("strongroom.server")
_BACKLOG = 4096
"""Connections that the kernel keeps until we accept them; it allows no more than net.core.somaxconn."""


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
        metrics: Metrics | None = None,
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._limits = limits
        self._listeners: list[socket.socket] = []
        self._stopping = threading.Event()
        self._threads = Threads("peer")
        metrics = metrics or Metrics()
        penalties = Penalties(limits.penalty_failures, limits.penalty_seconds)
        self._budget = Budget(_rooms(limits), penalties.penalised)
        self._reporter = Reporter(audit, metrics, penalties)
        self._connections = Connections(
            limits, self._budget, penalties, admission, dispatcher, self._reporter, self._stopping.is_set
        )
        for number, stage in enumerate(Stage):
            metrics.connections(stage.value, lambda number=number: self._budget.counts[number])  # type: ignore[misc]

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where it listens, endpoint by endpoint."""
        return tuple(listener.getsockname()[:2] for listener in self._listeners)

    @property
    def connections(self) -> tuple[int, int, int]:
        """Half-open, associating and established connections."""
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
        self._threads.start()
        for endpoint, listener in zip(self._endpoints, self._listeners, strict=True):
            threading.Thread(
                target=self._accept, args=(endpoint, listener), name=f"accept-{endpoint.port}", daemon=True
            ).start()

    def withdraw(self, reason_for: Callable[[AssociationSession], str | None]) -> None:
        """End every association for which there is a reason, audited: at its next message, or soon after all the same.

        Args:
            reason_for: why the node of a session may not be connected any more; None where it may.
        """
        cutting: list[Callable[[], None]] = []
        for session, withdraw, cut in self._connections.live():
            reason = reason_for(session)
            if reason is not None and withdraw():
                self._reporter.withdrawn(session, reason)
                cutting.append(cut)
        if cutting:
            # In the middle of a message nobody looks whether the association is withdrawn.
            timer = threading.Timer(self._limits.close_seconds, lambda: [cut() for cut in cutting])
            timer.daemon = True
            timer.start()

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
        self._threads.close()

    def _accept(self, endpoint: Endpoint, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                connection, (address, port, *_) = listener.accept()
            except OSError as error:
                if self._stopping.is_set():
                    return
                _log.warning("accept failed", error=str(error))
                # Out of descriptors, most likely: waiting lets connections end, spinning would not.
                self._stopping.wait(0.1)
                continue
            self._reporter.accepted()
            stage = Stage.ASSOCIATING if endpoint.tls is None else Stage.HALF_OPEN
            place = self._budget.enter(connection, source_of(address), stage)
            if self._stopping.is_set():
                # Accepted after everybody was hung up on.
                self._budget.leave(place)
                connection.close()
                return
            self._threads.run(partial(self._connections.serve, endpoint.tls, connection, address, port, place))


def _rooms(limits: Limits) -> dict[Stage, Room]:
    """The budget of each stage, under the names of the settings."""
    names = {
        Stage.HALF_OPEN: ("half_open_connections", "half_open_per_source"),
        Stage.ASSOCIATING: ("associating_connections", "associating_per_source"),
        Stage.ESTABLISHED: ("associations", "associations_per_source"),
    }
    return {
        stage: Room(getattr(limits, in_all), getattr(limits, per_source), in_all, per_source)
        for stage, (in_all, per_source) in names.items()
    }


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
