"""The Storage Commitment Push SCP (PS3.4 J): a request by N-ACTION, and its result by N-EVENT-REPORT, later.

The answer to the N-ACTION says that the request is kept, and nothing of the objects. The result is told on the same
association, between two requests, where the node's registration says so and the association is still there; else, and
for as long as nobody takes it, on one that we open (`archive.dimse.results`).
"""

from typing import Final, Protocol

from archive.dimse.channel import AcceptedContext, Channel, IncomingData
from archive.dimse.commitment_messages import decode_action
from archive.dimse.query import read_identifier
from archive.dimse.status import ANSWERED, Service, refusal
from archive.errors import CommandRefused
from archive.services.commitment import CommitmentService
from archive.upper_layer.commands import CommandSet, n_action_rsp
from archive.upper_layer.limits import Limits
from storage.errors import InvalidIdentifier

INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""The well-known instance of the class (PS3.4 J.3.5)."""
REQUEST_COMMITMENT: Final = 1
NO_SUCH_INSTANCE, NO_SUCH_ACTION = 0x0112, 0x0123


class ResultDelivery(Protocol):
    """Who finds and tells the results (`archive.dimse.results.ResultDeliverer`)."""

    def asked(self, key: int, channel: Channel, context: AcceptedContext) -> None:
        """A request was taken; its result may go back on this association, in this context."""


class CommitmentProvider:
    """Takes N-ACTION requests for storage commitment."""

    def __init__(self, service: CommitmentService, delivery: ResultDelivery, limits: Limits) -> None:
        self._service = service
        self._delivery = delivery
        self._limits = limits

    def handle(
        self, channel: Channel, context: AcceptedContext, command: CommandSet, data: IncomingData | None
    ) -> None:
        """Take one request, or say why not."""
        information = read_identifier(data, self._limits)
        key: int | None = None
        try:
            key = self._take(channel, context, command, information)
            response = n_action_rsp(command, 0)
        except ANSWERED as error:
            refused = refusal(error, Service.ACTION)
            response = n_action_rsp(command, refused.status, refused.comment)
        channel.send(context.context_id, response)
        if key is not None:
            self._delivery.asked(key, channel, context)

    def _take(self, channel: Channel, context: AcceptedContext, command: CommandSet, information: bytes) -> int:
        try:
            instance = command.requested_sop_instance_uid
        except InvalidIdentifier:
            instance = None
        if instance != INSTANCE:
            raise CommandRefused(NO_SUCH_INSTANCE, "not the instance of this SOP class")
        if command.action_type_id != REQUEST_COMMITMENT:
            raise CommandRefused(NO_SUCH_ACTION, "no such action")
        transaction, references = decode_action(information, context.transfer_syntax)
        return self._service.ask(channel.session, context.abstract_syntax, transaction, references)
