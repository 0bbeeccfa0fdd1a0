"""The sub-operations of a C-GET or C-MOVE (PS3.4 C.4.2.3, C.4.3.3): every object sent, counted, and told as it goes.

The counters are exact: every object that was selected is counted once as completed, warning or failed, Remaining is in
pending and cancelled responses only. They are 16 bits wide (PS3.7 E.1), and the standard has no word for more: of a
larger retrieval each counter stays at 65535 until what it counts is less, and the objects go all the same.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from archive.dimse.channel import AcceptedContext, Channel
from archive.dimse.status import (
    PENDING,
    SUB_OPERATIONS_FAILED_ALL,
    SUB_OPERATIONS_FAILED_SOME,
    SUCCESS,
    is_warning,
)
from archive.errors import ProtocolViolation
from archive.services.retrieval import Outgoing, Retrieval
from archive.upper_layer.commands import CommandSet, Field, SubOperations, c_store_rq, retrieve_rsp
from auth.errors import AuthError
from storage.errors import StorageError
from storage.instance import StoredInstance
from storage.transfer_syntax import ways_out

MAX_FAILED_UIDS: Final = 16_384
"""UIDs that are remembered for the final identifier: no identifier that a peer reads holds more."""


@dataclass(slots=True)
class Counted:
    """The sub-operations of one retrieval."""

    total: int = 0
    completed: int = 0
    warning: int = 0
    failed: int = 0
    failed_uids: list[str] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        """Those that are still to come."""
        return self.total - self.completed - self.warning - self.failed

    def count(self, status: int | None, sop_instance_uid: str) -> bool:
        """One more sub-operation, with its status; None where it could not be done. Whether the peer has the object."""
        if status == SUCCESS:
            self.completed += 1
        elif status is not None and is_warning(status):
            self.warning += 1
        else:
            self.failed += 1
            if len(self.failed_uids) < MAX_FAILED_UIDS:
                self.failed_uids.append(sop_instance_uid)
            return False
        return True

    def give_up(self) -> None:
        """What has not been sent will not be."""
        self.failed += self.remaining

    def counters(self, *, with_remaining: bool = False) -> SubOperations:
        """As a response tells them (PS3.7 9.3.3.2)."""
        return SubOperations(self.completed, self.failed, self.warning, self.remaining if with_remaining else None)

    def final_status(self) -> int:
        """PS3.4 Tables C.4-2 and C.4-3: all, some or none of the sub-operations went well."""
        if not self.failed and not self.warning:
            return SUCCESS
        if not self.completed and not self.warning:
            return SUB_OPERATIONS_FAILED_ALL
        return SUB_OPERATIONS_FAILED_SOME


class Carrier(Protocol):
    """Takes objects to where they go."""

    same_association: bool
    """Whether they go where the responses go."""

    def carry(self, instance: StoredInstance, following: StoredInstance | None) -> int | None:
        """One sub-operation: the peer's status, None where the object cannot be sent to it at all.

        ``following`` will be the next, so that it can be read meanwhile; None after the last.
        """

    def close(self, *, orderly: bool) -> None:
        """There are no more; ``orderly`` unless something went wrong."""


class StoreChannel(Protocol):
    """Where C-STORE sub-operations are sent, and answered one by one."""

    def send(self, context_id: int, command: CommandSet, data: Iterable[bytes | memoryview] | None = None) -> None:
        """Send one message."""

    def receive_response(self, context_id: int) -> CommandSet:
        """The response to it."""


class StoreContexts:
    """In which presentation context, and so in which transfer syntax, an object can go."""

    def __init__(self, contexts: Mapping[tuple[str, str], int]) -> None:
        """Identifiers of accepted contexts, by SOP class and transfer syntax."""
        self._contexts = contexts

    @classmethod
    def of_requestor(cls, contexts: Mapping[int, AcceptedContext]) -> "StoreContexts":
        """Those in which a requestor takes objects: it accepted the SCP role for the class (PS3.7 D.3.3.4)."""
        return cls(
            {
                (context.abstract_syntax, context.transfer_syntax): context.context_id
                for context in contexts.values()
                if context.scp_role
            }
        )

    def for_object(self, sop_class_uid: str, stored: str) -> tuple[int, str] | None:
        """Identifier and transfer syntax: the one it is stored in, else one that it converts to without loss."""
        for syntax in (stored, *ways_out(stored)):
            context_id = self._contexts.get((sop_class_uid, syntax))
            if context_id is not None:
                return context_id, syntax
        return None


def opened(retrieval: Retrieval, contexts: StoreContexts, instance: StoredInstance) -> tuple[int, Outgoing] | None:
    """An object and the context that it goes in; None where it cannot go at all."""
    found = contexts.for_object(instance.key.sop_class_uid, instance.transfer_syntax)
    if found is None:
        return None
    try:
        return found[0], retrieval.open(instance, found[1])
    except (StorageError, AuthError):
        return None


def expecting(retrieval: Retrieval, contexts: StoreContexts, following: StoredInstance | None) -> Callable[[], None]:
    """What reads the next object, while the peer is busy with the one before."""

    def read() -> None:
        found = following and contexts.for_object(following.key.sop_class_uid, following.transfer_syntax)
        if following is not None and found:
            retrieval.expect(following, found[1])

    return read


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """One C-STORE sub-operation."""

    context_id: int
    message_id: int
    sop_class_uid: str
    originator: tuple[str, int] | None = None
    """AE title and message id of the C-MOVE that it belongs to."""


def store(channel: StoreChannel, request: StoreRequest, outgoing: Outgoing, meanwhile: Callable[[], None]) -> int:
    """One C-STORE sub-operation, from the request to the status of its response. Closes the object.

    ``meanwhile`` is done when all is sent, and before the response is waited for.

    Raises:
        StorageError: the object could not be read to its end; nothing that makes sense can follow on the channel.
        ProtocolViolation: what came back is not the response.
        And what the channel raises.
    """
    number = request.message_id
    try:
        command = c_store_rq(number, request.sop_class_uid, outgoing.sop_instance_uid, request.originator)
        channel.send(request.context_id, command, outgoing.chunks())
    finally:
        outgoing.close()
    meanwhile()
    response = channel.receive_response(request.context_id)
    if response.field != Field.C_STORE_RSP or response.message_id_being_responded_to != number:
        raise ProtocolViolation("not the response to the sub-operation")
    return response.status


def run(
    channel: Channel, context_id: int, command: CommandSet, retrieval: Retrieval, carrier: Carrier, counted: Counted
) -> bool:
    """All sub-operations of a retrieval, one after the other, with a pending response after each.

    Returns:
        Whether the requestor cancelled before the last.
    """
    # A pending response has its own write only where no object follows it on the association.
    respond = channel.send_with_next if carrier.same_association else channel.send
    for instance, following in _with_the_next(retrieval.instances):
        if channel.cancel_requested(command.message_id):
            retrieval.cancelled()
            return True
        if counted.count(carrier.carry(instance, following), instance.key.sop_instance_uid):
            retrieval.transferred(instance)
        respond(context_id, retrieve_rsp(command, PENDING, counted.counters(with_remaining=True)))
    # Selected, and out of reach by the time they were read: a label came between, or they are gone.
    counted.give_up()
    return False


def _with_the_next(instances: Iterator[StoredInstance]) -> Iterator[tuple[StoredInstance, StoredInstance | None]]:
    instance = next(instances, None)
    while instance is not None:
        following = next(instances, None)
        yield instance, following
        instance = following
