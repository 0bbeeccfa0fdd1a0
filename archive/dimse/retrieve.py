"""The Retrieve SCPs: C-GET, objects on the same association, and C-MOVE, objects to another node (PS3.4 C.4.2, C.4.3;
PS3.7 9.1.3, 9.1.4).

The identifier of a final response lists the objects that failed, unless all went well (C.4.2.1.4.2, C.4.3.1.3.2).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from archive.dimse.channel import AcceptedContext, Channel, IncomingData
from archive.dimse.delivery import DestinationCarrier
from archive.dimse.extended import is_relational
from archive.dimse.identifier import decode_identifier
from archive.dimse.query import read_identifier
from archive.dimse.requestor import Requestor
from archive.dimse.response import failed_instances
from archive.dimse.sop_classes import GET, MOVE
from archive.dimse.status import ANSWERED, CANCELLED, SUCCESS, Service, refusal
from archive.dimse.sub_operations import Carrier, Counted, StoreContexts, StoreRequest, expecting, opened, run, store
from archive.errors import TransferBroken
from archive.services.query import Asked
from archive.services.retrieval import Retrieval
from archive.services.retrieve import RetrieveService
from archive.upper_layer.commands import CommandSet, retrieve_rsp
from archive.upper_layer.limits import Limits
from storage.errors import StorageError
from storage.index.sequences import QueryKey
from storage.instance import StoredInstance
from storage.transfer_syntax import transfer_syntax


class _RetrieveProvider(ABC):
    """What both services have in common: an identifier in, sub-operations, a final response."""

    _service_name: Service

    def __init__(self, service: RetrieveService, limits: Limits) -> None:
        self._service = service
        self._limits = limits

    def handle(
        self, channel: Channel, context: AcceptedContext, command: CommandSet, data: IncomingData | None
    ) -> None:
        """Serve one request to its final response."""
        identifier = read_identifier(data, self._limits)
        counted = Counted()
        failed: bytes | None = None
        try:
            with self._asked(channel, context, command, identifier) as retrieval:
                counted.total = retrieval.total
                carrier = self._carrier(channel, command, retrieval)
                orderly = False
                try:
                    cancelled = run(channel, context.context_id, command, retrieval, carrier, counted)
                    orderly = True
                finally:
                    carrier.close(orderly=orderly)
            # Only now, with what left in the audit, is the requestor told how it went.
            status = CANCELLED if cancelled else counted.final_status()
            counters = counted.counters(with_remaining=cancelled)
            if counted.failed_uids and status != SUCCESS:
                failed = failed_instances(counted.failed_uids, transfer_syntax(context.transfer_syntax))
            final = retrieve_rsp(command, status, counters, has_identifier=failed is not None)
        except ANSWERED as error:
            refused = refusal(error, self._service_name)
            counted.give_up()
            final = retrieve_rsp(command, refused.status, counted.counters(), error_comment=refused.comment)
        channel.send(context.context_id, final, None if failed is None else [failed])

    def _asked(self, channel: Channel, context: AcceptedContext, command: CommandSet, identifier: bytes) -> Retrieval:
        session, syntax = channel.session, transfer_syntax(context.transfer_syntax)
        asked = Asked(context.abstract_syntax, syntax.uid, identifier)
        try:
            keys = decode_identifier(identifier, syntax)
        except StorageError as error:
            self._service.refused(session, asked, str(error))
            raise
        return self._select(channel, asked, command, keys, relational=is_relational(context.extended))

    @abstractmethod
    def _select(
        self, channel: Channel, asked: Asked, command: CommandSet, keys: Sequence[QueryKey], *, relational: bool
    ) -> Retrieval:
        """What is asked for. Raises one of `ANSWERED`."""

    @abstractmethod
    def _carrier(self, channel: Channel, command: CommandSet, retrieval: Retrieval) -> Carrier:
        """What takes the objects to where they go."""


class GetProvider(_RetrieveProvider):
    """Answers C-GET requests."""

    _service_name = Service.GET

    def _select(
        self, channel: Channel, asked: Asked, command: CommandSet, keys: Sequence[QueryKey], *, relational: bool
    ) -> Retrieval:
        return self._service.select(channel.session, asked, GET[asked.sop_class], keys, relational=relational)

    def _carrier(self, channel: Channel, command: CommandSet, retrieval: Retrieval) -> Carrier:
        return _SameAssociation(channel, retrieval)


class MoveProvider(_RetrieveProvider):
    """Answers C-MOVE requests."""

    _service_name = Service.MOVE

    def __init__(self, service: RetrieveService, requestor: Requestor, ae_title: str, limits: Limits) -> None:
        """``ae_title``: ours, by which destinations know us."""
        super().__init__(service, limits)
        self._requestor = requestor
        self._ae_title = ae_title

    def _select(
        self, channel: Channel, asked: Asked, command: CommandSet, keys: Sequence[QueryKey], *, relational: bool
    ) -> Retrieval:
        model, destination = MOVE[asked.sop_class], command.move_destination
        return self._service.select_for(channel.session, asked, model, keys, destination, relational=relational)

    def _carrier(self, channel: Channel, command: CommandSet, retrieval: Retrieval) -> Carrier:
        originator = (channel.session.calling_ae, command.message_id)
        return DestinationCarrier(self._requestor, retrieval, self._ae_title, originator)


class _SameAssociation:
    """Carries the objects of a C-GET back to the requestor."""

    same_association = True

    def __init__(self, channel: Channel, retrieval: Retrieval) -> None:
        self._channel = channel
        self._retrieval = retrieval
        self._contexts = StoreContexts.of_requestor(channel.contexts)
        self._message_id = 0

    def carry(self, instance: StoredInstance, following: StoredInstance | None) -> int | None:
        """See `Carrier.carry`."""
        found = opened(self._retrieval, self._contexts, instance)
        if found is None:
            return None
        context_id, outgoing = found
        self._message_id = self._message_id % 0xFFFF + 1
        request = StoreRequest(context_id, self._message_id, instance.key.sop_class_uid)
        try:
            return store(self._channel, request, outgoing, expecting(self._retrieval, self._contexts, following))
        except StorageError as error:
            raise TransferBroken("an object could not be read to its end") from error

    def close(self, *, orderly: bool) -> None:
        """The association is the requestor's: nothing to do."""
