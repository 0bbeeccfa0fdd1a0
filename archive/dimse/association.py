"""One association from its first byte to its last: negotiation, the loop of requests, and every way it can end.

Runs in one thread on one blocking socket. Whatever the peer sends, the answer is a valid PDU or a clean close.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

import structlog

from archive.dimse.channel import AcceptedContext, Admission, Dispatcher, Ending, Peer, Rejected, Report
from archive.dimse.incoming import IncomingMessageData
from archive.dimse.outbox import Outbox
from archive.dimse.sender import Sender
from archive.dimse.transport import Transport
from archive.errors import LimitExceeded, PeerGone, PeerTooSlow, ProtocolViolation
from archive.session import AssociationSession
from archive.upper_layer.commands import CommandBuffer, CommandSet, Field
from archive.upper_layer.framing import (
    UNEXPECTED_PDU,
    AssociateRequestPdu,
    DataFragment,
    Framer,
    Unit,
)
from archive.upper_layer.limits import Limits
from archive.upper_layer.negotiation import (
    encode_abort,
    encode_accept,
    encode_reject,
    encode_release_reply,
    parse_associate_request,
)
from archive.upper_layer.protocol import EVENTS, Action, Event, Protocol, State

_BY_USER, _BY_PROVIDER = 0, 2
LOCAL_LIMIT_EXCEEDED: Final = (2, 3, 2)
"""A-ASSOCIATE-RJ, transient, by the presentation part of the provider (PS3.8 9.3.4)."""
_log = structlog.get_logger("strongroom.association")


class Released(Exception):
    """The requestor asked for the release of the association."""


class Association:
    """One association, as the acceptor. Its `run` returns when the connection is done with."""

    def __init__(
        self,
        transport: Transport,
        peer: Peer,
        limits: Limits,
        admission: Admission,
        dispatcher: Dispatcher,
        *,
        established: Callable[[], bool],
        draining: Callable[[], bool],
        violated: Callable[[AssociationSession | None, ProtocolViolation], None],
    ) -> None:
        """Prepare.

        Args:
            transport: the connection, its TLS handshake done.
            peer: who is at its other end.
            limits: every bound.
            admission: decides on the A-ASSOCIATE-RQ.
            dispatcher: serves requests.
            established: claims a place among the established associations; False if there is none.
            draining: whether the server is about to stop.
            violated: told once when the peer breaks the protocol or crosses a limit; with the session if there is one.
        """
        self._transport = transport
        self._peer = peer
        self._limits = limits
        self._admission = admission
        self._dispatcher = dispatcher
        self._established = established
        self._draining = draining
        self._violated = violated
        self._framer = Framer(limits)
        self._protocol = Protocol()
        self._commands = CommandBuffer(limits.command_bytes)
        self._command_context: int | None = None
        self._contexts: Mapping[int, AcceptedContext] = MappingProxyType({})
        self._session: AssociationSession | None = None
        self._sender = Sender(transport, 0)
        self._abort_action: Action | None = None
        self._cancelled: set[int] = set()
        self._data: IncomingMessageData | None = None
        self._outbox = Outbox()
        self._ending = Ending.NOTHING
        self._withdrawn = False

    @property
    def admitted(self) -> AssociationSession | None:
        """The session; None before there is one. Safe to ask from any thread."""
        return self._session

    def withdraw(self) -> bool:
        """End the association at the next message; from any thread. False if it is to end already."""
        before, self._withdrawn = self._withdrawn, True
        return not before

    @property
    def session(self) -> AssociationSession:
        """What admission verified."""
        if self._session is None:
            raise RuntimeError("the association is not established")
        return self._session

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """Accepted presentation contexts by id."""
        return self._contexts

    def run(self) -> Ending:
        """Serve the association to its end, and say which that was."""
        self._protocol.step(Event.TRANSPORT_OPEN)
        try:
            if self._negotiate():
                self._serve()
        except Released:
            self._ending = Ending.RELEASED
            self._protocol.step(Event.RELEASE_REPLY)
            self._last_word(encode_release_reply())
        except PeerGone:
            # By an abort, where the state table has taken its step already.
            self._ended(Ending.ABORTED if self._protocol.state is State.IDLE else Ending.LOST)
            if self._protocol.state is not State.IDLE:
                self._protocol.step(Event.TRANSPORT_CLOSED)
        except PeerTooSlow as error:
            self._too_slow(error)
        except ProtocolViolation as error:
            self._violation(error)
        except Exception:  # noqa: BLE001 -- the thread ends here either way
            # A fault of ours: the peer learns nothing of it but that the association is over.
            _log.exception("association failed", association=self._session and self._session.correlation_id)
            self._ending = Ending.FAULT
            self._abort(Event.ABORT, _BY_USER, 0)
        finally:
            self._outbox.close()
        return self._ending

    def _ended(self, ending: Ending) -> None:
        """Note how an association ended; without one, there was nothing."""
        if self._session is not None:
            self._ending = ending

    # -- negotiation ------------------------------------------------------------------------------------------------

    def _negotiate(self) -> bool:
        unit = self._unit(time.monotonic() + self._limits.associate_seconds)
        self._expect(unit)
        if not isinstance(unit, AssociateRequestPdu):
            raise ProtocolViolation("the first PDU is not an A-ASSOCIATE-RQ", abort_reason=UNEXPECTED_PDU)
        request = parse_associate_request(unit.body, self._limits)
        if 0 < request.max_pdu < self._limits.smallest_peer_pdu_bytes:
            least = self._limits.smallest_peer_pdu_bytes
            raise LimitExceeded(
                f"the requestor takes less than smallest_peer_pdu_bytes ({least})",
                abort_reason=6,
                limit="smallest_peer_pdu_bytes",
            )
        try:
            admitted = self._admission.admit(self._peer, request) if self._established() else None
        except Rejected as rejected:
            return self._reject(rejected.result, rejected.source, rejected.reason)
        if admitted is None:
            return self._reject(*LOCAL_LIMIT_EXCEEDED)
        self._session = admitted.session
        self._contexts = admitted.contexts(request.contexts)
        most = min(request.max_pdu or self._limits.pdu_bytes, self._limits.pdu_bytes)
        self._sender = Sender(self._transport, most - 6)
        self._protocol.step(Event.ACCEPT)
        self._framer.widen()
        self._transport.send(encode_accept(request, admitted.answer, self._limits.pdu_bytes))
        return True

    def _reject(self, result: int, source: int, reason: int) -> bool:
        self._ending = Ending.REJECTED
        self._protocol.step(Event.REJECT)
        self._last_word(encode_reject(result, source, reason))
        return False

    # -- requests ---------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            received = None if self._over() else self._next_command(self._interrupted)
            if received is None and not self._over():
                for report, number in self._outbox.taken():
                    self.send(report.context_id, report.command(number), [report.data])
                continue
            if received is None:
                self._ending = Ending.WITHDRAWN if self._withdrawn else Ending.DRAINED
                self._abort(Event.ABORT, _BY_USER, 0)
                return
            context, command = received
            if command.field == Field.C_CANCEL_RQ:
                # Too late: what it cancels has had its final response (PS3.7 9.3.2.3).
                continue
            if not command.is_request:
                if command.has_data_set or not self._outbox.answered(context.context_id, command):
                    raise ProtocolViolation("a response to nothing", abort_reason=UNEXPECTED_PDU)
                continue
            self._cancelled.clear()
            self._data = self._announced(context.context_id) if command.has_data_set else None
            self._dispatcher.handle(self, context, command, self._data)
            if self._data is not None:
                self._data.drain()
                self._data = None

    def _interrupted(self) -> bool:
        """Whether there is something else to do than to wait for the next request."""
        return self._over() or self._outbox.waiting

    def _over(self) -> bool:
        """Whether no further request is taken."""
        return self._withdrawn or self._draining()

    def _announced(self, context_id: int) -> IncomingMessageData:
        """The data set that a command announced."""
        return IncomingMessageData(partial(self._next_data_fragment, context_id), self._limits.data_set_bytes)

    def _next_command(self, interrupted: Callable[[], bool] | None = None) -> tuple[AcceptedContext, CommandSet] | None:
        self._sender.flush()
        self._transport.new_message()
        deadline = time.monotonic() + self._limits.idle_seconds
        while True:
            if self._command_context is None:
                unit = self._unit(deadline, interrupted)
            else:
                unit = self._unit(time.monotonic() + self._limits.pdu_seconds, within_message=True)
            if unit is None:
                return None
            received = self._gather(unit)
            if received is not None:
                return received

    def _gather(self, unit: Unit) -> tuple[AcceptedContext, CommandSet] | None:
        """One more unit of a command set; with its last fragment, the command."""
        self._expect(unit)
        if not isinstance(unit, DataFragment):
            raise Released
        if not unit.is_command:
            raise ProtocolViolation("a data set without a command", abort_reason=UNEXPECTED_PDU)
        context = self._contexts.get(unit.context_id)
        if context is None:
            raise ProtocolViolation("a presentation context that was not accepted", abort_reason=6)
        if self._command_context not in (None, unit.context_id):
            raise ProtocolViolation("one command in two presentation contexts", abort_reason=UNEXPECTED_PDU)
        self._command_context = unit.context_id
        self._commands.add(unit.data)
        if not unit.ends_message_part:
            return None
        self._command_context = None
        return context, self._commands.take()

    def _next_data_fragment(self, context_id: int) -> DataFragment:
        """The next fragment of the data set that the present command announced."""
        unit = self._unit(time.monotonic() + self._limits.pdu_seconds, within_message=True)
        self._expect(unit)
        if not isinstance(unit, DataFragment) or unit.is_command or unit.context_id != context_id:
            raise ProtocolViolation("something else in place of a data set fragment", abort_reason=UNEXPECTED_PDU)
        return unit

    # -- the channel that services see ------------------------------------------------------------------------------

    def send(self, context_id: int, command: CommandSet, data: Iterable[bytes | memoryview] | None = None) -> None:
        """Send one message (`archive.dimse.channel.Channel`)."""
        self._sender.send(context_id, [(command, data)])

    def send_with_next(self, context_id: int, command: CommandSet) -> None:
        """Send a message with the one that comes next (`archive.dimse.channel.Channel`)."""
        self._sender.hold(context_id, command)

    def send_many(self, context_id: int, messages: Iterable[tuple[CommandSet, bytes | None]]) -> None:
        """Send small messages with few writes."""
        self._sender.send(context_id, ((command, None if data is None else (data,)) for command, data in messages))

    def send_repeated(self, context_id: int, command: CommandSet, data_sets: Iterable[bytes]) -> None:
        """Send the same command with each of many small data sets, with few writes."""
        self._sender.send_repeated(context_id, command, data_sets)

    def receive_response(self, context_id: int) -> CommandSet:
        """The response to a sub-operation; a C-CANCEL that comes in between is remembered."""
        while True:
            received = self._next_command()
            if received is None:
                raise PeerGone("interrupted")
            context, command = received
            if command.field == Field.C_CANCEL_RQ:
                self._cancelled.add(command.message_id_being_responded_to)
                continue
            if command.is_request or context.context_id != context_id or command.has_data_set:
                raise ProtocolViolation("not the response to the sub-operation", abort_reason=UNEXPECTED_PDU)
            return command

    def cancel_requested(self, message_id: int) -> bool:
        """Whether the requestor has cancelled this request. Half a PDU is no reason to wait for the other half."""
        while message_id not in self._cancelled:
            unit = self._taken(self._framer.next())
            if unit is None:
                if not self._transport.fill_now(self._framer):
                    break
                continue
            received = self._gather(unit)
            if received is None:
                continue
            if received[1].field != Field.C_CANCEL_RQ:
                raise ProtocolViolation("a second request before the first was answered", abort_reason=UNEXPECTED_PDU)
            self._cancelled.add(received[1].message_id_being_responded_to)
        return message_id in self._cancelled

    def post(self, report: Report) -> bool:
        """Have a report sent between two requests (`archive.dimse.channel.Channel`)."""
        return self._outbox.post(report)

    # -- units ------------------------------------------------------------------------------------------------------

    def _unit(
        self, deadline: float, interrupted: Callable[[], bool] | None = None, *, within_message: bool = False
    ) -> Unit | None:
        while (unit := self._taken(self._framer.next())) is None:
            if not self._transport.fill(self._framer, deadline, interrupted, within_message=within_message):
                return None
        return unit

    def _taken(self, unit: Unit | None) -> Unit | None:
        if unit is not None and (not isinstance(unit, DataFragment) or not self._framer.in_pdu):
            self._transport.pdu_complete()
        return unit

    def _expect(self, unit: Unit | None) -> None:
        """Step the state table for what the peer sent; whatever the state does not expect ends the association."""
        if isinstance(unit, DataFragment) and self._protocol.state is State.ESTABLISHED:
            return
        action = self._protocol.step(EVENTS[type(unit)])
        if action in (Action.CLOSE, Action.INDICATE_ABORT):
            raise PeerGone("the peer aborted the association")
        if action in (Action.ABORT_BY_USER, Action.ABORT_BY_PROVIDER):
            self._abort_action = action
            raise ProtocolViolation("a PDU that its state does not expect", abort_reason=UNEXPECTED_PDU)

    # -- endings ----------------------------------------------------------------------------------------------------

    def _violation(self, error: ProtocolViolation) -> None:
        self._ended(Ending.VIOLATION)
        self._violated(self._session, error)
        _log.warning("protocol violation", peer=self._peer.address, reason=str(error))
        if self._protocol.state is State.IDLE:
            return
        # Where the table has taken its step already, the PDU was an unexpected one rather than invalid.
        action = self._abort_action or self._protocol.step(Event.INVALID_PDU)
        if action is Action.ABORT_BY_USER:
            self._last_word(encode_abort(_BY_USER, 0))
        elif action is Action.ABORT_BY_PROVIDER:
            self._last_word(encode_abort(_BY_PROVIDER, error.abort_reason))

    def _too_slow(self, error: PeerTooSlow) -> None:
        self._ended(Ending.VIOLATION)
        named = error if error.limit else self._named(error)
        self._violated(self._session, named)
        _log.warning("peer too slow", peer=self._peer.address, reason=str(named))
        if self._protocol.state is State.AWAITING_REQUEST:
            self._protocol.step(Event.TIMER_EXPIRED)
        elif self._protocol.state is not State.AWAITING_CLOSE:
            self._abort(Event.ABORT, _BY_PROVIDER, 0)

    def _named(self, error: PeerTooSlow) -> PeerTooSlow:
        """A deadline that the transport was given, by the name that it has here."""
        if self._session is None:
            name = "associate_seconds"
        elif self._data is not None or self._command_context is not None:
            name = "pdu_seconds"
        else:
            name = "idle_seconds"
        return PeerTooSlow(f"{error}: {name} ({getattr(self._limits, name)})", limit=name)

    def _abort(self, event: Event, source: int, reason: int) -> None:
        if self._protocol.state in (State.IDLE, State.AWAITING_CLOSE):
            return
        self._protocol.step(event)
        self._last_word(encode_abort(source, reason))

    def _last_word(self, pdu: bytes) -> None:
        """Send the last PDU and wait for the peer to close (PS3.8: ARTIM)."""
        try:
            self._transport.send(pdu)
            self._transport.wait_for_close(self._framer.discard())
        except (PeerGone, PeerTooSlow):
            return
