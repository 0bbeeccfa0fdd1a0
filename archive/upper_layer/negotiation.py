"""A-ASSOCIATE items (PS3.8 9.3, PS3.7 Annex D) as typed values, and the answers as bytes. Pure.

What a peer sends is walked here first: every item inside its parent, counts bounded. Only then do pynetdicom's item
codecs read it; whatever they raise is the peer's violation, never ours.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pynetdicom.pdu import A_ASSOCIATE_RQ

from archive.errors import LimitExceeded, ProtocolViolation
from archive.upper_layer.limits import Limits

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
IMPLEMENTATION_CLASS_UID: Final = "2.25.186718270316042106203719830414412170419"
IMPLEMENTATION_VERSION: Final = "STRONGROOM_0_1"

_FIXED_BYTES: Final = 68
"""Protocol version, reserved, called and calling AE title, reserved (PS3.8 Table 9-11), after the PDU header."""
_ITEM: Final = struct.Struct(">BxH")
_APPLICATION_CONTEXT, _PROPOSED_CONTEXT, _USER_INFORMATION = 0x10, 0x20, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_MAXIMUM_LENGTH, _ROLE_SELECTION, _SOP_EXTENDED, _USER_IDENTITY = 0x51, 0x54, 0x56, 0x58


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

    Raises:
        ProtocolViolation: it is not one.
        LimitExceeded: more items or contexts than ``items`` or ``presentation_contexts``.
    """
    _walk(body, limits)
    try:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(b"\x01\0" + struct.pack(">L", len(body)) + body)
        return _request(pdu, body)
    except ProtocolViolation:
        raise
    except Exception as error:  # noqa: BLE001 -- the codecs raise whatever comes to hand on bytes that make no sense
        raise ProtocolViolation(f"an A-ASSOCIATE-RQ makes no sense ({type(error).__name__})", abort_reason=6) from None


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


def _walk(body: bytes, limits: Limits) -> None:
    if len(body) < _FIXED_BYTES:
        raise ProtocolViolation("an A-ASSOCIATE-RQ is too short", abort_reason=6)
    seen = contexts = 0
    kinds: list[int] = []
    for kind, start, end in _items(body, _FIXED_BYTES, len(body)):
        seen += 1
        kinds.append(kind)
        if kind == _PROPOSED_CONTEXT:
            contexts += 1
            if contexts > limits.presentation_contexts:
                raise LimitExceeded(f"more than presentation_contexts ({limits.presentation_contexts})", abort_reason=6)
            if end - start < 4:
                raise ProtocolViolation("a presentation context is too short", abort_reason=6)
            inner = [sub for sub, _, _ in _items(body, start + 4, end)]
            seen += len(inner)
            if inner.count(_ABSTRACT_SYNTAX) != 1 or _TRANSFER_SYNTAX not in inner:
                raise ProtocolViolation("a presentation context lacks a syntax", abort_reason=6)
        elif kind == _USER_INFORMATION:
            inner = [sub for sub, _, _ in _items(body, start, end)]
            seen += len(inner)
            if inner.count(_USER_IDENTITY) > 1 or inner.count(_MAXIMUM_LENGTH) > 1:
                raise ProtocolViolation("a user information sub-item is repeated", abort_reason=6)
        if seen > limits.items:
            raise LimitExceeded(f"an A-ASSOCIATE-RQ has more than items ({limits.items})", abort_reason=6)
    if kinds.count(_APPLICATION_CONTEXT) != 1 or kinds.count(_USER_INFORMATION) != 1 or not contexts:
        raise ProtocolViolation("an A-ASSOCIATE-RQ lacks or repeats an item", abort_reason=6)


def _items(body: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    while start < end:
        if end - start < _ITEM.size:
            raise ProtocolViolation("an item ends inside its header", abort_reason=6)
        kind, length = _ITEM.unpack_from(body, start)
        start += _ITEM.size
        if length > end - start:
            raise ProtocolViolation("an item is longer than what holds it", abort_reason=6)
        yield kind, start, start + length
        start += length


def _request(pdu: Any, body: bytes) -> AssociationRequest:
    contexts = tuple(
        ProposedContext(item.context_id, str(item.abstract_syntax), tuple(str(uid) for uid in item.transfer_syntax))
        for item in pdu.presentation_context
    )
    identifiers = [context.context_id for context in contexts]
    if len(set(identifiers)) != len(identifiers) or not all(number % 2 for number in identifiers):
        raise ProtocolViolation("presentation context ids are even or repeated", abort_reason=6)
    roles: dict[str, tuple[bool, bool]] = {}
    extended: dict[str, bytes] = {}
    identity = version = None
    max_pdu, implementation = 0, ""
    for item in pdu.user_information.user_data:
        kind = item.item_type
        if kind == _MAXIMUM_LENGTH:
            max_pdu = int(item.maximum_length_received)
        elif kind == 0x52:
            implementation = str(item.implementation_class_uid)
        elif kind == 0x55:
            version = item.implementation_version_name
        elif kind == _ROLE_SELECTION:
            roles[str(item.sop_class_uid)] = (bool(item.scu_role), bool(item.scp_role))
        elif kind == _SOP_EXTENDED:
            extended[str(item.sop_class_uid)] = bytes(item.service_class_application_information)
        elif kind == _USER_IDENTITY:
            identity = UserIdentityItem(
                identity_type=int(item.user_identity_type),
                positive_response_requested=bool(item.positive_response_requested),
                primary=bytes(item.primary_field or b""),
                secondary=bytes(item.secondary_field or b""),
            )
    return AssociationRequest(
        protocol_version=int.from_bytes(body[0:2], "big"),
        called_ae=_title(body[4:20]),
        calling_ae=_title(body[20:36]),
        application_context=str(pdu.application_context_name),
        contexts=contexts,
        max_pdu=max_pdu,
        implementation_class_uid=implementation,
        implementation_version=version.decode("ascii", "replace") if isinstance(version, bytes) else str(version or ""),
        user_identity=identity,
        roles=roles,
        extended=extended,
        titles=body[2:_FIXED_BYTES],
    )


def _title(value: bytes) -> str:
    # An AE title that is not printable ASCII equals none that is registered; it is not an error of its own.
    return value.decode("ascii", "replace").strip(" ")


def _pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


def _item(kind: int, data: bytes) -> bytes:
    return _ITEM.pack(kind, len(data)) + data


def _prefixed(uid: str) -> bytes:
    encoded = uid.encode("ascii")
    return struct.pack(">H", len(encoded)) + encoded
