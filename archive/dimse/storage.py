"""The Storage SCP (PS3.4 Annex B, PS3.7 9.1.1): fragments to the service as they come, and the status at the end.

A refused object does not end the association: the rest of its data set is read and forgotten, within the same budget
as a good one, and the coded status follows.
"""

from archive.dimse.channel import AcceptedContext, Channel, IncomingData
from archive.dimse.status import ANSWERED, CANNOT_UNDERSTAND, SOP_CLASS_NOT_SUPPORTED, SUCCESS, Service, refusal
from archive.errors import CommandRefused
from archive.services.store import StoreService
from archive.session import AssociationSession
from archive.upper_layer.commands import CommandSet, c_store_rsp
from archive.upper_layer.limits import Limits
from storage.errors import InvalidIdentifier
from storage.instance import DeclaredInstance


class StorageProvider:
    """Takes C-STORE requests."""

    def __init__(self, service: StoreService, limits: Limits) -> None:
        self._service = service
        self._limits = limits

    def handle(
        self, channel: Channel, context: AcceptedContext, command: CommandSet, data: IncomingData | None
    ) -> None:
        """Serve one C-STORE-RQ."""
        try:
            self._take(channel.session, context, command, data)
            response = c_store_rsp(command, SUCCESS)
        except ANSWERED as error:
            if data is not None:
                data.drain()
            refused = refusal(error, Service.STORE)
            response = c_store_rsp(command, refused.status, refused.comment)
        channel.send(context.context_id, response)

    def _take(
        self, session: AssociationSession, context: AcceptedContext, command: CommandSet, data: IncomingData | None
    ) -> None:
        if data is not None:
            data.limit(self._limits.data_set_bytes)
        try:
            declared, fragments = _announced(context, command, data)
        except (InvalidIdentifier, CommandRefused) as error:
            self._service.refused(session, None, str(error))
            raise
        incoming = self._service.begin(session, declared)
        try:
            for fragment in fragments:
                incoming.write(fragment)
            incoming.finish()
        finally:
            # Only where the data set never came to its end: the peer is gone, or broke the protocol.
            incoming.abandon()


def _announced(
    context: AcceptedContext, command: CommandSet, data: IncomingData | None
) -> tuple[DeclaredInstance, IncomingData]:
    """What is coming: of the SOP class of its context (PS3.7 9.1.1.1), under a UID that is one (0117)."""
    if data is None:
        raise CommandRefused(CANNOT_UNDERSTAND, "C-STORE without a data set")
    try:
        sop_class = command.affected_sop_class_uid
    except InvalidIdentifier:
        raise CommandRefused(SOP_CLASS_NOT_SUPPORTED, "no Affected SOP Class UID") from None
    if sop_class != context.abstract_syntax:
        raise CommandRefused(SOP_CLASS_NOT_SUPPORTED, "not the SOP class of the presentation context")
    return DeclaredInstance(sop_class, command.affected_sop_instance_uid, context.transfer_syntax), data
