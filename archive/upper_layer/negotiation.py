"""A-ASSOCIATE items (PS3.8 9.3, PS3.7 Annex D) as typed values, and the answers as bytes. Pure.

Every length is checked where it is read, and read once: the bytes come before any authentication, so there is no
second reader to disagree with. pynetdicom's codecs are the other end in the tests, both ways; here they would skip
over lengths that lie, refuse items that PS3.8 9.3.1 says to skip, and print what the peer sent.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeVar

from archive.errors import LimitExceeded, ProtocolViolation
from archive.upper_layer.framing import INVALID_PARAMETER
from archive.upper_layer.limits import Limits

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID: Final = "2.25.186718270316042106203719830414412170419"
IMPLEMENTATION_VERSION: Final = "STRONGROOM_0_1"

_FIXED_BYTES: Final = 68
"""Protocol version, reserved, called and calling AE title, reserved (PS3.8 Table 9-11), after the PDU header."""
_ITEM: Final = struct.Struct(">BxH")
_APPLICATION_CONTEXT, _PROPOSED_CONTEXT, _USER_INFORMATION = 0x10, 0x20, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS, _ASYNCHRONOUS_WINDOW, _ROLE_SELECTION = 0x51, 0x52, 0x53, 0x54
_IMPLEMENTATION_VERSION, _SOP_EXTENDED, _SOP_COMMON_EXTENDED, _USER_IDENTITY = 0x55, 0x56, 0x57, 0x58
_AT_MOST_ONE: Final = frozenset(
    {_MAXIMUM_LENGTH, _IMPLEMENTATION_CLASS, _ASYNCHRONOUS_WINDOW, _IMPLEMENTATION_VERSION, _USER_IDENTITY}
)
_UNSIGNED_LONG: Final = struct.Struct(">L")
_UID: Final = re.compile(rb"[0-9.]{1,64}")
_Value = TypeVar("_Value")


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
    if len(body) < _FIXED_BYTES:
        raise _wrong("an A-ASSOCIATE-RQ is too short")
    items = _Items(body, limits)
    application: list[str] = []
    contexts: dict[int, ProposedContext] = {}
    information: list[_UserInformation] = []
    for kind, start, end in items.within(_FIXED_BYTES, len(body)):
        if kind == _APPLICATION_CONTEXT:
            application.append(_uid(body[start:end]))
        elif kind == _PROPOSED_CONTEXT:
            if len(contexts) == limits.presentation_contexts:
                raise LimitExceeded(
                    f"more than presentation_contexts ({limits.presentation_contexts})",
                    abort_reason=INVALID_PARAMETER,
                    limit="presentation_contexts",
                )
            context = _proposed(items, start, end)
            if context.context_id in contexts:
                raise _wrong("a presentation context id is repeated")
            contexts[context.context_id] = context
        elif kind == _USER_INFORMATION:
            information.append(_UserInformation(items, start, end))
    if len(application) != 1 or len(information) != 1 or not contexts:
        raise _wrong("an A-ASSOCIATE-RQ lacks or repeats an item")
    user = information[0]
    return AssociationRequest(
        protocol_version=int.from_bytes(body[0:2], "big"),
        called_ae=_text(body[4:20]),
        calling_ae=_text(body[20:36]),
        application_context=application[0],
        contexts=tuple(contexts.values()),
        max_pdu=user.max_pdu,
        implementation_class_uid=user.implementation_class_uid,
        implementation_version=user.implementation_version,
        user_identity=user.identity,
        roles=MappingProxyType(user.roles),
        extended=MappingProxyType(user.extended),
        titles=body[2:_FIXED_BYTES],
    )


def encode_accept(request: AssociationRequest, answer: AssociationAnswer, max_pdu: int) -> bytes:
    """An A-ASSOCIATE-AC (PS3.8 9.3.3); ``max_pdu`` is the longest P-DATA-TF that we take."""
    contexts = b"".join(
        _item(0x21, bytes((result.context_id, 0, result.result, 0)) + _item(0x40, result.transfer_syntax.encode()))
        for result in answer.contexts
    )
    roles = b"".join(
        _item(0x54, _prefixed(uid) + bytes((scu, scp))) for uid, (scu, scp) in sorted(answer.roles.items())
    )
    extended = b"".join(_item(0x56, _prefixed(uid) + data) for uid, data in sorted(answer.extended.items()))
    response = answer.user_identity_response
    identity = b"" if response is None else _item(0x59, struct.pack(">H", len(response)) + response)
    information = (
        _item(0x51, struct.pack(">L", max_pdu))
        + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
        + roles
        + _item(0x55, IMPLEMENTATION_VERSION.encode())
        + extended
        + identity
    )
    body = (
        struct.pack(">H", 1)
        + request.titles
        + _item(0x10, APPLICATION_CONTEXT.encode())
        + contexts
        + _item(0x50, information)
    )
    return _pdu(2, body)


def encode_reject(result: int, source: int, reason: int) -> bytes:
    """An A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return _pdu(3, bytes((0, result, source, reason)))


def encode_release_reply() -> bytes:
    """An A-RELEASE-RP (PS3.8 9.3.7)."""
    return _pdu(6, bytes(4))


def encode_abort(source: int, reason: int) -> bytes:
    """An A-ABORT (PS3.8 9.3.8)."""
    return _pdu(7, bytes((0, 0, source, reason)))


