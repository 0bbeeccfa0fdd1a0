"""Which signatures survive when a data set leaves in implicit VR (PS3.15 A.2).

A MAC is calculated over explicit VR little endian. Byte order, deflation and lengths do not touch it; a VR that is no
longer said does, where a reader's data dictionary gives the element another one. A signature that covers such an
element is told on no more, and neither are those within the items of a sequence that holds one.
"""

from dataclasses import dataclass, field
from typing import Final

from storage.integrity.element_events import (
    ELEMENT,
    ITEM_START,
    LARGE,
    PIXEL_REPRESENTATION,
    SEQUENCE_END,
    SEQUENCE_START,
    Event,
)
from storage.integrity.mac import MAC_PARAMETERS
from storage.integrity.reencoding import SIGNATURES, LeftOut, NoOtherForm
from storage.integrity.signed_item import ELEMENTS_SIGNED, MAC_ID
from storage.integrity.value_representation import IMPLICIT_VR, US_OR_SS, rare_vr

_KEPT: Final = frozenset({MAC_ID, ELEMENTS_SIGNED})


@dataclass(slots=True)
class _Item:
    """One item of a signature sequence at the top level."""

    sequence: int
    number: int
    mac_id: bytes = b""
    tags: bytearray = field(default_factory=bytearray)


class Survival:
    """Consumes explicit VR little endian events; after the last, `left_out` says what must not be told on."""

    def __init__(self) -> None:
        self.changed: set[int] = set()
        """Top-level tags of which something has another VR for who reads it without."""
        self._open: list[int] = []
        """Tags of the open sequences, outermost first."""
        self._signed = [False]
        """For the data set and each open sequence: whether Pixel Representation, as far as it is known, says signed."""
        self._items: list[_Item] = []
        self._signed_within: set[int] = set()
        self._collecting: bytearray | None = None

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """Compare what is said with what would be read."""
        for kind, tag, vr, _, value, end in events:
            if kind in (ELEMENT, LARGE):
                self._collecting = None
                if tag & 0xFFFF:
                    self._compare(tag, vr)
                if tag == PIXEL_REPRESENTATION and kind == ELEMENT:
                    self._signed[-1] = window[value:end] == b"\1\0"
                if tag in _KEPT and self._in_signatures():
                    self._keep(tag, window[value:end] if kind == ELEMENT else None)
            elif kind == SEQUENCE_START:
                self._descend(tag, vr)
            elif kind == ITEM_START and self._in_signatures():
                sequence = self._open[0]
                number = sum(item.sequence == sequence for item in self._items)
                self._items.append(_Item(sequence, number))
            elif kind == SEQUENCE_END:
                self._open.pop()
                self._signed.pop()

    def piece(self, data: memoryview) -> None:
        """A piece of a large value."""
        if self._collecting is not None:
            self._collecting += data

    def left_out(self) -> LeftOut:
        """What covers something that is changed."""
        spoilt = {item.mac_id for item in self._items if item.sequence == MAC_PARAMETERS and self._covers(item)}
        gone = frozenset((item.sequence, item.number) for item in self._items if item.mac_id in spoilt)
        sequences = frozenset(
            sequence
            for sequence in SIGNATURES
            if any(item.sequence == sequence for item in self._items)
            and all((item.sequence, item.number) in gone for item in self._items if item.sequence == sequence)
        )
        return LeftOut(gone, sequences, frozenset(self._signed_within & self.changed))

    def _covers(self, item: _Item) -> bool:
        tags = bytes(item.tags)
        return any(
            int.from_bytes(tags[at : at + 2], "little") << 16 | int.from_bytes(tags[at + 2 : at + 4], "little")
            in self.changed
            for at in range(0, len(tags) - 3, 4)
        )

    def _compare(self, tag: int, vr: bytes) -> None:
        implied = IMPLICIT_VR.get(tag) or rare_vr(tag)
        if implied == US_OR_SS:
            implied = b"SS" if self._signed[-1] else b"US"
        if implied == vr or (self._open and self._open[0] in SIGNATURES):
            return
        if implied == b"SQ" and vr != b"UN":
            raise NoOtherForm("without its VR, an element would be read as a sequence")
        self.changed.add(self._open[0] if self._open else tag)

    def _descend(self, tag: int, vr: bytes) -> None:
        implied = IMPLICIT_VR.get(tag) or rare_vr(tag)
        if implied not in (b"SQ", b"UN"):
            raise NoOtherForm("without its VR, a sequence would be read as something else")
        top = self._open[0] if self._open else tag
        if vr == b"UN":
            # It is told as SQ from now on.
            self.changed.add(top)
        if self._open and tag in SIGNATURES:
            self._signed_within.add(top)
        self._open.append(tag)
        self._signed.append(self._signed[-1])

    def _in_signatures(self) -> bool:
        return len(self._open) == 1 and self._open[0] in SIGNATURES

    def _keep(self, tag: int, value: bytes | None) -> None:
        if not self._items:
            return
        item = self._items[-1]
        if tag == MAC_ID:
            item.mac_id = value or b""
        elif value is not None:
            item.tags += value
        else:
            self._collecting = item.tags
