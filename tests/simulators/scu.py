"""A DICOM requestor that shows the bytes: it sends what it is told, and keeps what comes back as it came.

pynetdicom encodes the A-ASSOCIATE-RQ; everything after that is here, so that a test sees counters, statuses and data
sets exactly as they stood on the wire, and so that a measurement waits for nothing but the server.
"""

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pynetdicom import build_context, build_role
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

VERIFICATION = "1.2.840.10008.1.1"
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{number}" for number in (1, 2, 3))
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
CT = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
PENDING = {0xFF00, 0xFF01}


def client_tls(folder: Path) -> ssl.SSLContext:
    """Mutual TLS with the {cert,key,ca}.pem of an issued node."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(folder / "ca.pem")
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def element(group: int, number: int, value: bytes) -> bytes:
    """One element, implicit VR, little endian, padded with NUL."""
    padded = value + b"\0" * (len(value) % 2)
    return struct.pack("<HHL", group, number, len(padded)) + padded


def command(*elements: tuple[int, bytes]) -> bytes:
    """A command set with its group length (PS3.7 E.1)."""
    body = b"".join(element(0, number, value) for number, value in elements)
    return element(0, 0, struct.pack("<L", len(body))) + body


def identifier(level: str, keys: dict[int, str]) -> bytes:
    """A query or retrieve identifier, implicit VR, little endian; keys by tag number."""
    values = {0x00080052: level} | keys
    return b"".join(
        element(tag >> 16, tag & 0xFFFF, text.encode() + (b" " * (len(text) % 2) if tag & 0xFFFF not in UIDS else b""))
        for tag, text in sorted(values.items())
    )


UIDS = frozenset({0x0016, 0x0018, 0x000D, 0x000E})
"""Element numbers of the UID keys, which are padded with NUL."""


@dataclass(frozen=True)
class User:
    """A User Identity item (PS3.7 D.3.3.7.1)."""

    name: bytes
    passcode: bytes = b""
    identity_type: int = 2
    wants_response: bool = True


@dataclass
class Message:
    """One DIMSE message as it came: command fields by element number, and the data set's bytes."""

    context: int
    fields: dict[int, bytes]
    data: bytes = b""

    def number(self, element_number: int) -> int | None:
        """An unsigned short of the command set; None where it is absent."""
        value = self.fields.get(element_number)
        return None if value is None else int(struct.unpack("<H", value)[0])

    @property
    def status(self) -> int:
        """(0000,0900)."""
        value = self.number(0x900)
        assert value is not None
        return value