class _Items:
    """Walks the items of one PDU, counting all of them together."""

    def __init__(self, body: bytes, limits: Limits) -> None:
        self.body = body
        self._most = self._left = limits.items

    def within(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Type, begin and end of each item, or sub-item, between two places."""
        while start < end:
            if end - start < _ITEM.size:
                raise _wrong("an item ends inside its header")
            kind, length = _ITEM.unpack_from(self.body, start)
            start += _ITEM.size
            if length > end - start:
                raise _wrong("an item is longer than what holds it")
            if not self._left:
                raise LimitExceeded(
                    f"an A-ASSOCIATE-RQ has more than items ({self._most})",
                    abort_reason=INVALID_PARAMETER,
                    limit="items",
                )
            self._left -= 1
            yield kind, start, start + length
            start += length


def _proposed(items: _Items, start: int, end: int) -> ProposedContext:
    """A presentation context item (PS3.8 9.3.2.2)."""
    if end - start < 4:
        raise _wrong("a presentation context is too short")
    number = items.body[start]
    if not number % 2:
        raise _wrong("a presentation context id is even")
    abstract: list[str] = []
    transfer: list[str] = []
    for kind, begin, finish in items.within(start + 4, end):
        if kind == _ABSTRACT_SYNTAX:
            abstract.append(_uid(items.body[begin:finish]))
        elif kind == _TRANSFER_SYNTAX:
            transfer.append(_uid(items.body[begin:finish]))
    if len(abstract) != 1 or not transfer:
        raise _wrong("a presentation context lacks or repeats a syntax")
    return ProposedContext(number, abstract[0], tuple(transfer))


class _UserInformation:
    """The sub-items of the user information item (PS3.8 D.1, PS3.7 D.3.3)."""

    def __init__(self, items: _Items, start: int, end: int) -> None:
        self.max_pdu = 0
        self.implementation_class_uid = ""
        self.implementation_version = ""
        self.identity: UserIdentityItem | None = None
        self.roles: dict[str, tuple[bool, bool]] = {}
        self.extended: dict[str, bytes] = {}
        seen: set[int] = set()
        for kind, begin, finish in items.within(start, end):
            if kind in _AT_MOST_ONE and kind in seen:
                raise _wrong(f"a user information sub-item of type {kind:02X}H is repeated")
            seen.add(kind)
            self._take(kind, items.body[begin:finish])

    def _take(self, kind: int, data: bytes) -> None:
        if kind == _MAXIMUM_LENGTH:
            (self.max_pdu,) = _exactly(_UNSIGNED_LONG, data)
        elif kind == _IMPLEMENTATION_CLASS:
            self.implementation_class_uid = _uid(data)
        elif kind == _IMPLEMENTATION_VERSION:
            self.implementation_version = _text(data[:16])
        elif kind == _ASYNCHRONOUS_WINDOW:
            # Unanswered, which means one operation at a time (PS3.7 D.3.3.3).
            _exactly(_UNSIGNED_LONG, data)
        elif kind == _ROLE_SELECTION:
            uid, rest = _uid_before(data)
            if len(rest) != 2 or max(rest) > 1:
                raise _wrong("a role selection makes no sense")
            _once(self.roles, uid, (bool(rest[0]), bool(rest[1])))
        elif kind == _SOP_EXTENDED:
            uid, rest = _uid_before(data)
            _once(self.extended, uid, rest)
        elif kind == _SOP_COMMON_EXTENDED:
            _, rest = _uid_before(data)
            _, rest = _uid_before(rest)
            related, _ = _prefixed_field(rest)
            while related:
                _, related = _uid_before(related)
        elif kind == _USER_IDENTITY:
            self.identity = _identity(data)


def _identity(data: bytes) -> UserIdentityItem:
    """Sub-item 58H (PS3.7 D.3.3.7.1), filled to its last byte."""
    if len(data) < 2 or data[1] > 1:
        raise _wrong("a user identity makes no sense")
    primary, rest = _prefixed_field(data[2:])
    secondary, rest = _prefixed_field(rest)
    if rest:
        raise _wrong("a user identity is longer than its fields")
    return UserIdentityItem(data[0], bool(data[1]), primary, secondary)


def _prefixed_field(data: bytes) -> tuple[bytes, bytes]:
    """A field behind its two-byte length, and what follows it."""
    if len(data) < 2:
        raise _wrong("a sub-item ends inside a length")
    length = int.from_bytes(data[:2], "big") + 2
    if length > len(data):
        raise _wrong("a field is longer than its sub-item")
    return data[2:length], data[length:]


def _uid_before(data: bytes) -> tuple[str, bytes]:
    encoded, rest = _prefixed_field(data)
    return _uid(encoded), rest


def _uid(encoded: bytes) -> str:
    """A UID as negotiated: unpadded by the standard (PS3.8 F), one NUL at its end forgiven."""
    unpadded = encoded[:-1] if encoded.endswith(b"\0") else encoded
    if _UID.fullmatch(unpadded) is None:
        raise _wrong("a UID in an A-ASSOCIATE-RQ is none")
    return unpadded.decode("ascii")


def _text(value: bytes) -> str:
    """Printable ASCII; any other byte becomes U+FFFD, so that the text equals none that is registered."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "\ufffd" for byte in value).strip(" ")


def _once(mapping: dict[str, _Value], uid: str, value: _Value) -> None:
    """Some requestors repeat a sub-item for each context of the SOP class; they must not contradict themselves."""
    if mapping.setdefault(uid, value) != value:
        raise _wrong("two sub-items for one SOP class contradict each other")


def _exactly(shape: struct.Struct, data: bytes) -> tuple[int, ...]:
    if len(data) != shape.size:
        raise _wrong("a user information sub-item has a wrong length")
    return shape.unpack(data)


def _wrong(what: str) -> ProtocolViolation:
    return ProtocolViolation(what, abort_reason=INVALID_PARAMETER)


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


def _item(kind: int, data: bytes) -> bytes:
    return _ITEM.pack(kind, len(data)) + data


def _prefixed(uid: str) -> bytes:
    encoded = uid.encode("ascii")
    return struct.pack(">H", len(encoded)) + encoded
