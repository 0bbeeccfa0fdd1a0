"""DIMSE command sets (PS3.7 6.3.1, Annex E): group 0000, implicit VR, little endian. Pure: bytes in, values out.

What a peer sends is read strictly, since everything that follows depends on it; what we send is built in one place.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from archive.errors import LimitExceeded, ProtocolViolation
from storage.identifiers import Uid, uid_from_value

NO_DATA_SET: Final = 0x0101
"""Command Data Set Type (0000,0800) of a message without a data set; any other value announces one."""

_HEADER: Final = struct.Struct("<HHL")
_US: Final = struct.Struct("<H")
_UL: Final = struct.Struct("<L")


class Field(IntEnum):
    """Command Field (0000,0100), PS3.7 Annex E.1."""

    C_STORE_RQ = 0x0001
    C_STORE_RSP = 0x8001
    C_GET_RQ = 0x0010
    C_GET_RSP = 0x8010
    C_FIND_RQ = 0x0020
    C_FIND_RSP = 0x8020
    C_MOVE_RQ = 0x0021
    C_MOVE_RSP = 0x8021
    C_ECHO_RQ = 0x0030
    C_ECHO_RSP = 0x8030
    N_EVENT_REPORT_RQ = 0x0100
    N_EVENT_REPORT_RSP = 0x8100
    N_ACTION_RQ = 0x0130
    N_ACTION_RSP = 0x8130
    C_CANCEL_RQ = 0x0FFF


class Element(IntEnum):
    """Element numbers of group 0000."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    OFFENDING_ELEMENT = 0x0901
    ERROR_COMMENT = 0x0902
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ACTION_TYPE_ID = 0x1008
    REMAINING = 0x1020
    COMPLETED = 0x1021
    FAILED = 0x1022
    WARNING = 0x1023
    MOVE_ORIGINATOR = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


@dataclass(frozen=True, slots=True)
class SubOperations:
    """The counters of a C-GET or C-MOVE response (PS3.7 9.3.3.2); each saturates at 65535, the most a US holds."""

    completed: int
    failed: int
    warning: int
    remaining: int | None = None
    """Only in a pending or cancelled response."""