class Refused(Exception):
    """An A-ASSOCIATE-RJ, with its three numbers (PS3.8 9.3.4)."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"A-ASSOCIATE-RJ ({result}, {source}, {reason})")
        self.numbers = (result, source, reason)


class Aborted(Exception):
    """An A-ABORT, with source and reason (PS3.8 9.3.8)."""


@dataclass
class Requestor:
    """One association. ``accepted`` maps context id to transfer syntax; ``identity_response`` is the 59H answer."""

    port: int
    tls: ssl.SSLContext | None
    calling: str
    called: str = "STRONGROOM"
    contexts: list[tuple[str, list[str]]] = field(default_factory=lambda: [(VERIFICATION, [IMPLICIT])])
    user: User | None = None
    scp_roles: tuple[str, ...] = ()
    max_pdu: int = 131_072
    source: str = "127.0.0.1"
    accepted: dict[int, str] = field(default_factory=dict)
    identity_response: bytes | None = None

    def __enter__(self) -> "Requestor":
        raw = socket.create_connection(("127.0.0.1", self.port), 60, (self.source, 0))
        self._socket: socket.socket = raw
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                self._socket = self.tls.wrap_socket(raw)
            self._buffer = bytearray()
            self._message_id = 0
            self._socket.sendall(self.request())
            kind, body = self._pdu()
            if kind == 3:
                raise Refused(*body[1:4])
            if kind != 2:
                raise Aborted(f"PDU type {kind}")
            self._read_accept(bytes(body))
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, Aborted):
            self._socket.sendall(b"\5\0\0\0\0\4\0\0\0\0")
            while self._pdu()[0] != 6:
                pass
        self._socket.close()

    def echo(self) -> int:
        """C-ECHO's status."""
        self._send(self.context_of(VERIFICATION), self._request_command(VERIFICATION, 0x30, has_data=False))
        return self.receive().status

    def store(self, sop_class: str, instance: str, data: bytes, *, fragment: int | None = None) -> Message:
        """C-STORE of a data set's bytes; the response."""
        context = self.context_of(sop_class)
        self._send(context, self._request_command(sop_class, 0x01, True, (0x1000, _uid(instance))))
        self.send_data(context, data, fragment)
        return self.receive()

    def find(self, model: str, keys: bytes) -> tuple[list[bytes], Message]:
        """C-FIND: the identifiers that came back, and the final response."""
        self.begin(model, 0x20, keys)
        found = []
        while (message := self.receive()).status in PENDING:
            found.append(message.data)
        return found, message

    def count(self, model: str, keys: bytes) -> int:
        """C-FIND: how many identifiers came back. Looks at as little as can be: it measures the server, not itself."""
        self.begin(model, 0x20, keys)
        found = 0
        pending = [struct.pack("<HHLH", 0, 0x0900, 2, status) for status in PENDING]
        while True:
            buffer, at = self._buffer, 0
            while len(buffer) - at >= 12:
                end = at + 6 + int.from_bytes(buffer[at + 2 : at + 6])
                if len(buffer) < end:
                    break
                if not buffer[at + 11] & 1:
                    found += buffer[at + 11] >> 1 & 1
                elif not any(buffer.find(status, at, end) >= 0 for status in pending):
                    del buffer[:end]
                    return found
                at = end
            del buffer[:at]
            data = self._socket.recv(262_144)
            if not data:
                raise Aborted("connection closed")
            buffer += data

    def get(self, model: str, keys: bytes) -> tuple[list[Message], list[Message]]:
        """C-GET: the C-STORE requests that came, each answered with success, and the responses, the final one last."""
        self.begin(model, 0x10, keys)
        objects, responses = [], []
        while True:
            message = self.receive()
            if message.number(0x100) == 0x01:
                objects.append(message)
                self.answer_store(message)
                continue
            responses.append(message)
            if message.status not in PENDING:
                return objects, responses

    def move(self, model: str, keys: bytes, destination: str) -> list[Message]:
        """C-MOVE: the responses, the final one last."""
        self.begin(model, 0x21, keys, destination)
        responses = [self.receive()]
        while responses[-1].status in PENDING:
            responses.append(self.receive())
        return responses

    def begin(self, model: str, field_: int, keys: bytes, destination: str | None = None) -> None:
        """Send a C-FIND, C-GET or C-MOVE request."""
        context = self.context_of(model)
        self._send(context, self._request_command(model, field_, True, destination=destination))
        self.send_data(context, keys)

    def cancel(self, model: str) -> None:
        """C-CANCEL of the last request."""
        message_id = struct.pack("<H", self._message_id)
        self._send(self.context_of(model), command((0x100, b"\xff\x0f"), (0x120, message_id), (0x800, b"\1\1")))

    def answer_store(self, message: Message, status: int = 0) -> None:
        """Answer a C-STORE sub-operation."""
        answer = command(
            (0x2, message.fields[0x2]),
            (0x100, struct.pack("<H", 0x8001)),
            (0x120, message.fields[0x110]),
            (0x800, b"\1\1"),
            (0x900, struct.pack("<H", status)),
            (0x1000, message.fields[0x1000]),
        )
        self._send(message.context, answer)

    def context_of(self, abstract: str) -> int:
        """The accepted context for an abstract syntax."""
        for number, (name, _) in enumerate(self.contexts):
            if name == abstract and 2 * number + 1 in self.accepted:
                return 2 * number + 1
        raise LookupError(f"no accepted presentation context for {abstract}")

    def send_data(self, context: int, data: bytes, fragment: int | None = None) -> None:
        """A data set in fragments, the last one marked."""
        size = fragment or min(self._peer_max or 131_072, 131_072) - 6
        view = memoryview(data)
        for offset in range(0, max(len(data), 1), size):
            piece = view[offset : offset + size]
            last = 2 if offset + size >= len(data) else 0
            self._socket.sendall(struct.pack(">BxLLBB", 4, len(piece) + 6, len(piece) + 2, context, last))
            self._socket.sendall(piece)

    def receive(self) -> Message:
        """The next whole message."""
        fields, data, context = bytearray(), bytearray(), 0
        while True:
            kind, body = self._pdu()
            if kind != 4:
                raise Aborted(f"PDU type {kind}, {bytes(body[2:4]).hex()}")
            offset = 0
            while offset < len(body):
                length, context, flags = struct.unpack_from(">LBB", body, offset)
                piece = body[offset + 6 : offset + 4 + length]
                offset += 4 + length
                if flags & 1:
                    fields += piece
                    if flags & 2:
                        message = Message(context, dict(_fields(bytes(fields))))
                        if message.number(0x800) == 0x0101:
                            return message
                else:
                    data += piece
                    if flags & 2:
                        message.data = bytes(data)
                        return message

    def request(self) -> bytes:
        """The A-ASSOCIATE-RQ."""
        primitive = A_ASSOCIATE()
        primitive.application_context_name = "1.2.840.10008.3.1.1.1"
        primitive.calling_ae_title, primitive.called_ae_title = self.calling, self.called
        length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
        length.maximum_length_received = self.max_pdu
        implementation.implementation_class_uid = "2.25.1"
        primitive.user_information = [length, implementation]
        primitive.user_information += [build_role(role, scp_role=True) for role in self.scp_roles]
        contexts = [build_context(abstract, syntaxes) for abstract, syntaxes in self.contexts]
        for number, context in enumerate(contexts):
            context.context_id = 2 * number + 1
        primitive.presentation_context_definition_list = contexts
        request = A_ASSOCIATE_RQ()
        request.from_primitive(primitive)
        encoded = bytes(request.encode())
        return encoded if self.user is None else _with_identity(encoded, self.user)

    def _request_command(
        self, abstract: str, kind: int, has_data: bool, *more: tuple[int, bytes], destination: str | None = None
    ) -> bytes:
        self._message_id += 1
        title = () if destination is None else ((0x600, destination.encode() + b" " * (len(destination) % 2)),)
        priority = () if kind == 0x30 else (*title, (0x700, b"\0\0"))
        return command(
            (0x2, _uid(abstract)),
            (0x100, struct.pack("<H", kind)),
            (0x110, struct.pack("<H", self._message_id)),
            *priority,
            (0x800, struct.pack("<H", 0 if has_data else 0x0101)),
            *more,
        )

    def _send(self, context: int, data: bytes) -> None:
        self._socket.sendall(struct.pack(">BxLLBB", 4, len(data) + 6, len(data) + 2, context, 3) + data)

    def _read_accept(self, body: bytes) -> None:
        self._peer_max = 0
        for kind, item in _items(body, 68):
            if kind == 0x21 and item[2] == 0:
                self.accepted[item[0]] = next(value.rstrip(b"\0").decode() for _, value in _items(item, 4))
            if kind == 0x50:
                for sub_kind, value in _items(item, 0):
                    if sub_kind == 0x51:
                        (self._peer_max,) = struct.unpack(">L", value)
                    if sub_kind == 0x59:
                        self.identity_response = value[2:]

    def _pdu(self) -> tuple[int, memoryview]:
        kind, length = struct.unpack(">BxL", self._exactly(6))
        return kind, self._exactly(length)

    def _exactly(self, length: int) -> memoryview:
        while len(self._buffer) < length:
            data = self._socket.recv(262_144)
            if not data:
                raise Aborted("connection closed")
            self._buffer += data
        taken = memoryview(bytes(self._buffer[:length]))
        del self._buffer[:length]
        return taken


