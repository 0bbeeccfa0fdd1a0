"""The MAC byte streams of any levels of a data set, element by element (PS3.3 C.12.1.1.3.1.2).

Written apart from `mac`, which hashes whole runs: what one of them gets wrong, the other finds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from storage.instance import Uncovered
from storage.integrity.element_events import (
    ELEMENT,
    FRAGMENT,
    ITEM_END,
    ITEM_START,
    LARGE,
    LARGE_FRAGMENT,
    PIXELS_START,
    SEQUENCE_START,
    Event,
)
from storage.integrity.explicit_little import header
from storage.integrity.mac import (
    DIGITAL_SIGNATURES,
    MAC_PARAMETERS,
    NOT_SIGNABLE,
    UNKNOWN_VR,
    VR_UNKNOWN,
    signable,
)
from storage.integrity.value_representation import padded_as_due

Path = tuple[tuple[int, int], ...]
"""Where an item stands: (sequence tag, item number from 0), outermost first; empty for the data set itself."""

_ITEM_MARK: Final = bytes.fromhex("FEFF00E0")
_END_MARK: Final = bytes.fromhex("FEFFDDE0")
_NOT_LISTED: Final = "not listed as signed"


@dataclass(slots=True)
class Target:
    """One byte stream: which elements of a level it takes, and where it goes."""

    wants: Callable[[int], bool]
    update: Callable[[bytes | memoryview], object]
    restate: Callable[[bytes, bytes], object] | None = None
    """Takes an element as it stands and as it is with its padding as due, where they differ; else `update` does."""
    uncovered: list[Uncovered] = field(default_factory=list)
    fault: str = ""
    """Why the stream is none that may be signed."""


@dataclass(slots=True)
class _Item:
    """The data set or an item."""

    path: Path
    inherited: list[Target]
    """Streams that take the sequence around it, and so all of it."""
    own: list[Target]


@dataclass(slots=True)
class _Sequence:
    tag: int
    sinks: list[Target]
    items: int = 0


class MacWalk(ABC):
    """Consumes explicit VR little endian events and writes the streams that `arrive` asks for."""

    def __init__(self) -> None:
        self._items = [_Item((), [], self.arrive(()))]
        self._sequences: list[_Sequence] = []
        self._sinks: list[Target] = []

    @abstractmethod
    def arrive(self, path: Path) -> list[Target]:
        """The streams that are wanted of the item at ``path``, where reading now begins."""

    def value(self, path: Path, tag: int, value: bytes) -> None:  # noqa: B027  (most walks want no values)
        """An element of the item at ``path`` whose value is at hand."""

    def large(self, path: Path, tag: int, length: int) -> None:  # noqa: B027  (likewise)
        """An element whose value follows in pieces."""

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """Write one window's part of every stream."""
        for kind, tag, vr, _, value, end in events:
            if kind == ELEMENT:
                item = self._items[-1]
                self.value(item.path, tag, window[value:end])
                sinks = self._takers(item, tag, vr)
                if sinks:
                    self._plain(sinks, tag, vr, window[value:end])
            elif kind == LARGE:
                item = self._items[-1]
                self._sinks = self._takers(item, tag, vr)
                self._write(self._sinks, header(tag, vr, end))
                self.large(item.path, tag, end)
            elif kind in (SEQUENCE_START, PIXELS_START):
                # Encapsulated Pixel Data is OB in the MAC, whatever VR it was sent with (as dcmsign has it).
                told = b"OB" if kind == PIXELS_START else vr
                sequence = _Sequence(tag, self._takers(self._items[-1], tag, told))
                self._sequences.append(sequence)
                self._write(sequence.sinks, header(tag, told, 0)[:8])
            elif kind == ITEM_START:
                sequence = self._sequences[-1]
                path = (*self._items[-1].path, (sequence.tag, sequence.items))
                sequence.items += 1
                self._write(sequence.sinks, _ITEM_MARK)
                self._items.append(_Item(path, sequence.sinks, self.arrive(path)))
            elif kind == ITEM_END:
                self._items.pop()
            elif kind in (FRAGMENT, LARGE_FRAGMENT):
                self._sinks = self._sequences[-1].sinks
                self._write(self._sinks, _ITEM_MARK + (window[value:end] if kind == FRAGMENT else b""))
            else:
                self._write(self._sequences.pop().sinks, _END_MARK)

    def piece(self, data: memoryview) -> None:
        """A piece of the large value or fragment that the last event announced."""
        self._write(self._sinks, data)

    def _takers(self, item: _Item, tag: int, vr: bytes) -> list[Target]:
        """The streams that an element goes into."""
        allowed = signable(tag)
        takers = [target for target in item.own if target.wants(tag)]
        for target in item.own:
            if tag not in (MAC_PARAMETERS, DIGITAL_SIGNATURES) and not target.wants(tag):
                reason = NOT_SIGNABLE if not allowed else VR_UNKNOWN if vr in UNKNOWN_VR else _NOT_LISTED
                target.uncovered.append(Uncovered(tag, reason))
        if allowed:
            takers += item.inherited
        if vr in UNKNOWN_VR:
            for target in takers:
                target.fault = "it covers an element whose VR is unknown"
        return takers

    def _plain(self, sinks: list[Target], tag: int, vr: bytes, value: bytes) -> None:
        sent = header(tag, vr, len(value)) + value
        due = padded_as_due(vr, value)
        if due == value:
            self._write(sinks, sent)
            return
        for target in sinks:
            if target.restate is None:
                target.update(sent)
            else:
                target.restate(sent, header(tag, vr, len(due)) + due)

    @staticmethod
    def _write(sinks: list[Target], data: bytes | memoryview) -> None:
        for target in sinks:
            target.update(data)