@dataclass(frozen=True, slots=True)
class CommandSet:
    """One command set: element number of group 0000 to value, as encoded."""

    values: Mapping[int, bytes] = field(repr=False)

    @classmethod
    def decode(cls, data: bytes) -> "CommandSet":
        """Read a command set.

        Raises:
            ProtocolViolation: not group 0000, not ascending, a length that lies, or without field and message id.
        """
        values: dict[int, bytes] = {}
        offset, end, last = 0, len(data), -1
        while offset < end:
            if end - offset < _HEADER.size:
                raise ProtocolViolation("a command set ends inside an element", abort_reason=6)
            group, number, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            if group != 0 or number <= last:
                raise ProtocolViolation("a command set is not ascending elements of group 0000", abort_reason=6)
            if length % 2 or length > end - offset:
                raise ProtocolViolation("an element of a command set has an impossible length", abort_reason=6)
            values[number] = data[offset : offset + length]
            offset += length
            last = number
        command = cls(values)
        if command._number(Element.GROUP_LENGTH, _UL) != end - _HEADER.size - _UL.size:
            raise ProtocolViolation("the group length of a command set is wrong", abort_reason=6)
        if command._number(Element.FIELD) is None or command._number(Element.DATA_SET_TYPE) is None:
            raise ProtocolViolation("a command set lacks its field or data set type", abort_reason=6)
        if command.is_request and command.field != Field.C_CANCEL_RQ and Element.MESSAGE_ID not in values:
            raise ProtocolViolation("a request lacks its message id", abort_reason=6)
        return command

    @classmethod
    def build(cls, values: Mapping[int, bytes | int | str]) -> "CommandSet":
        """A command set of our own: numbers as US, text as UID or LO, padded as PS3.5 demands."""
        return cls({number: _encoded(number, value) for number, value in sorted(values.items())})

    def encode(self) -> bytes:
        """The bytes of the command set, with its group length."""
        body = b"".join(
            _HEADER.pack(0, number, len(value)) + value
            for number, value in self.values.items()
            if number != Element.GROUP_LENGTH
        )
        return _HEADER.pack(0, Element.GROUP_LENGTH, _UL.size) + _UL.pack(len(body)) + body

    @property
    def field(self) -> int:
        """Which message this is."""
        return self._required(Element.FIELD)

    @property
    def is_request(self) -> bool:
        """Whether a request (or cancel) rather than a response."""
        return not self.field & 0x8000

    @property
    def message_id(self) -> int:
        """(0000,0110) of a request."""
        return self._required(Element.MESSAGE_ID)

    @property
    def message_id_being_responded_to(self) -> int:
        """(0000,0120) of a response or cancel."""
        return self._required(Element.MESSAGE_ID_RESPONDED_TO)

    @property
    def has_data_set(self) -> bool:
        """Whether a data set follows."""
        return self._required(Element.DATA_SET_TYPE) != NO_DATA_SET

    @property
    def status(self) -> int:
        """(0000,0900) of a response."""
        return self._required(Element.STATUS)

    @property
    def priority(self) -> int | None:
        """(0000,0700)."""
        return self._number(Element.PRIORITY)

    @property
    def affected_sop_class_uid(self) -> Uid:
        """(0000,0002). Raises `InvalidIdentifier` where it is absent or no UID."""
        return uid_from_value(self.values.get(Element.AFFECTED_SOP_CLASS_UID, b""))

    @property
    def affected_sop_instance_uid(self) -> Uid:
        """(0000,1000). Raises `InvalidIdentifier` where it is absent or no UID."""
        return uid_from_value(self.values.get(Element.AFFECTED_SOP_INSTANCE_UID, b""))

    @property
    def requested_sop_class_uid(self) -> Uid:
        """(0000,0003). Raises `InvalidIdentifier` where it is absent or no UID."""
        return uid_from_value(self.values.get(Element.REQUESTED_SOP_CLASS_UID, b""))

    @property
    def requested_sop_instance_uid(self) -> Uid:
        """(0000,1001). Raises `InvalidIdentifier` where it is absent or no UID."""
        return uid_from_value(self.values.get(Element.REQUESTED_SOP_INSTANCE_UID, b""))

    @property
    def action_type_id(self) -> int | None:
        """(0000,1008) of an N-ACTION."""
        return self._number(Element.ACTION_TYPE_ID)

    @property
    def move_destination(self) -> str:
        """(0000,0600); what no AE title holds becomes U+FFFD, so that the text equals none that is registered."""
        return self.values.get(Element.MOVE_DESTINATION, b"").decode("ascii", "replace").strip(" \0")

    @property
    def error_comment(self) -> str:
        """(0000,0902)."""
        return self.values.get(Element.ERROR_COMMENT, b"").decode("ascii", "replace").rstrip(" \0")

    @property
    def sub_operations(self) -> SubOperations:
        """The counters of a retrieve response; absent ones count as none."""
        return SubOperations(
            completed=self._number(Element.COMPLETED) or 0,
            failed=self._number(Element.FAILED) or 0,
            warning=self._number(Element.WARNING) or 0,
            remaining=self._number(Element.REMAINING),
        )

    def _number(self, element: Element, size: struct.Struct = _US) -> int | None:
        value = self.values.get(element)
        if value is None:
            return None
        if len(value) != size.size:
            raise ProtocolViolation(f"(0000,{element:04X}) of a command set has a wrong length", abort_reason=6)
        return int(size.unpack(value)[0])

    def _required(self, element: Element) -> int:
        number = self._number(element)
        if number is None:
            raise ProtocolViolation(f"a command set lacks (0000,{element:04X})", abort_reason=6)
        return number


