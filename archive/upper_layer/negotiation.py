"""A-ASSOCIATE items (PS3.8 9.3, PS3.7 Annex D) as typed values, and the answers as bytes. Pure.

Every length is checked where it is read, and read once: the bytes come before any authentication, so there is no
second reader to disagree with. pynetdicom's codecs are the other end in the tests, both ways; here they would skip
over lengths that lie, refuse items that PS3.8 9.3.1 says to skip, and print what the peer sent.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from archive.errors import LimitExceeded
from archive.upper_layer.framing import INVALID_PARAMETER
from archive.upper_layer.items import (
    ABSTRACT_SYNTAX,
    APPLICATION_CONTEXT_ITEM,
    ASYNCHRONOUS_WINDOW,
    CONTEXT_RESULT,
    FIXED_BYTES,
    IDENTITY_RESPONSE,
    IMPLEMENTATION_CLASS,
    IMPLEMENTATION_VERSION_NAME,
    MAXIMUM_LENGTH,
    PROPOSED_CONTEXT,
    ROLE_SELECTION,
    SOP_COMMON_EXTENDED,
    SOP_EXTENDED,
    TRANSFER_SYNTAX,
    USER_IDENTITY,
    USER_INFORMATION,
    Items,
    exactly,
    item,
    once,
    pdu,
    prefixed,
    prefixed_field,
    role_selection,
    text_of,
    uid_before,
    uid_of,
    wrong,
)
from archive.upper_layer.limits import Limits

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID: Final = "2.25.186718270316042106203719830414412170419"
IMPLEMENTATION_VERSION: Final = "STRONGROOM_0_1"

_AT_MOST_ONE: Final = frozenset(
    {MAXIMUM_LENGTH, IMPLEMENTATION_CLASS, ASYNCHRONOUS_WINDOW, IMPLEMENTATION_VERSION_NAME, USER_IDENTITY}
)
_UNSIGNED_LONG: Final = struct.Struct(">L")


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """One presentation context as proposed (PS3.8 9.3.2.2)."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UserIdentityItem:
    """Sub-item 58H (PS3.7 D.3.3.7.1). The fields are secrets and never shown."""

    identity_type: int
    positive_response_requested: bool
    primary: bytes = field(repr=False)
    secondary: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """An A-ASSOCIATE-RQ."""

    protocol_version: int
    called_ae: str
    calling_ae: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    max_pdu: int
    """The longest P-DATA-TF the requestor takes, without its header; 0: no limit (PS3.8 D.1)."""
    implementation_class_uid: str
    implementation_version: str
    user_identity: UserIdentityItem | None
    roles: Mapping[str, tuple[bool, bool]]
    """By SOP class: whether the requestor proposes to be SCU, SCP (54H)."""
    extended: Mapping[str, bytes]
    """By SOP class: service class application information (56H)."""
    titles: bytes = field(repr=False)
    """Bytes 5 to 68, returned in the A-ASSOCIATE-AC as they came (PS3.8 Table 9-17)."""


@dataclass(frozen=True, slots=True)
class ContextResult:
    """The answer to one proposed context: 0 acceptance, 1 user rejection, 3 abstract, 4 transfer syntaxes refused."""

    context_id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class AssociationAnswer:
    """What an A-ASSOCIATE-AC says."""

    contexts: tuple[ContextResult, ...]
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    user_identity_response: bytes | None = None
    """The server response of 59H; None: no such item."""
    extended: Mapping[str, bytes] = field(default_factory=dict)


def parse_associate_request(body: bytes, limits: Limits) -> AssociationRequest:
    """Read an A-ASSOCIATE-RQ, without its six-byte header.

    Items of types that PS3.8 and PS3.7 do not know are skipped (PS3.8 9.3.1); the length of every other must be right.

    Raises:
        ProtocolViolation: it is not one.
        LimitExceeded: more items or contexts than ``items`` or ``presentation_contexts``.
    """
    if len(body) < FIXED_BYTES:
        raise wrong("an A-ASSOCIATE-RQ is too short")
    items = Items(body, limits)
    application: list[str] = []
    contexts: dict[int, ProposedContext] = {}
    information: list[_UserInformation] = []
    for kind, start, end in items.within(FIXED_BYTES, len(body)):
        if kind == APPLICATION_CONTEXT_ITEM:
            application.append(uid_of(body[start:end]))
        elif kind == PROPOSED_CONTEXT:
            if len(contexts) == limits.presentation_contexts:
                raise LimitExceeded(
                    f"more than presentation_contexts ({limits.presentation_contexts})",
                    abort_reason=INVALID_PARAMETER,
                    limit="presentation_contexts",
                )
            context = _proposed(items, start, end)
            if context.context_id in contexts:
                raise wrong("a presentation context id is repeated")
            contexts[context.context_id] = context
        elif kind == USER_INFORMATION:
            information.append(_UserInformation(items, start, end))
    if len(application) != 1 or len(information) != 1 or not contexts:
        raise wrong("an A-ASSOCIATE-RQ lacks or repeats an item")
    user = information[0]
    return AssociationRequest(
        protocol_version=int.from_bytes(body[0:2], "big"),
        called_ae=text_of(body[4:20]),
        calling_ae=text_of(body[20:36]),
        application_context=application[0],
        contexts=tuple(contexts.values()),
        max_pdu=user.max_pdu,
        implementation_class_uid=user.implementation_class_uid,
        implementation_version=user.implementation_version,
        user_identity=user.identity,
        roles=MappingProxyType(user.roles),
        extended=MappingProxyType(user.extended),
        titles=body[2:FIXED_BYTES],
    )


