"""The items and sub-items that A-ASSOCIATE PDUs are made of (PS3.8 9.3, PS3.7 Annex D): walked, read, built. Pure.

Every length is checked where it is read, and read once.
"""

import re
import struct
from collections.abc import Iterator
from typing import Final, TypeVar

from archive.errors import LimitExceeded, ProtocolViolation
from archive.upper_layer.framing import INVALID_PARAMETER
from archive.upper_layer.limits import Limits

FIXED_BYTES: Final = 68
"""Protocol version, reserved, called and calling AE title, reserved (PS3.8 Table 9-11), after the PDU header."""
APPLICATION_CONTEXT_ITEM, PROPOSED_CONTEXT, CONTEXT_RESULT, USER_INFORMATION = 0x10, 0x20, 0x21, 0x50
ABSTRACT_SYNTAX, TRANSFER_SYNTAX = 0x30, 0x40
MAXIMUM_LENGTH, IMPLEMENTATION_CLASS, ASYNCHRONOUS_WINDOW, ROLE_SELECTION = 0x51, 0x52, 0x53, 0x54
IMPLEMENTATION_VERSION_NAME, SOP_EXTENDED, SOP_COMMON_EXTENDED, USER_IDENTITY, IDENTITY_RESPONSE = range(0x55, 0x5A)

_ITEM: Final = struct.Struct(">BxH")
_UID: Final = re.compile(rb"[0-9.]{1,64}")
_Value = TypeVar("_Value")


class Items:
    """Walks the items of one PDU, counting all of them together."""

    def __init__(self, body: bytes, limits: Limits) -> None:
        self.body = body
        self._most = self._left = limits.items

    def within(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Type, begin and end of each item, or sub-item, between two places.

        Raises:
            ProtocolViolation: a length lies.
            LimitExceeded: more than ``items``.
        """
        while start < end:
            if end - start < _ITEM.size:
                raise wrong("an item ends inside its header")
            kind, length = _ITEM.unpack_from(self.body, start)
            start += _ITEM.size
            if length > end - start:
                raise wrong("an item is longer than what holds it")
            if not self._left:
                raise LimitExceeded(
                    f"an A-ASSOCIATE PDU has more than items ({self._most})",
                    abort_reason=INVALID_PARAMETER,
                    limit="items",
                )
            self._left -= 1
            yield kind, start, start + length
            start += length


def role_selection(data: bytes) -> tuple[str, tuple[bool, bool]]:
    """SOP class and the roles SCU and SCP of a sub-item 54H (PS3.7 D.3.3.4). Raises `ProtocolViolation`."""
    uid, rest = uid_before(data)
    if len(rest) != 2 or max(rest) > 1:
        raise wrong("a role selection makes no sense")
    return uid, (bool(rest[0]), bool(rest[1]))


def prefixed_field(data: bytes) -> tuple[bytes, bytes]:
    """A field behind its two-byte length, and what follows it. Raises `ProtocolViolation`."""
    if len(data) < 2:
        raise wrong("a sub-item ends inside a length")
    length = int.from_bytes(data[:2], "big") + 2
    if length > len(data):
        raise wrong("a field is longer than its sub-item")
    return data[2:length], data[length:]


def uid_before(data: bytes) -> tuple[str, bytes]:
    """A UID behind its two-byte length, and what follows it. Raises `ProtocolViolation`."""
    encoded, rest = prefixed_field(data)
    return uid_of(encoded), rest


def uid_of(encoded: bytes) -> str:
    """A UID as negotiated: unpadded by the standard (PS3.8 F), one NUL at its end forgiven."""
    unpadded = encoded[:-1] if encoded.endswith(b"\0") else encoded
    if _UID.fullmatch(unpadded) is None:
        raise wrong("a UID in an A-ASSOCIATE PDU is none")
    return unpadded.decode("ascii")


def text_of(value: bytes) -> str:
    """Printable ASCII; any other byte becomes U+FFFD, so that the text equals none that is registered."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "\ufffd" for byte in value).strip(" ")


def once(mapping: dict[str, _Value], uid: str, value: _Value) -> None:
    """Some peers repeat a sub-item for each context of the SOP class; they must not contradict themselves."""
    if mapping.setdefault(uid, value) != value:
        raise wrong("two sub-items for one SOP class contradict each other")


def exactly(shape: struct.Struct, data: bytes) -> tuple[int, ...]:
    """The numbers of a sub-item of fixed length. Raises `ProtocolViolation`."""
    if len(data) != shape.size:
        raise wrong("a user information sub-item has a wrong length")
    return shape.unpack(data)


def wrong(what: str) -> ProtocolViolation:
    """What an A-ASSOCIATE PDU that makes no sense is answered with."""
    return ProtocolViolation(what, abort_reason=INVALID_PARAMETER)


def pdu(kind: int, body: bytes) -> bytes:
    """A PDU with its header (PS3.8 9.3.1)."""
    return struct.pack(">BxL", kind, len(body)) + body


def item(kind: int, data: bytes) -> bytes:
    """An item, or a sub-item, with its header."""
    return _ITEM.pack(kind, len(data)) + data


def prefixed(uid: str) -> bytes:
    """A UID behind its two-byte length."""
    encoded = uid.encode("ascii")
    return struct.pack(">H", len(encoded)) + encoded
