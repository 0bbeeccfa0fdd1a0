"""A native data set in another native transfer syntax (PS3.5 A.1, A.2, A.3, A.5): the same elements, encoded anew.

Values stay as they are but for their byte order. Sequences and items leave with undefined lengths, which no length can
contradict, and without group lengths, which would be wrong. Nothing is decoded, and nothing is held whole.

What must never live here: Pixel Data that is encapsulated; it has no other form (`NoOtherForm`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from storage.errors import UnsupportedTransferSyntax
from storage.integrity.element_events import (
    ELEMENT,
    ITEM,
    ITEM_DELIMITER,
    ITEM_END,
    ITEM_START,
    LARGE,
    SEQUENCE_DELIMITER,
    SEQUENCE_END,
    SEQUENCE_START,
    UNDEFINED,
    Consumer,
    Event,
    StreamLimits,
)
from storage.integrity.element_stream import ElementStream
from storage.integrity.explicit_little import ExplicitLittle
from storage.integrity.mac import DIGITAL_SIGNATURES, MAC_PARAMETERS
from storage.integrity.value_representation import FORM, MAX_SHORT, SHORT, WORD, swapped
from storage.transfer_syntax import TransferSyntax

SIGNATURES: Final = (MAC_PARAMETERS, DIGITAL_SIGNATURES)
_UNBOUNDED: Final = StreamLimits(elements=1 << 62)
"""Kept data sets passed their bounds when they came in."""


class NoOtherForm(UnsupportedTransferSyntax):
    """The data set has no form in the transfer syntax that is wanted."""

    number = 217


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What of a data set's signatures is not told on, since it would not be valid any more (PS3.15 A.2)."""

    items: frozenset[tuple[int, int]] = frozenset()
    """Of the signature sequences at the top level: tag and number of the item, from 0."""
    sequences: frozenset[int] = frozenset()
    """Those of them of which no item is left."""
    within: frozenset[int] = frozenset()
    """Top-level sequences whose items lose their own signatures."""


NOTHING_LEFT_OUT: Final = LeftOut()


def read(chunks: Iterable[bytes | memoryview], source: TransferSyntax, consumer: Consumer) -> Iterator[None]:
    """Tell a consumer of a data set, not deflated, as explicit VR little endian; one step for each chunk.

    Raises:
        MalformedDataSet: it is not a data set in its syntax.
    """
    plain = source.explicit and source.little_endian
    stream = ElementStream(
        source, consumer if plain else ExplicitLittle(consumer, not source.little_endian), _UNBOUNDED
    )
    for chunk in chunks:
        stream.feed(chunk)
        yield
    stream.finish()
    yield


def reencoded(
    chunks: Iterable[bytes | memoryview],
    source: TransferSyntax,
    target: TransferSyntax,
    left_out: LeftOut = NOTHING_LEFT_OUT,
) -> Iterator[bytes]:
    """A data set, neither deflated before nor after, in another native syntax.

    Raises:
        NoOtherForm: it holds encapsulated Pixel Data.
        MalformedDataSet: it is not a data set in its syntax.
    """
    encoder = _Encoder(target, left_out)
    for _ in read(chunks, source, encoder):
        yield from encoder.taken()


class _Encoder:
    """Consumes explicit VR little endian events and writes them in the target's encoding."""

    def __init__(self, target: TransferSyntax, left_out: LeftOut) -> None:
        self._explicit = target.explicit
        self._big = not target.little_endian
        order = ">" if self._big else "<"
        self._short = Struct(order + "HH2sH").pack
        self._long = Struct(order + "HH2sHI").pack
        self._bare = Struct(order + "HHI").pack
        self._item = self._bare(ITEM >> 16, ITEM & 0xFFFF, UNDEFINED)
        self._item_end = self._bare(ITEM_DELIMITER >> 16, ITEM_DELIMITER & 0xFFFF, 0)
        self._sequence_end = self._bare(SEQUENCE_DELIMITER >> 16, SEQUENCE_DELIMITER & 0xFFFF, 0)
        self._left_out = left_out
        self._parts: list[bytes] = []
        self._level = 0
        """Open sequences and open items."""
        self._top = 0
        """Tag of the outermost open sequence."""
        self._number = -1
        """Its present item."""
        self._skipped: int | None = None
        """The level at which what is left out ends; None where nothing is."""
        self._word = 0
        """Bytes per word of the large value that follows; 0 where it is left out."""
        self._left = 0
        self._rest = b""

    def taken(self) -> Iterator[bytes]:
        """What was written since the last call."""
        if self._parts:
            parts, self._parts = self._parts, []
            yield b"".join(parts)

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """Write one window's elements."""
        add = self._parts.append
        for kind, tag, vr, _, value, end in events:
            if kind == ELEMENT:
                if self._skipped is not None or not tag & 0xFFFF:
                    continue
                content = window[value:end]
                add(self._header(tag, vr, end - value))
                add(swapped(content, WORD[vr]) if self._big and vr in WORD else content)
            elif kind == LARGE:
                self._word, self._left, self._rest = 0, end, b""
                if self._skipped is not None or not tag & 0xFFFF:
                    continue
                self._word = WORD.get(vr, 1) if self._big else 1
                add(self._header(tag, vr, end))
            elif kind == SEQUENCE_START:
                # A sequence that says UN is one all the same (PS3.5 6.2.2 note 2); its items are told as what they are.
                self._open(self._header(tag, b"SQ", UNDEFINED), self._leaves_out_sequence(tag))
            elif kind == SEQUENCE_END:
                self._close(self._sequence_end)
            elif kind == ITEM_START:
                self._open(self._item, self._leaves_out_item())
            elif kind == ITEM_END:
                self._close(self._item_end)
            else:
                raise NoOtherForm("encapsulated Pixel Data leaves in its own transfer syntax")

    def piece(self, data: memoryview) -> None:
        """Write a piece of a large value, keeping back the words that it cuts."""
        self._left -= len(data)
        if self._word == 1:
            self._parts.append(bytes(data))
        elif self._word:
            whole = b"".join((self._rest, data))
            cut = len(whole) - len(whole) % self._word if self._left else len(whole)
            self._rest = whole[cut:]
            self._parts.append(swapped(memoryview(whole)[:cut], self._word))

    def _header(self, tag: int, vr: bytes, length: int) -> bytes:
        group, element = tag >> 16, tag & 0xFFFF
        if not self._explicit:
            return self._bare(group, element, length)
        if FORM[vr] != SHORT:
            return self._long(group, element, vr, 0, length)
        if length > MAX_SHORT:
            raise NoOtherForm("a value is too long for its VR")
        return self._short(group, element, vr, length)

    def _open(self, head: bytes, left_out: bool) -> None:
        if self._skipped is None:
            if left_out:
                self._skipped = self._level
            else:
                self._parts.append(head)
        self._level += 1

    def _close(self, delimiter: bytes) -> None:
        self._level -= 1
        if self._skipped is None:
            self._parts.append(delimiter)
        elif self._level == self._skipped:
            self._skipped = None

    def _leaves_out_sequence(self, tag: int) -> bool:
        if not self._level:
            self._top, self._number = tag, -1
            return tag in self._left_out.sequences
        return tag in SIGNATURES and self._top in self._left_out.within

    def _leaves_out_item(self) -> bool:
        if self._level != 1:
            return False
        self._number += 1
        return (self._top, self._number) in self._left_out.items
