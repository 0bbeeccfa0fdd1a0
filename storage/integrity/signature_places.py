"""Where signatures stand in the bytes of a data set, at any level, and where new ones would.

Consumes the tokenizer's own events, whatever the encoding, so that offsets are those of the bytes as they stand
(inflated, if deflated). What is found is enough to put signatures in (`storage.integrity.signature_writer`) or to take
some out, without re-encoding anything else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from storage.instance import Splice
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
from storage.integrity.signature_writer import IMPLICIT_LITTLE, Encoding, LengthField, relengthed
from storage.transfer_syntax import TransferSyntax

_SEQUENCES: Final = (MAC_PARAMETERS, DIGITAL_SIGNATURES)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from ``start`` up to ``end``, header and delimiter included."""

    start: int
    end: int


@dataclass(slots=True)
class SequencePlace:
    """One signature sequence of one level."""

    span: Span
    point: SplicePoint
    items: list[Span]
    mac_ids: list[int | None]
    """MAC ID of each item, None where it has none that can be read."""


@dataclass(slots=True)
class Level:
    """The data set or an item that has signatures, or is to get one."""

    path: Path
    encoding: Encoding
    enclosing: tuple[LengthField, ...]
    """Length fields of every item and sequence around its elements, its own item included."""
    points: dict[int, SplicePoint] = field(default_factory=dict)
    sequences: dict[int, SequencePlace] = field(default_factory=dict)

    @property
    def mac_ids(self) -> frozenset[int]:
        """Every MAC ID that is in use."""
        used = chain.from_iterable(place.mac_ids for place in self.sequences.values())
        return frozenset(number for number in used if number is not None)


@dataclass(slots=True)
class _Item:
    """An open item, or the data set."""

    path: Path
    start: int
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
    place: SequencePlace | None
    items: int = 0


class SignaturePlaces:
    """Finds every level with signatures, and the level at ``target`` whether it has any or not."""

    def __init__(self, syntax: TransferSyntax, target: Path | None = None) -> None:
        self._target = target
        outside = Encoding(syntax.explicit, not syntax.little_endian)
        self._sequences: list[_Sequence] = []
        self.levels: dict[Path, Level] = {}
        self._items = [self._arrived(_Item((), 0, outside, ()))]

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
                self._left(offset + start, offset + value)
            elif kind in (SEQUENCE_END, PIXELS_END):
                self._closed(offset + start, offset + end)

    def piece(self, data: memoryview) -> None:
        """Large values hold no signature."""

    def finish(self, length: int) -> None:
        """The data set ended after ``length`` bytes."""
        self._passed(self._items[0], UNDEFINED + 1, length)

    def removal(self, doomed: Mapping[Path, Iterable[int]]) -> tuple[Splice, ...]:
        """What takes signatures out: by level, the numbers of items of its Digital Signatures Sequence.

        Their MAC parameters go too, unless another signature of the level names them. A sequence that would be empty
        goes as a whole. No level may be one that is taken out, or lies in what is.
        """
        splices: list[Splice] = []
        shrunk: dict[int, tuple[LengthField, int]] = {}
        for path, numbers in doomed.items():
            level = self.levels[path]
            gone = frozenset(numbers)
            signatures = level.sequences[DIGITAL_SIGNATURES]
            still_named = {
                mac_id for number, mac_id in enumerate(signatures.mac_ids) if number not in gone and mac_id is not None
            }
            splices += self._cut(level, signatures, gone, shrunk)
            parameters = level.sequences.get(MAC_PARAMETERS)
            if parameters is not None:
                named = {signatures.mac_ids[number] for number in gone}
                orphans = frozenset(
                    number
                    for number, mac_id in enumerate(parameters.mac_ids)
                    if mac_id not in still_named and (mac_id in named or not still_named)
                )
                splices += self._cut(level, parameters, orphans, shrunk)
        splices += [relengthed(field, -by) for field, by in shrunk.values()]
        return tuple(sorted(splices, key=lambda splice: splice.offset))

    @staticmethod
    def _cut(
        level: Level, place: SequencePlace, gone: frozenset[int], shrunk: dict[int, tuple[LengthField, int]]
    ) -> list[Splice]:
        if not gone:
            return []
        if len(gone) == len(place.items):
            spans = [place.span]
        else:
            spans = [span for number, span in enumerate(place.items) if number in gone]
        by = sum(span.end - span.start for span in spans)
        fields = list(level.enclosing)
        if spans != [place.span] and place.point.length_at is not None:
            fields.append(LengthField(place.point.length_at, place.point.length, level.encoding.big))
        for one in fields:
            _, before = shrunk.get(one.offset, (one, 0))
            shrunk[one.offset] = (one, before + by)
        return [Splice(span.start, span.end - span.start, b"") for span in spans]

    def _arrived(self, item: _Item) -> _Item:
        if item.path == self._target:
            self._level(item)
        return item

    def _level(self, item: _Item) -> Level:
        if item.level is None:
            item.level = self.levels[item.path] = Level(item.path, item.encoding, item.enclosing)
        return item.level

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
        place = SequencePlace(Span(offset + start, 0), point, [], []) if tag in _SEQUENCES else None
        if place is not None:
            self._level(item).sequences[tag] = place
        encoding = item.encoding if named else IMPLICIT_LITTLE
        self._sequences.append(_Sequence(tag, enclosing, encoding, point, place))

    def _entered(self, start: int, length: int) -> None:
        sequence = self._sequences[-1]
        enclosing = sequence.enclosing
        if length != UNDEFINED:
            enclosing = (*enclosing, LengthField(start + 4, length, sequence.encoding.big))
        path = (*self._items[-1].path, (sequence.tag, sequence.items))
        sequence.items += 1
        self._items.append(self._arrived(_Item(path, start, sequence.encoding, enclosing)))

    def _left(self, start: int, end: int) -> None:
        item = self._items.pop()
        self._passed(item, UNDEFINED + 1, start)
        place = self._sequences[-1].place
        if place is not None:
            place.items.append(Span(item.start, end))
            place.mac_ids.append(item.mac_id)

    def _closed(self, start: int, end: int) -> None:
        sequence = self._sequences.pop()
        place = sequence.place
        if place is None:
            return
        point = sequence.point
        place.span = Span(place.span.start, end)
        place.point = SplicePoint(start, True, point.length_at, point.length, point.named)
        self._level(self._items[-1]).points[sequence.tag] = place.point
