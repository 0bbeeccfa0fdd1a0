"""The data sets of Storage Commitment Push (PS3.4 J.3): Action Information in, Event Information out. Pure.

What a peer sends is read by the tokenizer that reads every object, so strictly and within bounds.
"""

from collections.abc import Iterable
from typing import Final

from archive.services.commitment import CommitmentResult, Reference
from storage.errors import DataSetMismatch, InvalidIdentifier
from storage.identifiers import uid_from_value
from storage.integrity.element_events import ELEMENT, ITEM_START, SEQUENCE_END, SEQUENCE_START, Event, StreamLimits
from storage.integrity.element_stream import ElementStream
from storage.integrity.explicit_little import header
from storage.integrity.reencoding import reencoded
from storage.transfer_syntax import EXPLICIT_LITTLE, transfer_syntax

TRANSACTION_UID: Final = 0x00081195
REFERENCED: Final = 0x00081199
FAILED: Final = 0x00081198
SOP_CLASS: Final = 0x00081150
SOP_INSTANCE: Final = 0x00081155
FAILURE_REASON: Final = 0x00081197
RETRIEVE_AE: Final = 0x00080054
_ITEM: Final = 0xFFFEE000
_LIMITS: Final = StreamLimits(elements=200_000, depth=8)
_EVERYTHING_KEPT, _SOMETHING_FAILED = 1, 2


def decode_action(data: bytes, syntax_uid: str) -> tuple[str, tuple[Reference, ...]]:
    """Transaction UID and references of an N-ACTION (PS3.4 Table J.3-1).

    Raises:
        DataSetMismatch: it lacks one of them, names something that is no UID, or an instance twice.
        MalformedDataSet, DataSetLimitExceeded: it is no data set.
    """
    reader = _Action()
    stream = ElementStream(transfer_syntax(syntax_uid), reader, _LIMITS)
    stream.feed(data)
    stream.finish()
    try:
        transaction = uid_from_value(reader.transaction)
        references = tuple(
            Reference(uid_from_value(item.get(SOP_CLASS, b"")), uid_from_value(item.get(SOP_INSTANCE, b"")))
            for item in reader.items
        )
    except InvalidIdentifier:
        raise DataSetMismatch("a commitment request names something that is no UID") from None
    if not references:
        raise DataSetMismatch("a commitment request references nothing")
    if len({one.sop_instance_uid for one in references}) < len(references):
        raise DataSetMismatch("a commitment request references an instance twice")
    return transaction, references


def encode_result(transaction_uid: str, result: CommitmentResult, ae_title: str, syntax_uid: str) -> tuple[int, bytes]:
    """Event Type ID and Event Information of an N-EVENT-REPORT (PS3.4 Table J.3-2).

    ``ae_title``: ours, from where the committed objects can be retrieved.
    """
    committed = [_reference(one) for one in result.committed]
    failed = [_reference(one, reason) for one, reason in result.failed]
    data = b"".join(
        (
            _element(RETRIEVE_AE, b"AE", _padded(ae_title, b" ")) if committed else b"",
            _element(TRANSACTION_UID, b"UI", _padded(transaction_uid, b"\0")),
            _sequence(FAILED, failed) if failed else b"",
            _sequence(REFERENCED, committed) if committed else b"",
        )
    )
    if syntax_uid != EXPLICIT_LITTLE:
        data = b"".join(reencoded([data], transfer_syntax(EXPLICIT_LITTLE), transfer_syntax(syntax_uid)))
    return _SOMETHING_FAILED if failed else _EVERYTHING_KEPT, data


class _Action:
    """Consumes the tokenizer's events."""

    def __init__(self) -> None:
        self.transaction = b""
        self.items: list[dict[int, bytes]] = []
        self._open: list[int] = []

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """Keep the UIDs of the top level and of the references."""
        for kind, tag, _, _, value, end in events:
            if kind == SEQUENCE_START:
                self._open.append(tag)
            elif kind == SEQUENCE_END:
                self._open.pop()
            elif kind == ITEM_START and self._open == [REFERENCED]:
                self.items.append({})
            elif kind == ELEMENT and not self._open and tag == TRANSACTION_UID:
                self.transaction = window[value:end]
            elif kind == ELEMENT and self._open == [REFERENCED] and tag in (SOP_CLASS, SOP_INSTANCE):
                self.items[-1][tag] = window[value:end]

    def piece(self, data: memoryview) -> None:
        """Nothing that is wanted comes in pieces."""


def _reference(one: Reference, reason: int | None = None) -> bytes:
    body = _element(SOP_CLASS, b"UI", _padded(one.sop_class_uid, b"\0"))
    body += _element(SOP_INSTANCE, b"UI", _padded(one.sop_instance_uid, b"\0"))
    if reason is not None:
        body += _element(FAILURE_REASON, b"US", reason.to_bytes(2, "little"))
    return _marker(_ITEM, len(body)) + body


def _sequence(tag: int, items: Iterable[bytes]) -> bytes:
    return _element(tag, b"SQ", b"".join(items))


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    return header(tag, vr, len(value)) + value


def _marker(tag: int, length: int) -> bytes:
    return (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") + length.to_bytes(4, "little")


def _padded(text: str, pad: bytes) -> bytes:
    encoded = text.encode("ascii")
    return encoded + pad * (len(encoded) % 2)
