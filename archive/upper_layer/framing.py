"""Bytes in, protocol data units out (PS3.8 9.3), refused at the header and never gathered whole.

One buffer belongs to the association. The socket reads into it; data set fragments leave as views on it. Nothing is
allocated on the word of a header: an A-ASSOCIATE-RQ grows only as its bytes come.
"""

import mmap
import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

from archive.errors import LimitExceeded, ProtocolViolation
from archive.upper_layer.limits import Limits

_PDU: Final = struct.Struct(">BxL")
_PDV: Final = struct.Struct(">LBB")
_ASSOCIATE_RQ, _ASSOCIATE_AC, _ASSOCIATE_RJ, _P_DATA, _RELEASE_RQ, _RELEASE_RP, _ABORT = range(1, 8)
_FIXED_LENGTH: Final = 4
"""Of A-ASSOCIATE-RJ, A-RELEASE-RQ, A-RELEASE-RP and A-ABORT, without the header."""
BUFFER_BYTES: Final = 262_144
_FIRST_BUFFER_BYTES: Final = 4_096
_ROOM_BYTES: Final = 16_384
"""One TLS record: with less room than this at its end, the buffer is moved up."""
UNRECOGNIZED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 1, 2, 6
"""Reasons of an A-ABORT by the service provider (PS3.8 Table 9-26)."""


@dataclass(frozen=True, slots=True)
class AssociateRequestPdu:
    """A whole A-ASSOCIATE-RQ, without its header."""

    body: bytes


@dataclass(frozen=True, slots=True)
class AssociateAcceptPdu:
    """A whole A-ASSOCIATE-AC, without its header; to a requestor only."""

    body: bytes


