"""What the tokenizer tells of a data set, to whom, and within which bounds."""

from dataclasses import dataclass
from typing import Final, Protocol

# Kinds of events. Every event is (kind, tag, VR, start, value, end) with offsets into the window it comes with.
ELEMENT: Final = 0
"""A whole element: its header is window[start:value], its value window[value:end]."""
LARGE: Final = 1
"""An element whose value follows in pieces; ``end`` is the length of the value."""
SEQUENCE_START: Final = 2
"""``end`` is the declared length, `UNDEFINED` if it has none. The VR is UN where the element says so (PS3.5 6.2.2)."""
ITEM_START: Final = 3
ITEM_END: Final = 4
"""window[start:value] is the delimiter, empty after a defined length."""
SEQUENCE_END: Final = 5
PIXELS_START: Final = 6
"""Encapsulated Pixel Data (PS3.5 A.4)."""
FRAGMENT: Final = 7
"""A whole fragment, the Basic Offset Table included."""
LARGE_FRAGMENT: Final = 8
"""A fragment that follows in pieces; ``end`` is its length."""
PIXELS_END: Final = 9

Event = tuple[int, int, bytes, int, int, int]

UNDEFINED: Final = 0xFFFFFFFF
PIXEL_DATA: Final = 0x7FE00010
PIXEL_REPRESENTATION: Final = 0x00280103
ITEM: Final = 0xFFFEE000
ITEM_DELIMITER: Final = 0xFFFEE00D
SEQUENCE_DELIMITER: Final = 0xFFFEE0DD


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds on what one data set may ask of its reader."""

    elements: int = 4_000_000
    """Elements, items and fragments at all levels."""
    top_level_elements: int = 16_383
    """Tags that Data Elements Signed can list in an explicit VR data set (a 16-bit length of 4-byte tags)."""
    depth: int = 128
    """Sequences within one another."""
    value: int = 65_536
    """Bytes of one value that is to be kept."""
    values: int = 524_288
    """Bytes of all values that are to be kept."""
    signatures: int = 256
    """Digital signatures and MAC parameters at the top level."""
    inflated: int = 16 * 1024 * 1024
    """Bytes that a deflated data set may grow to whatever its size."""
    inflation: int = 256
    """Bytes that it may grow to beyond that, per byte received."""
    tokenizer_seconds: float = 30.0
    """Processor time of the thread that tokenizes it and tells its consumers; pieces of large values do not count."""


class Consumer(Protocol):
    """Who is told of the events."""

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        """What was found in ``window``, which begins at ``offset`` of the data set; only the last may be large."""

    def piece(self, data: memoryview) -> None:
        """More of the large value or fragment that the last event announced; the view is not to be kept."""