def _with_identity(request: bytes, user: User) -> bytes:
    """The A-ASSOCIATE-RQ with a User Identity sub-item at its end; by hand, for pynetdicom takes no empty passcode."""
    fields = b"".join(struct.pack(">H", len(value)) + value for value in (user.name, user.passcode))
    item = bytes((user.identity_type, user.wants_response)) + fields
    sub_item = struct.pack(">BxH", 0x58, len(item)) + item
    last = 74
    while last + 4 + struct.unpack_from(">H", request, last + 2)[0] < len(request):
        last += 4 + struct.unpack_from(">H", request, last + 2)[0]
    information = request[last + 4 :] + sub_item
    body = request[6:last] + struct.pack(">BxH", request[last], len(information)) + information
    return struct.pack(">BxL", 1, len(body)) + body


def _uid(text: str) -> bytes:
    return text.encode() + b"\0" * (len(text) % 2)


def _items(data: bytes, offset: int) -> Iterator[tuple[int, bytes]]:
    while offset < len(data):
        kind, length = struct.unpack_from(">BxH", data, offset)
        yield kind, data[offset + 4 : offset + 4 + length]
        offset += 4 + length


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(data):
        number, length = struct.unpack_from("<2xHL", data, offset)
        yield number, data[offset + 8 : offset + 8 + length]
        offset += 8 + length