class CommandBuffer:
    """Gathers the fragments of one command set, bounded."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()

    def __len__(self) -> int:
        return len(self._data)

    def add(self, fragment: memoryview) -> None:
        """One more fragment. Raises `LimitExceeded` past ``command_bytes``."""
        if len(self._data) + len(fragment) > self._limit:
            raise LimitExceeded(
                f"a command set exceeds command_bytes ({self._limit})", abort_reason=6, limit="command_bytes"
            )
        self._data += fragment

    def take(self) -> CommandSet:
        """The command set that the fragments make, and an empty buffer. Raises `ProtocolViolation`."""
        data = bytes(self._data)
        self._data.clear()
        return CommandSet.decode(data)


def c_echo_rsp(request: CommandSet, status: int = 0) -> CommandSet:
    """C-ECHO-RSP (PS3.7 9.3.5.2)."""
    return _response(request, Field.C_ECHO_RSP, status)


def c_store_rsp(request: CommandSet, status: int, error_comment: str = "") -> CommandSet:
    """C-STORE-RSP (PS3.7 9.3.1.2); echoes the instance UID as it was sent."""
    instance = request.values.get(Element.AFFECTED_SOP_INSTANCE_UID)
    more: dict[int, bytes | int | str] = {} if instance is None else {Element.AFFECTED_SOP_INSTANCE_UID: instance}
    return _response(request, Field.C_STORE_RSP, status, error_comment, more)


def c_find_rsp(
    request: CommandSet, status: int, *, has_identifier: bool = False, error_comment: str = ""
) -> CommandSet:
    """C-FIND-RSP (PS3.7 9.3.2.2)."""
    return _response(request, Field.C_FIND_RSP, status, error_comment, has_data_set=has_identifier)


def retrieve_rsp(
    request: CommandSet,
    status: int,
    counters: SubOperations | None = None,
    *,
    has_identifier: bool = False,
    error_comment: str = "",
) -> CommandSet:
    """C-GET-RSP or C-MOVE-RSP, whichever the request asks for (PS3.7 9.3.3.2, 9.3.4.2)."""
    more: dict[int, bytes | int | str] = {}
    if counters is not None:
        more[Element.COMPLETED] = min(counters.completed, 0xFFFF)
        more[Element.FAILED] = min(counters.failed, 0xFFFF)
        more[Element.WARNING] = min(counters.warning, 0xFFFF)
        if counters.remaining is not None:
            more[Element.REMAINING] = min(counters.remaining, 0xFFFF)
    return _response(request, request.field | 0x8000, status, error_comment, more, has_data_set=has_identifier)


def failure_rsp(request: CommandSet, status: int, error_comment: str = "") -> CommandSet:
    """The response to any request that no service takes."""
    return _response(request, request.field | 0x8000, status, error_comment)


def c_store_rq(
    message_id: int, sop_class_uid: str, sop_instance_uid: str, originator: tuple[str, int] | None = None
) -> CommandSet:
    """C-STORE-RQ of a sub-operation (PS3.7 9.3.1.1), medium priority.

    ``originator``: AE title and message id of the C-MOVE-RQ that it belongs to; None: of a C-GET.
    """
    values: dict[int, bytes | int | str] = {
        Element.AFFECTED_SOP_CLASS_UID: sop_class_uid,
        Element.FIELD: Field.C_STORE_RQ,
        Element.MESSAGE_ID: message_id,
        Element.PRIORITY: 0,
        Element.DATA_SET_TYPE: 0,
        Element.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
    }
    if originator is not None:
        values[Element.MOVE_ORIGINATOR], values[Element.MOVE_ORIGINATOR_MESSAGE_ID] = originator
    return CommandSet.build(values)


def n_action_rsp(request: CommandSet, status: int, error_comment: str = "") -> CommandSet:
    """N-ACTION-RSP (PS3.7 10.3.5.2), without a reply."""
    repeated = {
        Element.AFFECTED_SOP_CLASS_UID: Element.REQUESTED_SOP_CLASS_UID,
        Element.AFFECTED_SOP_INSTANCE_UID: Element.REQUESTED_SOP_INSTANCE_UID,
        Element.ACTION_TYPE_ID: Element.ACTION_TYPE_ID,
    }
    more: dict[int, bytes | int | str] = {
        mine: request.values[theirs] for mine, theirs in repeated.items() if theirs in request.values
    }
    return _response(request, Field.N_ACTION_RSP, status, error_comment, more)


def n_event_report_rq(message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int) -> CommandSet:
    """N-EVENT-REPORT-RQ (PS3.7 10.3.1.1), with Event Information."""
    return CommandSet.build(
        {
            Element.AFFECTED_SOP_CLASS_UID: sop_class_uid,
            Element.FIELD: Field.N_EVENT_REPORT_RQ,
            Element.MESSAGE_ID: message_id,
            Element.DATA_SET_TYPE: 0,
            Element.AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
            Element.EVENT_TYPE_ID: event_type,
        }
    )


def _response(
    request: CommandSet,
    kind: int,
    status: int,
    error_comment: str = "",
    more: Mapping[int, bytes | int | str] | None = None,
    *,
    has_data_set: bool = False,
) -> CommandSet:
    values: dict[int, bytes | int | str] = {
        Element.FIELD: kind,
        Element.MESSAGE_ID_RESPONDED_TO: request.message_id,
        Element.DATA_SET_TYPE: 0 if has_data_set else NO_DATA_SET,
        Element.STATUS: status,
    }
    sop_class = request.values.get(Element.AFFECTED_SOP_CLASS_UID)
    if sop_class is not None:
        values[Element.AFFECTED_SOP_CLASS_UID] = sop_class
    if error_comment:
        values[Element.ERROR_COMMENT] = error_comment[:64]
    return CommandSet.build(values | dict(more or {}))


_TEXT: Final = frozenset({Element.ERROR_COMMENT, Element.MOVE_ORIGINATOR})


def _encoded(number: int, value: bytes | int | str) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        return _US.pack(value)
    encoded = value.encode("ascii", "replace")
    return encoded + (b" " if number in _TEXT else b"\0") * (len(encoded) % 2)
