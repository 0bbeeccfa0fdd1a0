"""Associations that we open: to the destination of a C-MOVE, to whoever asked for storage commitment.

A node is reached where its registration says, and nowhere else. Over TLS it is who its certificate says, checked by
the same steps as when it calls us (`auth.node.peer`), before the first byte of an A-ASSOCIATE-RQ. Every wait has a
deadline.
Whatever goes wrong is `NodeUnreachable`; the reason is for the log and the audit, and holds nothing that a peer sent.
"""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final, Protocol

from archive.dimse.outgoing import messages_to_pdus
from archive.dimse.transport import Transport
from archive.errors import NodeUnreachable, PeerGone, PeerTooSlow, ProtocolViolation
from archive.upper_layer.commands import CommandBuffer, CommandSet
from archive.upper_layer.framing import (
    AbortPdu,
    AssociateAcceptPdu,
    AssociateRejectPdu,
    DataFragment,
    Framer,
    ReleaseReplyPdu,
    ReleaseRequestPdu,
    Unit,
)
from archive.upper_layer.items import pdu
from archive.upper_layer.limits import Limits
from archive.upper_layer.negotiation import encode_abort, encode_release_reply
from archive.upper_layer.requesting import Acceptance, Proposal, encode_request, parse_associate_accept
from auth.errors import AuthError
from auth.ports import NodeRecord
from auth.principal import NodeIdentity, NodeTrust

_RELEASE_REQUEST: Final = pdu(5, bytes(4))
_BY_USER: Final = 0


class NodeChecks(Protocol):
    """What is asked of `auth.node.peer.NodeVerifier`."""

    def identify(self, certificate: bytes | None) -> NodeIdentity:
        """The node of a certificate. Raises `UnknownNode`, `CertificateRefused`."""


class Requestor:
    """Opens associations to registered nodes. Shared by all threads."""

    def __init__(
        self,
        nodes: NodeChecks,
        tls: Callable[[], ssl.SSLContext],
        limits: Limits,
        *,
        without_tls: bool,
    ) -> None:
        """Prepare.

        Args:
            nodes: says whose certificate it is.
            tls: gives the context of the next connection (`auth.node.tls.destination_context`).
            limits: every bound.
            without_tls: whether plain nodes are reached at all; only where the operator wrote ``insecure``.
        """
        self._nodes = nodes
        self._tls = tls
        self._limits = limits
        self._without_tls = without_tls

    def associate(self, node: NodeRecord, proposal: Proposal) -> "RequestedAssociation":
        """Open an association to a node; the caller closes it.

        Raises:
            NodeUnreachable: there is none.
        """
        connection = self._connected(node)
        try:
            return RequestedAssociation(connection, proposal, self._limits)
        except BaseException:
            connection.close()
            raise

    def _connected(self, node: NodeRecord) -> socket.socket:
        if node.host is None or node.port is None:
            raise NodeUnreachable("its registration has no host and port")
        plain = node.identity.trust is NodeTrust.PLAIN
        if plain and not self._without_tls:
            raise NodeUnreachable("it is registered without TLS, which is not switched on")
        try:
            connection = socket.create_connection((node.host, node.port), self._limits.connect_seconds)
        except OSError as error:
            raise NodeUnreachable(f"no connection ({error.strerror or type(error).__name__})") from None
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection if plain else self._secured(node, connection)
        except BaseException:
            connection.close()
            raise

    def _secured(self, node: NodeRecord, connection: socket.socket) -> ssl.SSLSocket:
        """The connection over TLS, with the very node that is registered at its other end."""
        connection.settimeout(self._limits.handshake_seconds)
        try:
            secured = self._tls().wrap_socket(connection)
        except (OSError, AuthError) as error:
            raise NodeUnreachable(f"TLS: {_words(error)}") from None
        try:
            found = self._nodes.identify(secured.getpeercert(binary_form=True))
        except AuthError as error:
            secured.close()
            raise NodeUnreachable(f"TLS: {error}") from None
        if found.name != node.identity.name:
            secured.close()
            raise NodeUnreachable("TLS: another node answered")
        return secured


