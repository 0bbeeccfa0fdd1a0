"""How a new signature is written into a data set: its items in the encoding around them, as splices.

Nothing that is there is re-encoded. What grows are the length fields of whatever holds the new items and has a defined
length: the signature sequences themselves and, for a signature of an item, every item and sequence around it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from storage.errors import DataSetLimitExceeded
from storage.instance import Splice
from storage.integrity.explicit_little import header
from storage.integrity.layout import SplicePoint
from storage.integrity.mac import ITEM_MARK, SEQUENCE_END_MARK
from storage.integrity.value_representation import FORM, SHORT, WORD, swapped

_ITEM: Final = 0xFFFEE000
_MAX_LENGTH: Final = 0xFFFFFFFE
_SPACE_PADDED: Final = (b"CS", b"DT", b"SH", b"LO")

Field = tuple[int, bytes, "bytes | tuple[Field, ...]"]
"""Tag, VR and little-endian value of one element of an item; a sequence's value is its one item."""


def padded(vr: bytes, value: bytes) -> bytes:
    """The value with even length (PS3.5 6.2)."""
    return value + (b" " if vr in _SPACE_PADDED else b"\0") if len(value) & 1 else value


@dataclass(frozen=True, slots=True)
class Encoding:
    """How elements are written at one place."""

    explicit: bool
    big: bool

    def element(self, tag: int, vr: bytes, value: "bytes | tuple[Field, ...]") -> bytes:
        """One element, its value padded to even length."""
        content = padded(vr, value) if isinstance(value, bytes) else self.item(value)
        if self.big and vr in WORD:
            content = swapped(content, WORD[vr])
        group, element, length = tag >> 16, tag & 0xFFFF, len(content)
        order = ">" if self.big else "<"
        if not self.explicit:
            return Struct(order + "HHI").pack(group, element, length) + content
        if FORM[vr] == SHORT:
            return Struct(order + "HH2sH").pack(group, element, vr, length) + content
        return Struct(order + "HH2sHI").pack(group, element, vr, 0, length) + content

    def item(self, fields: tuple[Field, ...]) -> bytes:
        """One item of defined length (PS3.5 7.5)."""
        body = b"".join(self.element(*field) for field in fields)
        return Struct(">HHI" if self.big else "<HHI").pack(_ITEM >> 16, _ITEM & 0xFFFF, len(body)) + body

    def length(self, length: int) -> bytes:
        """A length field of four bytes."""
        return length.to_bytes(4, "big" if self.big else "little")


IMPLICIT_LITTLE: Final = Encoding(explicit=False, big=False)


def mac_bytes(fields: Iterable[Field]) -> bytes:
    """Elements as they go into a MAC: explicit VR little endian, sequences without lengths (PS3.3 C.12.1.1.3.1.2)."""
    parts: list[bytes] = []
    for tag, vr, value in fields:
        if isinstance(value, bytes):
            content = padded(vr, value)
            parts += (header(tag, vr, len(content)), content)
        else:
            parts += (header(tag, vr, 0)[:8], ITEM_MARK, mac_bytes(value), SEQUENCE_END_MARK)
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class LengthField:
    """The length field of something of defined length."""

    offset: int
    length: int
    """What it says."""
    big: bool


def additions(
    items: Mapping[int, tuple[Field, ...]],
    points: Mapping[int, SplicePoint],
    outside: Encoding,
    enclosing: Iterable[LengthField] = (),
) -> tuple[Splice, ...]:
    """What puts one item into each of some sequences of one level, or makes a sequence where there is none.

    Args:
        items: the new item by tag of its sequence.
        points: where each sequence is, or would be.
        outside: the encoding of the level.
        enclosing: every length field of what holds the level, in any order.

    Raises:
        DataSetLimitExceeded: a length would no longer fit its field.
    """
    splices: list[Splice] = []
    for tag, fields in items.items():
        point = points[tag]
        if not point.exists:
            splices.append(Splice(point.offset, 0, outside.element(tag, b"SQ", fields)))
            continue
        # PS3.5 6.2.2 note 2: the value of a sequence whose VR is UN is implicit VR little endian.
        item = (outside if point.named else IMPLICIT_LITTLE).item(fields)
        splices.append(Splice(point.offset, 0, item))
        if point.length_at is not None:
            splices.append(relengthed(LengthField(point.length_at, point.length, outside.big), len(item)))
    grown = sum(len(splice.inserted) - splice.removed for splice in splices)
    splices += [relengthed(field, grown) for field in enclosing]
    return tuple(sorted(splices, key=lambda splice: splice.offset))


def relengthed(field: LengthField, grown: int) -> Splice:
    """A length field that says ``grown`` more than it did. Raises `DataSetLimitExceeded`."""
    length = field.length + grown
    if length > _MAX_LENGTH:
        raise DataSetLimitExceeded("no room in a sequence for a signature")
    return Splice(field.offset, 4, length.to_bytes(4, "big" if field.big else "little"))