@dataclass(frozen=True, slots=True)
class AssociateRejectPdu:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4); to a requestor only."""

    result: int
    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class DataFragment:
    """A piece of a presentation data value; ``data`` is valid until the framer is asked again."""

    context_id: int
    is_command: bool
    ends_message_part: bool
    """With this piece the command set or data set is complete."""
    data: memoryview


@dataclass(frozen=True, slots=True)
class ReleaseRequestPdu:
    """A-RELEASE-RQ."""


@dataclass(frozen=True, slots=True)
class ReleaseReplyPdu:
    """A-RELEASE-RP."""


@dataclass(frozen=True, slots=True)
class AbortPdu:
    """A-ABORT."""

    source: int
    reason: int


@dataclass(frozen=True, slots=True)
class StrayPdu:
    """An A-ASSOCIATE PDU that only the other side of an association sends, which the reader is on itself."""

    pdu_type: int


Unit: TypeAlias = (
    AssociateRequestPdu
    | AssociateAcceptPdu
    | AssociateRejectPdu
    | DataFragment
    | ReleaseRequestPdu
    | ReleaseReplyPdu
    | AbortPdu
    | StrayPdu
)


class Framer:
    """Cuts what a peer sends into units. The caller reads into `space`, says `received`, and takes units until None.

    The buffer is small until `widen`: a peer that was not let in costs next to nothing.
    """

    def __init__(self, limits: Limits, *, buffer_bytes: int = _FIRST_BUFFER_BYTES, as_requestor: bool = False) -> None:
        """``as_requestor``: an A-ASSOCIATE-AC or -RJ is expected, and not an A-ASSOCIATE-RQ."""
        self._limits = limits
        self._gathered = _ASSOCIATE_AC if as_requestor else _ASSOCIATE_RQ
        self._stray = frozenset({_ASSOCIATE_RQ}) if as_requestor else frozenset({_ASSOCIATE_AC, _ASSOCIATE_RJ})
        self._view = memoryview(bytearray(buffer_bytes))
        self._start = self._end = 0
        self._pdu_left = 0
        self._value_left = 0
        self._pdu_type = 0
        self._context_id = self._flags = 0
        self._in_value = False
        self._body = bytearray()

    @property
    def mid_pdu(self) -> bool:
        """Whether a unit has begun to arrive that is not complete."""
        return self._pdu_type != 0 or self._end > self._start

    @property
    def in_pdu(self) -> bool:
        """Whether the PDU that the last fragment belongs to goes on."""
        return self._pdu_type != 0

    def widen(self, buffer_bytes: int = BUFFER_BYTES) -> None:
        """Take the full-sized buffer, since data sets may come; what the small one holds is kept."""
        held = self._view[self._start : self._end]
        # Pages of its own, which go back when the association ends: in the heap they would lie between others.
        self._view = memoryview(mmap.mmap(-1, buffer_bytes))
        self._view[: len(held)] = held
        self._start, self._end = 0, len(held)

    def discard(self) -> memoryview:
        """Forget everything; the whole buffer, for reading what nobody looks at."""
        self._start = self._end = 0
        return self._view

    @property
    def wanted(self) -> int:
        """How many more bytes would complete the present fragment; at least 1, at most what fits."""
        buffered = self._end - self._start
        wanted = self._value_left - buffered if self._in_value else 1
        room = len(self._view) - (self._end if buffered else 0)
        return max(1, min(wanted, room))

    def space(self) -> memoryview:
        """Where the next bytes go."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end > len(self._view) - _ROOM_BYTES:
            left = self._end - self._start
            self._view[:left] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, left
        return self._view[self._end :]

    def received(self, count: int) -> None:
        """So many bytes were read into `space`."""
        self._end += count

    def next(self) -> Unit | None:
        """The next unit, None if more bytes are needed.

        Raises:
            LimitExceeded: a header announces more than a limit; the bytes behind it were not read.
            ProtocolViolation: not a PDU of PS3.8.
        """
        while True:
            if self._in_value:
                return self._value()
            if self._pdu_type == _P_DATA and self._pdu_left:
                if not self._value_header():
                    return None
                continue
            if self._pdu_type == self._gathered:
                return self._associate()
            if self._pdu_type and self._pdu_type != _P_DATA:
                return self._short()
            if not self._header():
                return None

    def _header(self) -> bool:
        if self._end - self._start < _PDU.size:
            return False
        kind, length = _PDU.unpack_from(self._view, self._start)
        if kind == _P_DATA:
            if length > self._limits.pdu_bytes:
                raise LimitExceeded(
                    f"a P-DATA-TF exceeds pdu_bytes ({self._limits.pdu_bytes})",
                    abort_reason=INVALID_PARAMETER,
                    limit="pdu_bytes",
                )
            if length < _PDV.size:
                raise ProtocolViolation("a P-DATA-TF holds no value", abort_reason=INVALID_PARAMETER)
        elif kind == self._gathered:
            if length > self._limits.associate_pdu_bytes:
                raise LimitExceeded(
                    f"an A-ASSOCIATE PDU exceeds associate_pdu_bytes ({self._limits.associate_pdu_bytes})",
                    abort_reason=INVALID_PARAMETER,
                    limit="associate_pdu_bytes",
                )
        elif kind in (_ASSOCIATE_RJ, _RELEASE_RQ, _RELEASE_RP, _ABORT):
            if length != _FIXED_LENGTH:
                raise ProtocolViolation(f"a PDU of type {kind} has a wrong length", abort_reason=INVALID_PARAMETER)
        elif kind not in (_ASSOCIATE_RQ, _ASSOCIATE_AC):
            raise ProtocolViolation("a PDU of no known type", abort_reason=UNRECOGNIZED_PDU)
        self._start += _PDU.size
        self._pdu_type, self._pdu_left = kind, length
        return True

    def _value_header(self) -> bool:
        if self._end - self._start < _PDV.size:
            return False
        length, self._context_id, self._flags = _PDV.unpack_from(self._view, self._start)
        if length < 2 or length + 4 > self._pdu_left or self._pdu_left - length - 4 in range(1, _PDV.size):
            raise ProtocolViolation("a presentation data value does not fit its PDU", abort_reason=INVALID_PARAMETER)
        self._start += _PDV.size
        self._pdu_left -= length + 4
        self._value_left = length - 2
        self._in_value = True
        return True

    def _value(self) -> DataFragment | None:
        available = min(self._value_left, self._end - self._start)
        if not available and self._value_left:
            return None
        data = self._view[self._start : self._start + available]
        self._start += available
        self._value_left -= available
        if not self._value_left:
            self._in_value = False
            if not self._pdu_left:
                self._pdu_type = 0
        ends = not self._value_left and bool(self._flags & 2)
        return DataFragment(self._context_id, bool(self._flags & 1), ends, data)

    def _associate(self) -> AssociateRequestPdu | AssociateAcceptPdu | None:
        available = min(self._pdu_left, self._end - self._start)
        self._body += self._view[self._start : self._start + available]
        self._start += available
        self._pdu_left -= available
        if self._pdu_left:
            return None
        body = bytes(self._body)
        self._body = bytearray()
        self._pdu_type = 0
        return AssociateRequestPdu(body) if self._gathered == _ASSOCIATE_RQ else AssociateAcceptPdu(body)

    def _short(self) -> Unit | None:
        kind = self._pdu_type
        if kind in self._stray and kind != _ASSOCIATE_RJ:
            # Whatever follows is never read: in no state of this side is this PDU expected.
            return StrayPdu(kind)
        if self._end - self._start < _FIXED_LENGTH:
            return None
        body = bytes(self._view[self._start : self._start + _FIXED_LENGTH])
        self._start += _FIXED_LENGTH
        self._pdu_type = self._pdu_left = 0
        if kind == _RELEASE_RQ:
            return ReleaseRequestPdu()
        if kind == _RELEASE_RP:
            return ReleaseReplyPdu()
        if kind == _ABORT:
            return AbortPdu(body[2], body[3])
        return StrayPdu(kind) if kind in self._stray else AssociateRejectPdu(body[1], body[2], body[3])