class RequestedAssociation:
    """One association, as its requestor. Used by one thread; a context manager that releases it, or aborts."""

    def __init__(self, connection: socket.socket, proposal: Proposal, limits: Limits) -> None:
        """Negotiate. Raises `NodeUnreachable`; the connection stays the caller's then."""
        self._connection = connection
        self._limits = limits
        self._transport = Transport(connection, limits)
        self._framer = Framer(limits, as_requestor=True)
        self._commands = CommandBuffer(limits.command_bytes)
        self._ended = False
        self._acceptance = self._negotiate(proposal)
        most = self._acceptance.max_pdu or limits.pdu_bytes
        self._fragment_bytes = min(most, limits.pdu_bytes) - 6

    @property
    def contexts(self) -> Mapping[int, str]:
        """Accepted presentation contexts: identifier to transfer syntax."""
        return self._acceptance.contexts

    @property
    def roles(self) -> Mapping[str, tuple[bool, bool]]:
        """By SOP class: our roles as SCU and SCP, where they were negotiated."""
        return self._acceptance.roles

    def send(self, context_id: int, command: CommandSet, data: Iterable[bytes | memoryview] | None = None) -> None:
        """Send one message. Raises `NodeUnreachable`; after what reading the data raises, the caller aborts."""
        with self._lost_otherwise():
            self._transport.new_message()
            for pdus in messages_to_pdus(context_id, [(command, data)], self._fragment_bytes):
                self._transport.send(pdus)

    def receive_response(self, context_id: int) -> CommandSet:
        """The response to the one request that is under way. Raises `NodeUnreachable`."""
        deadline = time.monotonic() + self._limits.answer_seconds
        with self._lost_otherwise():
            while True:
                unit = self._unit(deadline)
                if not isinstance(unit, DataFragment) or not unit.is_command or unit.context_id != context_id:
                    raise ProtocolViolation("not the response to our request")
                self._commands.add(unit.data)
                if unit.ends_message_part:
                    break
            command = self._commands.take()
            if command.is_request or command.has_data_set:
                raise ProtocolViolation("not the response to our request")
        return command

    def close(self, *, orderly: bool = True) -> None:
        """Release the association, or abort it; idempotent, and never fails."""
        try:
            if not self._ended:
                self._ended = True
                with suppress(PeerGone, PeerTooSlow, ProtocolViolation):
                    self._release() if orderly else self._abort()
        finally:
            self._connection.close()

    def __enter__(self) -> "RequestedAssociation":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(orderly=error is None)

    def _negotiate(self, proposal: Proposal) -> Acceptance:
        with self._lost_otherwise():
            self._transport.send(encode_request(proposal, self._limits.pdu_bytes))
            unit = self._unit(time.monotonic() + self._limits.associate_seconds)
            if isinstance(unit, AssociateRejectPdu):
                self._ended = True
                raise NodeUnreachable(f"association rejected ({unit.result}, {unit.source}, {unit.reason})")
            if not isinstance(unit, AssociateAcceptPdu):
                raise ProtocolViolation("neither an A-ASSOCIATE-AC nor an A-ASSOCIATE-RJ")
            acceptance = parse_associate_accept(unit.body, proposal, self._limits)
            if 0 < acceptance.max_pdu < self._limits.smallest_peer_pdu_bytes:
                raise ProtocolViolation("it takes no PDU of a useful length")
        return acceptance

    def _unit(self, deadline: float) -> Unit:
        """The next unit; those that end the association raise."""
        while (unit := self._framer.next()) is None:
            self._transport.fill(self._framer, deadline)
        if not isinstance(unit, DataFragment) or not self._framer.in_pdu:
            self._transport.pdu_complete()
        if isinstance(unit, AbortPdu):
            raise PeerGone("it aborted the association")
        if isinstance(unit, ReleaseRequestPdu) and not self._ended:
            self._ended = True
            self._transport.send(encode_release_reply())
            raise PeerGone("it released the association")
        return unit

    def _release(self) -> None:
        """A-RELEASE (PS3.8 7.2); where both sides ask for it at once, the requestor replies first (Table 9-10)."""
        self._transport.send(_RELEASE_REQUEST)
        deadline = time.monotonic() + self._limits.close_seconds
        while not isinstance(unit := self._unit(deadline), ReleaseReplyPdu):
            if isinstance(unit, ReleaseRequestPdu):
                self._transport.send(encode_release_reply())

    def _abort(self) -> None:
        self._transport.send(encode_abort(_BY_USER, 0))

    @contextmanager
    def _lost_otherwise(self) -> Iterator[None]:
        """What ends an association in the middle of something makes its peer unreachable."""
        try:
            yield
        except (PeerGone, PeerTooSlow, ProtocolViolation) as error:
            self._ended = self._ended or isinstance(error, PeerGone)
            self.close(orderly=False)
            raise NodeUnreachable(str(error)) from error


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "handshake failed"
    if isinstance(error, TimeoutError):
        return "no handshake within handshake_seconds"
    return str(error) if isinstance(error, AuthError) else type(error).__name__
