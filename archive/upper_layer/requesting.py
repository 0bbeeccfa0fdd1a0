"""The requestor's half of negotiation: an A-ASSOCIATE-RQ as bytes, an A-ASSOCIATE-AC as a typed value. Pure.

What a peer answers is held to what was proposed: it may accept less, and nothing else (PS3.8 9.3.3, PS3.7 D.3.3.4).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from archive.upper_layer.items import (
    ABSTRACT_SYNTAX,
    APPLICATION_CONTEXT_ITEM,
    CONTEXT_RESULT,
    FIXED_BYTES,
    IMPLEMENTATION_CLASS,
    IMPLEMENTATION_VERSION_NAME,
    MAXIMUM_LENGTH,
    PROPOSED_CONTEXT,
    ROLE_SELECTION,
    SOP_EXTENDED,
    TRANSFER_SYNTAX,
    USER_INFORMATION,
    Items,
    exactly,
    item,
    once,
    pdu,
    prefixed,
    role_selection,
    uid_before,
    uid_of,
    wrong,
)
from archive.upper_layer.limits import Limits
from archive.upper_layer.negotiation import (
    APPLICATION_CONTEXT,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION,
    ProposedContext,
)

_UNSIGNED_LONG: Final = struct.Struct(">L")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What an A-ASSOCIATE-RQ of ours says."""

    called_ae: str
    calling_ae: str
    contexts: tuple[ProposedContext, ...]
    """At most 128, with odd identifiers."""
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    """By SOP class: whether we propose to be SCU, SCP; a class that is not here has us as its SCU."""
    extended: Mapping[str, bytes] = field(default_factory=dict)
    """By SOP class: service class application information (56H)."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What an A-ASSOCIATE-AC says."""

    contexts: Mapping[int, str]
    """Accepted presentation contexts: identifier to transfer syntax, which is one of those proposed for it."""
    max_pdu: int
    """The longest P-DATA-TF that the peer takes, without its header; 0: no limit."""
    roles: Mapping[str, tuple[bool, bool]]
    """By SOP class: our roles as SCU and SCP, as they were accepted; never more than was proposed."""


def encode_request(proposal: Proposal, max_pdu: int) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2); ``max_pdu`` is the longest P-DATA-TF that we take."""
    contexts = b"".join(_context(context) for context in proposal.contexts)
    information = (
        item(MAXIMUM_LENGTH, _UNSIGNED_LONG.pack(max_pdu))
        + item(IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID.encode())
        + b"".join(item(ROLE_SELECTION, prefixed(uid) + bytes(roles)) for uid, roles in sorted(proposal.roles.items()))
        + item(IMPLEMENTATION_VERSION_NAME, IMPLEMENTATION_VERSION.encode())
        + b"".join(item(SOP_EXTENDED, prefixed(uid) + data) for uid, data in sorted(proposal.extended.items()))
    )
    titles = f"{proposal.called_ae:<16}{proposal.calling_ae:<16}".encode("ascii")
    body = (
        struct.pack(">H2x", 1)
        + titles
        + bytes(32)
        + item(APPLICATION_CONTEXT_ITEM, APPLICATION_CONTEXT.encode())
        + contexts
        + item(USER_INFORMATION, information)
    )
    return pdu(1, body)


def parse_associate_accept(body: bytes, proposal: Proposal, limits: Limits) -> Acceptance:
    """Read an A-ASSOCIATE-AC, without its six-byte header, as the answer to a proposal.

    The titles it repeats are not tested (PS3.8 Table 9-17), nor are items of unknown types (9.3.1).

    Raises:
        ProtocolViolation: it is not one, or it accepts what was not proposed.
        LimitExceeded: more items than ``items``.
    """
    if len(body) < FIXED_BYTES:
        raise wrong("an A-ASSOCIATE-AC is too short")
    items = Items(body, limits)
    proposed = {context.context_id: context for context in proposal.contexts}
    accepted: dict[int, str] = {}
    answered: set[int] = set()
    information: list[tuple[int, int]] = []
    for kind, start, end in items.within(FIXED_BYTES, len(body)):
        if kind == CONTEXT_RESULT:
            number, syntax = _result(items, start, end)
            if number in answered or number not in proposed:
                raise wrong("a presentation context is answered twice, or was not proposed")
            answered.add(number)
            if syntax is not None:
                if syntax not in proposed[number].transfer_syntaxes:
                    raise wrong("a transfer syntax was accepted that was not proposed")
                accepted[number] = syntax
        elif kind == USER_INFORMATION:
            information.append((start, end))
    if len(information) != 1:
        raise wrong("an A-ASSOCIATE-AC lacks or repeats its user information")
    max_pdu, roles = _information(items, *information[0])
    for uid, (scu, scp) in roles.items():
        most_scu, most_scp = proposal.roles.get(uid, (False, False))
        if scu > most_scu or scp > most_scp:
            raise wrong("a role was accepted that was not proposed")
    return Acceptance(MappingProxyType(accepted), max_pdu, MappingProxyType(roles))


def _context(context: ProposedContext) -> bytes:
    syntaxes = b"".join(item(TRANSFER_SYNTAX, uid.encode()) for uid in context.transfer_syntaxes)
    abstract = item(ABSTRACT_SYNTAX, context.abstract_syntax.encode())
    return item(PROPOSED_CONTEXT, bytes((context.context_id, 0, 0, 0)) + abstract + syntaxes)


def _result(items: Items, start: int, end: int) -> tuple[int, str | None]:
    """A presentation context item of the answer (PS3.8 9.3.3.2): its identifier, and the syntax if it was accepted."""
    if end - start < 4:
        raise wrong("a presentation context is too short")
    number, result = items.body[start], items.body[start + 2]
    syntaxes = [
        items.body[begin:finish] for kind, begin, finish in items.within(start + 4, end) if kind == TRANSFER_SYNTAX
    ]
    if result:
        # The transfer syntax of a refused context is not significant, and often is not one.
        return number, None
    if len(syntaxes) != 1:
        raise wrong("an accepted presentation context lacks or repeats its transfer syntax")
    return number, uid_of(syntaxes[0])


def _information(items: Items, start: int, end: int) -> tuple[int, dict[str, tuple[bool, bool]]]:
    max_pdu = 0
    roles: dict[str, tuple[bool, bool]] = {}
    for kind, begin, finish in items.within(start, end):
        data = items.body[begin:finish]
        if kind == MAXIMUM_LENGTH:
            (max_pdu,) = exactly(_UNSIGNED_LONG, data)
        elif kind == ROLE_SELECTION:
            once(roles, *role_selection(data))
        elif kind == SOP_EXTENDED:
            uid_before(data)
    return max_pdu, roles
