"""The Retrieve SCP by C-GET (PS3.4 C.4.3, PS3.7 9.1.3): objects as C-STORE sub-operations on the same association.

The counters are exact: every object that was selected is counted once as completed, warning or failed, Remaining is in
pending and cancelled responses only, and a failed object's UID is in the final identifier unless all went well.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from archive.dimse.channel import AcceptedContext, Channel, IncomingData
from archive.dimse.identifier import decode_identifier, failed_instances
from archive.dimse.query import read_identifier
from archive.dimse.sop_classes import GET
from archive.dimse.status import (
    ANSWERED,
    CANCELLED,
    PENDING,
    SUB_OPERATIONS_FAILED_ALL,
    SUB_OPERATIONS_FAILED_SOME,
    SUCCESS,
    Service,
    is_warning,
    refusal,
)
from archive.errors import ProtocolViolation, TransferBroken
from archive.services.query import Asked
from archive.services.retrieve import Retrieval, RetrieveService
from archive.upper_layer.commands import CommandSet, Field, SubOperations, c_get_rsp, c_store_rq
from archive.upper_layer.limits import Limits
from auth.errors import AuthError
from storage.errors import StorageError
from storage.instance import StoredInstance
from storage.transfer_syntax import transfer_syntax


class RetrieveProvider:
    """Answers C-GET requests."""

    def __init__(self, service: RetrieveService, limits: Limits) -> None:
        self._service = service
        self._limits = limits

    def handle(
        self, channel: Channel, context: AcceptedContext, command: CommandSet, data: IncomingData | None
    ) -> None:
        """Serve one C-GET-RQ to its final response."""
        identifier = read_identifier(data, self._limits)
        counted = _Counted()
        failed: bytes | None = None
        try:
            with self._select(channel, context, identifier) as retrieval:
                counted.total = retrieval.total
                cancelled = _Transfer(channel, context, command, retrieval, counted).run()
            # Only now, with what left in the audit, is the requestor told how it went.
            status = CANCELLED if cancelled else counted.final_status()
            counters = counted.counters(with_remaining=cancelled)
            if counted.failed_uids and status != SUCCESS:
                failed = failed_instances(counted.failed_uids, transfer_syntax(context.transfer_syntax))
            final = c_get_rsp(command, status, counters, has_identifier=failed is not None)
        except ANSWERED as error:
            refused = refusal(error, Service.GET)
            counted.give_up()
            final = c_get_rsp(command, refused.status, counted.counters(), error_comment=refused.comment)
        channel.send(context.context_id, final, None if failed is None else [failed])

    def _select(self, channel: Channel, context: AcceptedContext, identifier: bytes) -> Retrieval:
        session, syntax = channel.session, transfer_syntax(context.transfer_syntax)
        asked = Asked(context.abstract_syntax, syntax.uid, identifier)
        try:
            keys = decode_identifier(identifier, syntax)
        except StorageError as error:
            self._service.refused(session, asked, str(error))
            raise
        return self._service.select(session, asked, GET[context.abstract_syntax], keys)


@dataclass(slots=True)
class _Counted:
    """The sub-operations of one C-GET."""

    total: int = 0
    completed: int = 0
    warning: int = 0
    failed: int = 0
    failed_uids: list[str] = field(default_factory=list)

    @property
    def remaining(self) -> int:
        """Those that are still to come."""
        return self.total - self.completed - self.warning - self.failed

    def give_up(self) -> None:
        """What has not been sent will not be."""
        self.failed += self.remaining

    def counters(self, *, with_remaining: bool = False) -> SubOperations:
        """As a response tells them (PS3.7 9.3.3.2)."""
        return SubOperations(self.completed, self.failed, self.warning, self.remaining if with_remaining else None)

    def final_status(self) -> int:
        """PS3.4 Table C.4-3: all, some or none of the sub-operations went well."""
        if not self.failed and not self.warning:
            return SUCCESS
        if not self.completed and not self.warning:
            return SUB_OPERATIONS_FAILED_ALL
        return SUB_OPERATIONS_FAILED_SOME


class _Transfer:
    """The sub-operations of one C-GET, one after the other."""

    def __init__(
        self,
        channel: Channel,
        context: AcceptedContext,
        command: CommandSet,
        retrieval: Retrieval,
        counted: _Counted,
    ) -> None:
        self._channel = channel
        self._context = context
        self._command = command
        self._retrieval = retrieval
        self._counted = counted
        self._contexts = _storage_contexts(channel.contexts)
        self._message_id = 0

    def run(self) -> bool:
        """Send every object; whether the requestor cancelled before the last."""
        for instance in self._retrieval.instances:
            if self._channel.cancel_requested(self._command.message_id):
                self._retrieval.cancelled()
                return True
            self._send(instance)
            pending = c_get_rsp(self._command, PENDING, self._counted.counters(with_remaining=True))
            self._channel.send(self._context.context_id, pending)
        # Selected, and out of reach by the time they were read: a label came between, or they are gone.
        self._counted.give_up()
        return False

    def _send(self, instance: StoredInstance) -> None:
        """One sub-operation, counted, and told to the retrieval if the peer has the object."""
        status = self._store(instance)
        if status == SUCCESS:
            self._counted.completed += 1
        elif status is not None and is_warning(status):
            self._counted.warning += 1
        else:
            self._counted.failed += 1
            self._counted.failed_uids.append(instance.key.sop_instance_uid)
            return
        self._retrieval.transferred(instance)

    def _store(self, instance: StoredInstance) -> int | None:
        """The peer's status; None where the object cannot be sent to it at all."""
        key = instance.key
        context_id = self._contexts.get((key.sop_class_uid, instance.transfer_syntax))
        if context_id is None:
            return None
        try:
            outgoing = self._retrieval.open(instance)
        except (StorageError, AuthError):
            return None
        self._message_id = self._message_id % 0xFFFF + 1
        try:
            request = c_store_rq(self._message_id, key.sop_class_uid, outgoing.sop_instance_uid)
            self._channel.send(context_id, request, outgoing.chunks())
        except StorageError as error:
            raise TransferBroken("an object could not be read to its end") from error
        finally:
            outgoing.close()
        response = self._channel.receive_response(context_id)
        if response.field != Field.C_STORE_RSP or response.message_id_being_responded_to != self._message_id:
            raise ProtocolViolation("not the response to the sub-operation")
        return response.status


def _storage_contexts(contexts: Mapping[int, AcceptedContext]) -> dict[tuple[str, str], int]:
    """Where the requestor takes objects: it accepted the SCP role for the class (PS3.7 D.3.3.4), in this syntax."""
    return {
        (context.abstract_syntax, context.transfer_syntax): context.context_id
        for context in contexts.values()
        if context.scp_role
    }
