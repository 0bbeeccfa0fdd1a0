"""Where the signatures of one item stand in the bytes of a data set, and where new ones would.

Consumes the tokenizer's own events, whatever the encoding, so that offsets are those of the bytes as they stand
(inflated, if deflated). What is found is enough to put signatures in (`storage.integrity.signature_writer`) without
re-encoding anything else.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from storage.integrity.element_events import (
    ELEMENT,
    ITEM_END,
    ITEM_START,
    LARGE,
    PIXELS_END,
    PIXELS_START,
    SEQUENCE_END,
    SEQUENCE_START,
    UNDEFINED,
    Event,
)
from storage.integrity.layout import MAC_ID, SplicePoint
from storage.integrity.mac import DIGITAL_SIGNATURES, MAC_PARAMETERS
from storage.integrity.mac_walk import Path
from storage.integrity.signature_writer import IMPLICIT_LITTLE, Encoding, LengthField
from storage.transfer_syntax import TransferSyntax

_SEQUENCES: Final = (MAC_PARAMETERS, DIGITAL_SIGNATURES)


@dataclass(slots=True)
class Level:
    """The data set or an item that is to get a signature."""

    encoding: Encoding
    enclosing: tuple[LengthField, ...]
    """Length fields of every item and sequence around its elements, its own item included."""
    points: dict[int, SplicePoint] = field(default_factory=dict)
    """Where each of the two signature sequences is, or would be."""
    mac_ids: set[int] = field(default_factory=set)
    """Every MAC ID that is in use."""


@dataclass(slots=True)
class _Item:
    """An open item, or the data set."""

    path: Path
    encoding: Encoding
    enclosing: tuple[LengthField, ...]
    level: Level | None = None
    waiting: list[int] = field(default_factory=lambda: [DIGITAL_SIGNATURES, MAC_PARAMETERS])
    """Signature sequences whose place is still to come, next last."""
    mac_id: int | None = None


@dataclass(slots=True)
class _Sequence:
    tag: int
    enclosing: tuple[LengthField, ...]
    encoding: Encoding
    point: SplicePoint
    items: int = 0


class SignaturePlaces:
    """Consumes the events of a data set and finds the places of the item at ``target``."""

    def __init__(self, syntax: TransferSyntax, target: Path) -> None:
        self._target = target
        outside = Encoding(syntax.explicit, not syntax.little_endian)
        self._sequences: list[_Sequence] = []
        self.level: Level | None = None
        """That item; None until it was met."""
        self._items = [self._arrived(_Item((), outside, ()))]

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """Note what one window has."""
        for event in events:
            kind, tag, _, start, value, end = event
            if kind <= LARGE:
                item = self._items[-1]
                if item.waiting and tag >= item.waiting[-1]:
                    self._passed(item, tag, offset + start)
                if tag == MAC_ID and kind == ELEMENT and end - value == 2:
                    item.mac_id = int.from_bytes(window[value:end], "big" if item.encoding.big else "little")
            elif kind in (SEQUENCE_START, PIXELS_START):
                self._opened(event, offset)
            elif kind == ITEM_START:
                self._entered(offset + start, end)
            elif kind == ITEM_END:
                self._left(offset + start)
            elif kind in (SEQUENCE_END, PIXELS_END):
                self._closed(offset + start)

    def piece(self, data: memoryview) -> None:
        """Large values hold no signature."""

    def finish(self, length: int) -> None:
        """The data set ended after ``length`` bytes."""
        self._passed(self._items[0], UNDEFINED + 1, length)

    def _arrived(self, item: _Item) -> _Item:
        if item.path == self._target:
            item.level = self.level = Level(item.encoding, item.enclosing)
        return item

    def _passed(self, item: _Item, tag: int, at: int) -> None:
        """Of the sequences with a lower tag, which are not there, this is the place."""
        while item.waiting and item.waiting[-1] <= tag:
            waited = item.waiting.pop()
            if waited != tag and item.level is not None:
                item.level.points[waited] = SplicePoint(at)

    def _opened(self, event: Event, offset: int) -> None:
        kind, tag, vr, start, value, length = event
        item = self._items[-1]
        if item.waiting and tag >= item.waiting[-1]:
            self._passed(item, tag, offset + start)
        named = vr == b"SQ" or kind == PIXELS_START
        point = SplicePoint(
            offset=0,
            exists=True,
            length_at=offset + value - 4 if length != UNDEFINED else None,
            length=length if length != UNDEFINED else 0,
            named=named,
        )
        enclosing = item.enclosing
        if point.length_at is not None:
            enclosing = (*enclosing, LengthField(point.length_at, length, item.encoding.big))
        encoding = item.encoding if named else IMPLICIT_LITTLE
        self._sequences.append(_Sequence(tag, enclosing, encoding, point))

    def _entered(self, start: int, length: int) -> None:
        sequence = self._sequences[-1]
        enclosing = sequence.enclosing
        if length != UNDEFINED:
            enclosing = (*enclosing, LengthField(start + 4, length, sequence.encoding.big))
        path = (*self._items[-1].path, (sequence.tag, sequence.items))
        sequence.items += 1
        self._items.append(self._arrived(_Item(path, sequence.encoding, enclosing)))

    def _left(self, start: int) -> None:
        item = self._items.pop()
        self._passed(item, UNDEFINED + 1, start)
        level = self._items[-1].level
        if level is not None and item.mac_id is not None and self._sequences[-1].tag in _SEQUENCES:
            level.mac_ids.add(item.mac_id)

    def _closed(self, start: int) -> None:
        sequence, level = self._sequences.pop(), self._items[-1].level
        if level is not None and sequence.tag in _SEQUENCES:
            level.points[sequence.tag] = replace(sequence.point, offset=start)
