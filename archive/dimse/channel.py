"""What a service class provider sees of its association: messages in, messages out. No socket, no PDU."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Protocol

from archive.session import AssociationSession
from archive.upper_layer.commands import CommandSet
from archive.upper_layer.negotiation import AssociationAnswer, AssociationRequest, ProposedContext


@dataclass(frozen=True, slots=True)
class Peer:
    """Who connected, before anybody knows which node that is."""

    address: str
    port: int
    tls: bool
    certificate: bytes | None
    """DER of the certificate presented in the TLS handshake; None without TLS."""


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """One accepted presentation context; the roles are the requestor's (PS3.7 D.3.3.4)."""

    context_id: int
    abstract_syntax: str
    transfer_syntax: str
    scu_role: bool = True
    scp_role: bool = False
    extended: bytes = b""
    """Service-class-application-information that was agreed on (PS3.7 D.3.3.5); empty if none."""


class IncomingData(Protocol):
    """The data set of one message, fragment by fragment, straight from the receive buffer."""

    def __iter__(self) -> Iterator[memoryview]:
        """Each fragment, valid until the next is asked for. Raises whatever ends the association."""

    def limit(self, data_set_bytes: int, name: str = "data_set_bytes") -> None:
        """Bound what may still come; one byte more aborts the association (`LimitExceeded` of the limit ``name``)."""

    def drain(self) -> None:
        """Read and forget whatever is left of the data set."""


@dataclass(frozen=True, slots=True)
class Report:
    """A request of ours that an association is to send between two of the requestor's (an N-EVENT-REPORT)."""

    context_id: int
    command: Callable[[int], CommandSet]
    """Makes the command set, given a message id."""
    data: bytes
    answered: Callable[[CommandSet | None], None]
    """Told the response, or None where none will come; from whatever thread knows first, and once."""


class Channel(Protocol):
    """One established association."""

    @property
    def session(self) -> AssociationSession:
        """What admission verified."""

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """Accepted presentation contexts by id."""

    def send(self, context_id: int, command: CommandSet, data: Iterable[bytes | memoryview] | None = None) -> None:
        """Send one message; its data set in P-DATA fragments no longer than the peer takes."""

    def send_with_next(self, context_id: int, command: CommandSet) -> None:
        """Send a message without a data set in one write with what is sent next, at the latest before the peer is
        waited for."""

    def send_many(self, context_id: int, messages: Iterable[tuple[CommandSet, bytes | None]]) -> None:
        """Send small messages with few writes."""

    def send_repeated(self, context_id: int, command: CommandSet, data_sets: Iterable[bytes]) -> None:
        """Send the same command with each of many small data sets, with few writes."""

    def receive_response(self, context_id: int) -> CommandSet:
        """The response to a sub-operation; a C-CANCEL that comes in between is remembered."""

    def cancel_requested(self, message_id: int) -> bool:
        """Whether the requestor has cancelled this request (PS3.7 9.3.2.3); looks, but does not wait."""

    def post(self, report: Report) -> bool:
        """Have a report sent by the association's own thread; from any thread. False if the association is over."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """An association that may be: the session, and what the A-ASSOCIATE-AC says."""

    session: AssociationSession
    answer: AssociationAnswer

    def contexts(self, proposed: Sequence[ProposedContext]) -> Mapping[int, AcceptedContext]:
        """The accepted presentation contexts by id, of those that were proposed."""
        abstract = {context.context_id: context.abstract_syntax for context in proposed}
        contexts = {}
        for result in self.answer.contexts:
            if result.result == 0:
                syntax = abstract[result.context_id]
                scu, scp = self.answer.roles.get(syntax, (True, False))
                extended = self.answer.extended.get(syntax, b"")
                contexts[result.context_id] = AcceptedContext(
                    result.context_id, syntax, result.transfer_syntax, scu, scp, extended
                )
        return MappingProxyType(contexts)


class Rejected(Exception):
    """An association that may not be: the numbers of the A-ASSOCIATE-RJ (PS3.8 9.3.4). Audited by who raises it."""

    def __init__(self, result: int, source: int, reason: int) -> None:
        super().__init__(f"A-ASSOCIATE-RJ ({result}, {source}, {reason})")
        self.result, self.source, self.reason = result, source, reason


class Ending(Enum):
    """How an association ended, or why there was none."""

    NOTHING = "nothing"
    """The peer left, or broke the protocol, before anybody decided on it."""
    REJECTED = "rejected"
    RELEASED = "released"
    ABORTED = "aborted"
    """By the peer."""
    LOST = "lost"
    """The connection ended without a word."""
    VIOLATION = "violation"
    """The peer broke the protocol or crossed a limit."""
    WITHDRAWN = "withdrawn"
    """The node may not be connected any more."""
    DRAINED = "drained"
    FAULT = "fault"
    """Ours."""


class Admission(Protocol):
    """The one door: peer and request in, session out (`archive.dimse.admission`)."""

    def admit(self, peer: Peer, request: AssociationRequest) -> Admitted:
        """Raises `Rejected`."""


class Dispatcher(Protocol):
    """From a command to the service that takes it (`archive.dimse.dispatch`)."""

    def handle(
        self, channel: Channel, context: AcceptedContext, command: CommandSet, data: IncomingData | None
    ) -> None:
        """Serve one request to its final response."""
