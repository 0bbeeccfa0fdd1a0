"""From a command to the service class provider that takes it, in numbered steps; whatever fits none is refused.

PS3.7 10.1.1 and C: 0211 for an operation that is not offered, 0122 for a SOP class that is not the context's.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from archive.dimse.channel import AcceptedContext, Channel, IncomingData
from archive.dimse.sop_classes import FIND, GET, MOVE, STORAGE, STORAGE_COMMITMENT, VERIFICATION
from archive.dimse.status import SOP_CLASS_NOT_SUPPORTED, UNRECOGNIZED_OPERATION
from archive.errors import ProtocolViolation
from archive.upper_layer.commands import CommandSet, Field, failure_rsp
from archive.upper_layer.limits import Limits
from storage.errors import InvalidIdentifier


class Provider(Protocol):
    """A service class provider."""

    def handle(
        self, channel: Channel, context: AcceptedContext, command: CommandSet, data: IncomingData | None
    ) -> None:
        """Serve one request to its final response."""


@dataclass(frozen=True, slots=True)
class _Route:
    provider: Provider
    sop_classes: Collection[str]


class ServiceDispatcher:
    """Knows the providers (implements `archive.dimse.channel.Dispatcher`)."""

    def __init__(
        self,
        *,
        verification: Provider,
        storage: Provider,
        query: Provider,
        get: Provider,
        move: Provider,
        commitment: Provider,
        limits: Limits,
        storage_classes: frozenset[str] = STORAGE,
    ) -> None:
        """``storage_classes``: those whose objects are kept."""
        self._limits = limits
        self._routes: dict[int, _Route] = {
            Field.C_ECHO_RQ: _Route(verification, frozenset({VERIFICATION})),
            Field.C_STORE_RQ: _Route(storage, storage_classes),
            Field.C_FIND_RQ: _Route(query, FIND),
            Field.C_GET_RQ: _Route(get, GET),
            Field.C_MOVE_RQ: _Route(move, MOVE),
            Field.N_ACTION_RQ: _Route(commitment, frozenset({STORAGE_COMMITMENT})),
        }

    def handle(
        self, channel: Channel, context: AcceptedContext, command: CommandSet, data: IncomingData | None
    ) -> None:
        """Serve one request to its final response.

        Raises:
            ProtocolViolation: a response that answers nothing.
        """
        # 1 A C-CANCEL for an operation that is over already is legal and means nothing (PS3.7 9.3.2.3).
        if command.field == Field.C_CANCEL_RQ:
            return
        # 2 We have asked for nothing outside a retrieval.
        if not command.is_request:
            raise ProtocolViolation("a response that answers nothing")
        # 3 An operation that is offered, in a context of its SOP classes, by a requestor that is their SCU.
        route = self._routes.get(command.field)
        if route is None or not context.scu_role:
            self._refuse(channel, context, command, data, UNRECOGNIZED_OPERATION, "operation not offered")
        elif context.abstract_syntax not in route.sop_classes:
            self._refuse(channel, context, command, data, SOP_CLASS_NOT_SUPPORTED, "not with this SOP class")
        # 4 The SOP class of the context (PS3.7 9.1); the storage provider checks, and audits, this itself.
        elif command.field != Field.C_STORE_RQ and _sop_class(command) != context.abstract_syntax:
            self._refuse(channel, context, command, data, SOP_CLASS_NOT_SUPPORTED, "not the context's SOP class")
        else:
            route.provider.handle(channel, context, command, data)

    def _refuse(
        self,
        channel: Channel,
        context: AcceptedContext,
        command: CommandSet,
        data: IncomingData | None,
        status: int,
        comment: str,
    ) -> None:
        if data is not None:
            data.limit(self._limits.data_set_bytes)
            data.drain()
        channel.send(context.context_id, failure_rsp(command, status, comment))


def _sop_class(command: CommandSet) -> str | None:
    requested = command.field == Field.N_ACTION_RQ
    try:
        return command.requested_sop_class_uid if requested else command.affected_sop_class_uid
    except InvalidIdentifier:
        return None
