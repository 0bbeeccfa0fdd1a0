"""The objects of a C-MOVE on their way to another node, over associations that we open.

What is proposed follows from what was selected: for each SOP class the transfer syntaxes that its objects are kept in,
and those they convert to without loss. An association has room for 128 contexts (PS3.8 9.3.2.2); kinds of objects
beyond that have another association.
"""

from collections.abc import Iterable
from typing import Final

import structlog

from archive.dimse.requestor import RequestedAssociation, Requestor
from archive.dimse.sub_operations import StoreContexts, StoreRequest, expecting, opened, store
from archive.errors import NodeUnreachable, ProtocolViolation
from archive.services.destinations import Destination
from archive.services.retrieval import Retrieval
from archive.upper_layer.negotiation import ProposedContext
from archive.upper_layer.requesting import Proposal
from storage.errors import StorageError
from storage.instance import StoredInstance
from storage.transfer_syntax import ways_out

KINDS_PER_ASSOCIATION: Final = 64
"""Each kind asks for two contexts at most."""
MOST_LOSSES: Final = 2
"""Associations lost one after the other, without an object getting through, before the rest is given up."""
_Kind = tuple[str, str]
_log = structlog.get_logger("strongroom.delivery")


class DestinationCarrier:
    """Carries objects to a destination (implements `archive.dimse.sub_operations.Carrier`)."""

    same_association = False

    def __init__(self, requestor: Requestor, retrieval: Retrieval, ae_title: str, originator: tuple[str, int]) -> None:
        """``originator``: AE title and message id of the C-MOVE, told with every object (PS3.7 9.3.1.1)."""
        if retrieval.destination is None:
            raise ValueError("a retrieval for whoever asks has no destination")
        self._requestor = requestor
        self._retrieval = retrieval
        self._destination: Destination = retrieval.destination
        self._ae_title = ae_title
        self._originator = originator
        kinds = sorted(retrieval.kinds)
        self._group_of = {kind: number // KINDS_PER_ASSOCIATION for number, kind in enumerate(kinds)}
        self._open: dict[int, _Line] = {}
        self._losses = 0

    def carry(self, instance: StoredInstance, following: StoredInstance | None) -> int | None:
        """See `Carrier.carry`. A destination that cannot be reached fails this object, and in the end all others."""
        if self._losses >= MOST_LOSSES:
            return None
        group = self._group_of.get((instance.key.sop_class_uid, instance.transfer_syntax))
        if group is None:
            # It was stored after the selection was made, and nobody proposed its kind.
            return None
        try:
            status = self._line(group).carry(self._retrieval, instance, following)
        except NodeUnreachable as error:
            self._lost(group, str(error))
            return None
        if status is not None:
            self._losses = 0
        return status

    def close(self, *, orderly: bool) -> None:
        """See `Carrier.close`."""
        for line in self._open.values():
            line.association.close(orderly=orderly)
        self._open.clear()

    def _line(self, group: int) -> "_Line":
        line = self._open.get(group)
        if line is None:
            kinds = [kind for kind, number in self._group_of.items() if number == group]
            contexts = contexts_for(kinds)
            proposal = Proposal(self._destination.ae_title, self._ae_title, contexts)
            try:
                association = self._requestor.associate(self._destination.node, proposal)
            except NodeUnreachable:
                # Nobody there, or nobody who wants us: no other object would fare better.
                self._losses = MOST_LOSSES
                raise
            line = self._open[group] = _Line(association, contexts, self._originator)
        return line

    def _lost(self, group: int, reason: str) -> None:
        self._losses += 1
        self._open.pop(group, None)
        _log.warning("move destination", node=self._destination.node.identity.name, reason=reason)
        self._retrieval.unreachable(reason)


class _Line:
    """One association to the destination."""

    def __init__(
        self, association: RequestedAssociation, proposed: Iterable[ProposedContext], originator: tuple[str, int]
    ) -> None:
        self.association = association
        self._originator = originator
        self._message_id = 0
        classes = {context.context_id: context.abstract_syntax for context in proposed}
        self._contexts = StoreContexts(
            {(classes[number], syntax): number for number, syntax in association.contexts.items()}
        )

    def carry(self, retrieval: Retrieval, instance: StoredInstance, following: StoredInstance | None) -> int | None:
        """Send one object. Raises `NodeUnreachable`; the association is gone then."""
        found = opened(retrieval, self._contexts, instance)
        if found is None:
            return None
        context_id, outgoing = found
        self._message_id = self._message_id % 0xFFFF + 1
        request = StoreRequest(context_id, self._message_id, instance.key.sop_class_uid, self._originator)
        try:
            return store(self.association, request, outgoing, expecting(retrieval, self._contexts, following))
        except (StorageError, ProtocolViolation) as error:
            self.association.close(orderly=False)
            raise NodeUnreachable("a sub-operation could not be brought to its end") from error


def contexts_for(kinds: Iterable[_Kind]) -> tuple[ProposedContext, ...]:
    """What is proposed for objects of these kinds: the syntax they are kept in, and apart from it what they become."""
    wanted: list[tuple[str, tuple[str, ...]]] = []
    for sop_class, stored in kinds:
        wanted.append((sop_class, (stored,)))
        converted = ways_out(stored)
        if converted:
            wanted.append((sop_class, converted))
    return tuple(
        ProposedContext(2 * number + 1, sop_class, syntaxes) for number, (sop_class, syntaxes) in enumerate(wanted)
    )
