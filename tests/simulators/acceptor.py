"""A `DicomServer` in this process behind an open door, and a peer that sends whatever bytes it is told.

Admission and services are the least that answers, so that what a test sees is the front door alone.
"""

import contextlib
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from archive.audit.events import AuditEvent
from archive.dimse.channel import AcceptedContext, Admitted, Channel, IncomingData, Peer, Rejected
from archive.dimse.server import DicomServer, Endpoint
from archive.metrics import Metrics
from archive.upper_layer.commands import CommandSet, Field, c_echo_rsp, c_store_rsp, failure_rsp
from archive.upper_layer.limits import Limits
from archive.upper_layer.negotiation import AssociationAnswer, AssociationRequest, ContextResult
from tests.simulators.scu import CT, IMPLICIT, VERIFICATION, Requestor
from tests.simulators.scu import command as command_bytes
from tests.simulators.subjects import session

PATIENCE = 20.0
"""Seconds after which something that should have happened has not; never what a test waits when all is well."""

SHORT = Limits(
    handshake_seconds=PATIENCE,
    associate_seconds=PATIENCE,
    pdu_seconds=PATIENCE,
    idle_seconds=PATIENCE,
    close_seconds=0.2,
    send_seconds=2.0,
)
"""Endings are quick. A deadline that a test crosses it sets itself; on a busy machine no other passes."""

RELEASE_RQ, RELEASE_RP, ABORT = b"\5\0\0\0\0\4\0\0\0\0", b"\6\0\0\0\0\4\0\0\0\0", b"\7\0\0\0\0\4\0\0\0\0"


@dataclass
class Audit:
    """Remembers what was recorded."""

    events: list[AuditEvent] = field(default_factory=list)

    def record(self, *events: AuditEvent) -> None:
        self.events.extend(events)

    @property
    def reasons(self) -> list[str]:
        return [str(getattr(event, "reason", event)) for event in self.events]


@dataclass
class OpenDoor:
    """Admits everybody, with the first transfer syntax of every context; or refuses, or raises, as told."""

    raises: Exception | None = None
    answer: Callable[[AssociationRequest], AssociationAnswer] | None = None
    asked: list[tuple[Peer, AssociationRequest]] = field(default_factory=list)

    def admit(self, peer: Peer, request: AssociationRequest) -> Admitted:
        self.asked.append((peer, request))
        if self.raises is not None:
            raise self.raises
        if self.answer is not None:
            return Admitted(session(["modality"]), self.answer(request))
        results = tuple(ContextResult(each.context_id, 0, each.transfer_syntaxes[0]) for each in request.contexts)
        return Admitted(session(["modality"]), AssociationAnswer(results))


def refused(result: int, source: int, reason: int) -> OpenDoor:
    """A door that stays shut."""
    return OpenDoor(Rejected(result, source, reason))


Handler = Callable[[Channel, AcceptedContext, CommandSet, IncomingData | None], None]


@dataclass
class Sink:
    """Answers C-ECHO, and takes C-STORE without keeping a byte; any other request goes to ``handler``."""

    handler: Handler | None = None
    stored: list[int] = field(default_factory=list)
    """Bytes of each data set."""

    def handle(
        self, channel: Channel, context: AcceptedContext, command: CommandSet, data: IncomingData | None
    ) -> None:
        if command.field == Field.C_ECHO_RQ:
            channel.send(context.context_id, c_echo_rsp(command))
        elif command.field == Field.C_STORE_RQ and data is not None:
            self.stored.append(sum(len(fragment) for fragment in data))
            channel.send(context.context_id, c_store_rsp(command, 0))
        elif self.handler is not None:
            self.handler(channel, context, command, data)
        else:
            channel.send(context.context_id, failure_rsp(command, 0x0211))


