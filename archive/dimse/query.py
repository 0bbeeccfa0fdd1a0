"""The Query SCP (PS3.4 C.4.1, PS3.7 9.1.2): an identifier in, pending responses and a final one out."""

from collections.abc import Sequence
from typing import Final

from archive.dimse.channel import AcceptedContext, Channel, IncomingData
from archive.dimse.extended import query_options
from archive.dimse.identifier import CHARACTER_SET, decode_identifier
from archive.dimse.response import INSTANCE_AVAILABILITY, ResponseWriter
from archive.dimse.sop_classes import FIND, HIERARCHICAL_FIND
from archive.dimse.status import (
    ANSWERED,
    CANCELLED,
    PENDING,
    PENDING_KEYS_MISSING,
    SUCCESS,
    Service,
    refusal,
)
from archive.services.query import Asked, QueryService
from archive.upper_layer.commands import CommandSet, c_find_rsp
from archive.upper_layer.limits import Limits
from storage.errors import StorageError
from storage.index.sequences import QueryKey
from storage.transfer_syntax import transfer_syntax

RESPONSES_BETWEEN_LOOKS: Final = 100
"""How many pending responses go out, in one write, before a C-CANCEL is looked for again."""


class QueryProvider:
    """Answers C-FIND requests."""

    def __init__(self, service: QueryService, ae_title: str, limits: Limits) -> None:
        """``ae_title``: ours, the Retrieve AE Title (0008,0054) of every response."""
        self._service = service
        self._ae_title = ae_title
        self._limits = limits

    def handle(
        self, channel: Channel, context: AcceptedContext, command: CommandSet, data: IncomingData | None
    ) -> None:
        """Serve one C-FIND-RQ to its final response."""
        identifier = read_identifier(data, self._limits)
        try:
            final = c_find_rsp(command, self._answer(channel, context, command, identifier))
        except ANSWERED as error:
            refused = refusal(error, Service.FIND)
            final = c_find_rsp(command, refused.status, error_comment=refused.comment)
        channel.send(context.context_id, final)

    def _answer(self, channel: Channel, context: AcceptedContext, command: CommandSet, identifier: bytes) -> int:
        """Send the pending responses; the final status."""
        session = channel.session
        syntax = transfer_syntax(context.transfer_syntax)
        asked = Asked(context.abstract_syntax, syntax.uid, identifier)
        try:
            keys = decode_identifier(identifier, syntax)
        except StorageError as error:
            self._service.refused(session, asked, str(error))
            raise
        options = query_options(context.extended)
        answer = self._service.find(session, asked, FIND[context.abstract_syntax], keys, options)
        writer = ResponseWriter(
            syntax,
            level=answer.level.value if context.abstract_syntax in HIERARCHICAL_FIND else None,
            retrieve_ae_title=self._ae_title,
            returned=answer.returned,
            values=answer.values,
            online=any(key.tag == INSTANCE_AVAILABILITY for key in keys),
            character_set=next((key.value or "" for key in keys if key.tag == CHARACTER_SET), "").encode(
                "ascii", "replace"
            ),
        )
        status = PENDING_KEYS_MISSING if answer.optional_keys_missing else PENDING
        pending = c_find_rsp(command, status, has_identifier=True)
        for page in answer.pages:
            for start in range(0, len(page), RESPONSES_BETWEEN_LOOKS):
                if channel.cancel_requested(command.message_id):
                    return CANCELLED
                run = page[start : start + RESPONSES_BETWEEN_LOOKS]
                channel.send_repeated(context.context_id, pending, map(writer.encode, run))
        return SUCCESS


def _character_set(keys: Sequence[QueryKey]) -> bytes:
    """Specific Character Set of a request, empty if it has none."""
    terms = next((key.value or "" for key in keys if key.tag == CHARACTER_SET), "")
    return terms.encode("ascii", "replace")


def read_identifier(data: IncomingData | None, limits: Limits) -> bytes:
    """A whole identifier; empty, which no level accepts, where there is none.

    More than ``identifier_bytes`` ends the association (`LimitExceeded`).
    """
    if data is None:
        return b""
    data.limit(limits.identifier_bytes, "identifier_bytes")
    gathered = bytearray()
    for fragment in data:
        gathered += fragment
    return bytes(gathered)