def encode_accept(request: AssociationRequest, answer: AssociationAnswer, max_pdu: int) -> bytes:
    """An A-ASSOCIATE-AC (PS3.8 9.3.3); ``max_pdu`` is the longest P-DATA-TF that we take."""
    contexts = b"".join(
        item(
            CONTEXT_RESULT,
            bytes((result.context_id, 0, result.result, 0)) + item(TRANSFER_SYNTAX, result.transfer_syntax.encode()),
        )
        for result in answer.contexts
    )
    roles = b"".join(
        item(ROLE_SELECTION, prefixed(uid) + bytes((scu, scp))) for uid, (scu, scp) in sorted(answer.roles.items())
    )
    extended = b"".join(item(SOP_EXTENDED, prefixed(uid) + data) for uid, data in sorted(answer.extended.items()))
    response = answer.user_identity_response
    identity = b"" if response is None else item(IDENTITY_RESPONSE, struct.pack(">H", len(response)) + response)
    information = (
        item(MAXIMUM_LENGTH, struct.pack(">L", max_pdu))
        + item(IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID.encode())
        + roles
        + item(IMPLEMENTATION_VERSION_NAME, IMPLEMENTATION_VERSION.encode())
        + extended
        + identity
    )
    body = (
        struct.pack(">H", 1)
        + request.titles
        + item(APPLICATION_CONTEXT_ITEM, APPLICATION_CONTEXT.encode())
        + contexts
        + item(USER_INFORMATION, information)
    )
    return pdu(2, body)


def encode_reject(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return pdu(3, bytes((0, result, source, reason)))


def encode_release_reply() -> bytes:
    """An A-RELEASE-RP (PS3.8 9.3.7)."""
    return pdu(6, bytes(4))


def encode_abort(source: int, reason: int) -> bytes:
    """An A-ABORT (PS3.8 9.3.8)."""
    return pdu(7, bytes((0, 0, source, reason)))


def _proposed(items: Items, start: int, end: int) -> ProposedContext:
    """A presentation context item (PS3.8 9.3.2.2)."""
    if end - start < 4:
        raise wrong("a presentation context is too short")
    number = items.body[start]
    if not number % 2:
        raise wrong("a presentation context id is even")
    abstract: list[str] = []
    transfer: list[str] = []
    for kind, begin, finish in items.within(start + 4, end):
        if kind == ABSTRACT_SYNTAX:
            abstract.append(uid_of(items.body[begin:finish]))
        elif kind == TRANSFER_SYNTAX:
            transfer.append(uid_of(items.body[begin:finish]))
    if len(abstract) != 1 or not transfer:
        raise wrong("a presentation context lacks or repeats a syntax")
    return ProposedContext(number, abstract[0], tuple(transfer))


class _UserInformation:
    """The sub-items of the user information item (PS3.8 D.1, PS3.7 D.3.3)."""

    def __init__(self, items: Items, start: int, end: int) -> None:
        self.max_pdu = 0
        self.implementation_class_uid = ""
        self.implementation_version = ""
        self.identity: UserIdentityItem | None = None
        self.roles: dict[str, tuple[bool, bool]] = {}
        self.extended: dict[str, bytes] = {}
        seen: set[int] = set()
        for kind, begin, finish in items.within(start, end):
            if kind in _AT_MOST_ONE and kind in seen:
                raise wrong(f"a user information sub-item of type {kind:02X}H is repeated")
            seen.add(kind)
            self._take(kind, items.body[begin:finish])

    def _take(self, kind: int, data: bytes) -> None:
        if kind == MAXIMUM_LENGTH:
            (self.max_pdu,) = exactly(_UNSIGNED_LONG, data)
        elif kind == IMPLEMENTATION_CLASS:
            self.implementation_class_uid = uid_of(data)
        elif kind == IMPLEMENTATION_VERSION_NAME:
            self.implementation_version = text_of(data[:16])
        elif kind == ASYNCHRONOUS_WINDOW:
            # Unanswered, which means one operation at a time (PS3.7 D.3.3.3).
            exactly(_UNSIGNED_LONG, data)
        elif kind == ROLE_SELECTION:
            once(self.roles, *role_selection(data))
        elif kind == SOP_EXTENDED:
            uid, rest = uid_before(data)
            once(self.extended, uid, rest)
        elif kind == SOP_COMMON_EXTENDED:
            _, rest = uid_before(data)
            _, rest = uid_before(rest)
            related, _ = prefixed_field(rest)
            while related:
                _, related = uid_before(related)
        elif kind == USER_IDENTITY:
            self.identity = _identity(data)


def _identity(data: bytes) -> UserIdentityItem:
    """Sub-item 58H (PS3.7 D.3.3.7.1), filled to its last byte."""
    if len(data) < 2 or data[1] > 1:
        raise wrong("a user identity makes no sense")
    primary, rest = prefixed_field(data[2:])
    secondary, rest = prefixed_field(rest)
    if rest:
        raise wrong("a user identity is longer than its fields")
    return UserIdentityItem(data[0], bool(data[1]), primary, secondary)