class Acceptor:
    """A server on loopback: plain on ``port``, TLS on ``tls_port`` where a context is given."""

    def __init__(
        self,
        limits: Limits = SHORT,
        admission: OpenDoor | None = None,
        dispatcher: Sink | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.audit, self.admission, self.dispatcher = Audit(), admission or OpenDoor(), dispatcher or Sink()
        endpoints = [Endpoint("127.0.0.1", 0, None)]
        if tls is not None:
            endpoints.append(Endpoint("127.0.0.1", 0, lambda: tls))
        self.metrics = Metrics()
        self.server = DicomServer(endpoints, limits, self.admission, self.dispatcher, self.audit, self.metrics)

    def __enter__(self) -> "Acceptor":
        self._before = descriptors(), len(peer_threads())
        self.server.listen()
        self.port, *more = (port for _, port in self.server.addresses)
        self.tls_port = more[0] if more else 0
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            # Whatever the peers did is over by its own deadlines, before anybody hangs up on them.
            wait_until(lambda: self.server.connections == (0, 0, 0), "connections end by themselves")
        self.server.close()
        if kind is None:
            wait_until(lambda: not peer_threads(), "no thread is left")
            wait_until(lambda: descriptors() <= self._before[0], "no descriptor is left")

    def counted(self, name: str, label: str = "") -> float:
        """One of the server's metrics, by its name without the prefix; 0 where it was never counted."""
        return self.metrics.samples().get(f"strongroom_{name}{label}", 0.0)

    def requestor(self, **options: object) -> Requestor:
        """A well-behaved requestor of verification and CT storage."""
        contexts = [(VERIFICATION, [IMPLICIT]), (CT, [IMPLICIT])]
        return Requestor(self.port, None, "WS1", contexts=contexts, **options)  # type: ignore[arg-type]

    def connect(self, source: str = "127.0.0.1") -> "RawPeer":
        """A peer on the plain port that has sent nothing yet."""
        return RawPeer(self.port, source)

    def connect_tls(self, source: str = "127.0.0.1") -> "RawPeer":
        """A peer on the TLS port that has sent nothing yet, and is counted."""
        before = self.counted("connections_accepted_total")
        peer = RawPeer(self.tls_port, source)
        wait_until(lambda: self.counted("connections_accepted_total") > before, "accepted")
        return peer

    def associated(self) -> "RawPeer":
        """A peer with an established association: context 1 for verification, context 3 for CT storage."""
        peer = self.connect()
        peer.send(request_bytes())
        kind, _ = peer.pdu()
        assert kind == 2
        return peer


class RawPeer:
    """A TCP connection, byte for byte."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "RawPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Send them in one piece; the server may have gone already."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(b"".join(parts))

    def pdu(self) -> tuple[int, bytes]:
        """The next PDU: type and body; type 0 for the end of the connection."""
        header = self._exactly(6)
        if header is None:
            return 0, b""
        kind, length = struct.unpack(">BxL", header)
        return kind, self._exactly(length) or b""

    def pdus(self) -> list[int]:
        """The types of everything that comes until the connection ends."""
        kinds = []
        while kind := self.pdu()[0]:
            kinds.append(kind)
        return kinds

    def status(self) -> int:
        """The status of the response that comes next, in one fragment of command."""
        kind, body = self.pdu()
        assert kind == 4, kind
        offset = body.index(struct.pack("<HHL", 0, 0x900, 2)) + 8
        return int.from_bytes(body[offset : offset + 2], "little")

    def abort(self) -> tuple[int, int]:
        """Source and reason of the A-ABORT that comes next, after which the connection ends as soon as we end it."""
        kind, body = self.pdu()
        assert kind == 7, kind
        self.socket.close()
        return body[2], body[3]

    def _exactly(self, length: int) -> bytes | None:
        data = b""
        while len(data) < length:
            try:
                piece = self.socket.recv(length - len(data))
            except ConnectionError:
                return None
            if not piece:
                return None
            data += piece
        return data


def request_bytes(calling: str = "WS1") -> bytes:
    """An A-ASSOCIATE-RQ for verification (context 1) and CT storage (context 3)."""
    return Requestor(0, None, calling, contexts=[(VERIFICATION, [IMPLICIT]), (CT, [IMPLICIT])]).request()


def p_data(*values: tuple[int, int, bytes]) -> bytes:
    """A P-DATA-TF of presentation data values: (context id, message control header, data)."""
    body = b"".join(struct.pack(">LBB", len(data) + 2, context, flags) + data for context, flags, data in values)
    return struct.pack(">BxL", 4, len(body)) + body


def request_command(field_: int, message_id: int = 1, abstract: str = VERIFICATION, *, data: bool = False) -> bytes:
    """A request's command set."""
    more = ((0x1000, b"1.2.3\0"),) if field_ == 1 else ()
    return command_bytes(
        (0x2, abstract.encode() + b"\0" * (len(abstract) % 2)),
        (0x100, struct.pack("<H", field_)),
        (0x110, struct.pack("<H", message_id)),
        (0x800, struct.pack("<H", 0 if data else 0x0101)),
        *more,
    )


def cancel_command(message_id: int = 1) -> bytes:
    """A C-CANCEL-RQ's command set."""
    return command_bytes((0x100, b"\xff\x0f"), (0x120, struct.pack("<H", message_id)), (0x800, b"\1\1"))


ECHO = request_command(0x30)
STORE = request_command(0x01, abstract=CT, data=True)


def peer_threads() -> list[threading.Thread]:
    """The threads of connections."""
    return [thread for thread in threading.enumerate() if thread.name == "peer"]


def descriptors() -> int:
    """Open file descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Until it holds; fails after `PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@contextlib.contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of one TCP connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), PATIENCE)
        theirs, _ = listener.accept()
    with ours, theirs:
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield ours, theirs
