"""What an A-ASSOCIATE-AC says of services: presentation contexts, each on its own (PS3.8 9.3.3.2), the roles that were
asked for (PS3.7 D.3.3.4), and SOP Class Extended Negotiation (PS3.7 D.3.3.5).

A context is answered in this order:

1. its abstract syntax is none of ours: 3, abstract syntax not supported;
2. none of its transfer syntaxes is one for it: 4, transfer syntaxes not supported;
3. node and person may do nothing in it, whatever the study, before this association ends: 1, user rejection. A storage
   context serves two purposes: objects come, or where the requestor would be SCP, those of a C-GET leave;
4. else it is accepted, in one of them.

Whoever asks for a service and is given no context of it at all was refused, and the audit is told.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from archive.dimse.extended import query_answer, retrieve_answer
from archive.dimse.sop_classes import (
    FIND,
    GET,
    HIERARCHICAL_FIND,
    HIERARCHICAL_RETRIEVE,
    MESSAGES,
    MOVE,
    STORAGE,
    STORAGE_COMMITMENT,
    VERIFICATION,
)
from archive.upper_layer.negotiation import AssociationRequest, ContextResult, ProposedContext
from auth.policy.model import Action
from storage.transfer_syntax import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, acceptable

ACCEPTED, USER_REJECTION, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0, 1, 3, 4
_ACTIONS: Final[Mapping[str, Action]] = {
    VERIFICATION: Action.ECHO,
    STORAGE_COMMITMENT: Action.COMMIT,
    **dict.fromkeys(FIND, Action.QUERY),
    **dict.fromkeys(GET, Action.RETRIEVE),
    **dict.fromkeys(MOVE, Action.MOVE),
}
"""What each service that sends messages is for."""
Ever: TypeAlias = Callable[[Action, str], bool]
"""Whether an action with a SOP class may be permitted at all to whoever asks."""
_MESSAGE_SYNTAXES: Final = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG)
_BIT_PRESERVING: Final = bytes((2, 0, 3, 0, 0, 0))
"""Level 2 (full), signatures bit preserving, no coercion (PS3.4 B.3.1)."""
_FULL: Final = bytes((2, 0, 1, 0, 0, 0))
"""As `_BIT_PRESERVING`, with no promise about signatures."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What is answered."""

    contexts: tuple[ContextResult, ...]
    roles: dict[str, tuple[bool, bool]]
    extended: dict[str, bytes]
    refused: tuple[Action, ...] = ()
    """What was asked for and may never be done: no context of it was accepted."""


class ContextNegotiation:
    """Knows which SOP classes there are. Shared by all connections; thread-safe."""

    def __init__(self, storage: frozenset[str] = STORAGE) -> None:
        """``storage``: the SOP classes whose objects are kept."""
        self._storage = storage

    def agreed(self, request: AssociationRequest, ever: Ever) -> Agreed:
        """The answer to everything that was proposed, to one who may ``ever`` do so much."""
        proposed = [(context, self.result(context)) for context in request.contexts]
        gets = any(
            result.result == ACCEPTED
            and context.abstract_syntax in GET
            and ever(Action.RETRIEVE, context.abstract_syntax)
            for context, result in proposed
        )
        asked: dict[Action, bool] = {}
        results: list[ContextResult] = []
        for context, result in proposed:
            if result.result == ACCEPTED:
                uid = context.abstract_syntax
                scu, scp = request.roles.get(uid, (True, False))
                action = _ACTIONS.get(uid, Action.STORE)
                permitted = (scu and ever(action, uid)) or (scp and uid in self._storage and gets)
                if scu:
                    asked[action] = asked.get(action, False) or permitted
                if not permitted:
                    result = _refused(context, USER_REJECTION)
            results.append(result)
        accepted: dict[str, set[str]] = {}
        for context, result in zip(request.contexts, results, strict=True):
            if result.result == ACCEPTED:
                accepted.setdefault(context.abstract_syntax, set()).add(result.transfer_syntax)
        return Agreed(
            tuple(results),
            self._roles(request.roles, accepted),
            self._extended(request.extended, accepted),
            tuple(action for action, permitted in asked.items() if not permitted),
        )

    def result(self, context: ProposedContext) -> ContextResult:
        """The answer to one proposed presentation context, whoever proposes it."""
        if context.abstract_syntax in self._storage:
            syntax = acceptable(list(context.transfer_syntaxes))
        elif context.abstract_syntax in MESSAGES:
            syntax = next((uid for uid in _MESSAGE_SYNTAXES if uid in context.transfer_syntaxes), None)
        else:
            return _refused(context, NO_ABSTRACT_SYNTAX)
        if syntax is None:
            return _refused(context, NO_TRANSFER_SYNTAX)
        return ContextResult(context.context_id, ACCEPTED, syntax)

    def _roles(
        self, proposed: Mapping[str, tuple[bool, bool]], accepted: Mapping[str, set[str]]
    ) -> dict[str, tuple[bool, bool]]:
        """A requestor may be SCP of storage classes, so that it can take the objects of a C-GET; of nothing else."""
        return {uid: (scu, scp and uid in self._storage) for uid, (scu, scp) in proposed.items() if uid in accepted}

    def _extended(self, offered: Mapping[str, bytes], accepted: Mapping[str, set[str]]) -> dict[str, bytes]:
        """Where it was offered: of storage, with as many bytes as that has (PS3.4 B.3.1), of queries (C.5.1.1) and of
        retrievals (C.5.2.1, C.5.3.1).

        Bit preservation is claimed where every accepted context of the class is explicit VR (PS3.15 A.3).
        """
        answers: dict[str, bytes] = {}
        for uid, offer in offered.items():
            if uid in accepted and uid in self._storage and len(offer) == len(_FULL):
                answers[uid] = _FULL if IMPLICIT_LITTLE in accepted[uid] else _BIT_PRESERVING
            elif uid in accepted and uid in HIERARCHICAL_FIND and offer:
                answers[uid] = query_answer(offer)
            elif uid in accepted and uid in HIERARCHICAL_RETRIEVE and offer:
                answers[uid] = retrieve_answer(offer)
        return answers


def _refused(context: ProposedContext, result: int) -> ContextResult:
    # The transfer syntax of a refused context means nothing, and must not be what an unchecked peer wrote.
    return ContextResult(context.context_id, result, IMPLICIT_LITTLE)
