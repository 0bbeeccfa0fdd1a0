"""Value representations (PS3.5 6.2): how each is encoded explicitly, and which one a tag has where it is not said.

Nothing here decodes a value.
"""

import array
from functools import lru_cache
from typing import Final

from pydicom.datadict import DicomDictionary, RepeatersDictionary, private_dictionary_VR

SHORT: Final = 1
"""A 16-bit length follows the VR (PS3.5 Table 7.1-2)."""
LONG: Final = 2
"""Two reserved bytes and a 32-bit length follow the VR (PS3.5 Table 7.1-1)."""
SEQUENCE: Final = 3
"""As `LONG`; the value is a sequence of items."""

BLANK: Final = b"  "
"""Two spaces where a VR should be, as some modalities write; read as DCMTK does, with a 16-bit length."""

FORM: Final[dict[bytes, int]] = {
    **dict.fromkeys(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split(), SHORT),
    **dict.fromkeys(b"OB OD OF OL OV OW SV UC UN UR UT UV".split(), LONG),
    b"SQ": SEQUENCE,
    BLANK: SHORT,
}
"""How an explicit VR is followed; a VR that is not here is none."""

WORD: Final[dict[bytes, int]] = {
    **dict.fromkeys((b"US", b"SS", b"OW", b"AT"), 2),
    **dict.fromkeys((b"UL", b"SL", b"FL", b"OF", b"OL"), 4),
    **dict.fromkeys((b"FD", b"OD", b"SV", b"UV", b"OV"), 8),
}
"""Bytes per word of the VRs whose value depends on byte order (PS3.5 7.3)."""

_TYPECODE: Final = {2: "H", 4: "I", 8: "Q"}

US_OR_SS: Final = b"xs"
"""The dictionary leaves it to Pixel Representation (PS3.5 A.1)."""


def swapped(value: bytes | memoryview, word: int) -> bytes:
    """The value in the other byte order; what is left over of a last word stays as it is."""
    whole = len(value) - len(value) % word
    words = array.array(_TYPECODE[word], bytes(value[:whole]))
    words.byteswap()
    return words.tobytes() + bytes(value[whole:])


def _settled(vr: str) -> bytes:
    """One VR of those that PS3.6 lists, as implicit VR little endian reads it (PS3.5 A.1)."""
    if "OW" in vr:
        return b"OW"
    if vr == "US or SS":
        return US_OR_SS
    return vr.encode()


IMPLICIT_VR: Final[dict[int, bytes]] = {
    tag: _settled(entry[0]) for tag, entry in DicomDictionary.items() if tag < 0xFFFE0000
}
"""Tag -> VR of the data dictionary (PS3.6), for data sets that do not say it."""


def _repeaters() -> tuple[tuple[int, int, bytes], ...]:
    """(mask, tag, VR) of the tags that PS3.6 writes with an x."""
    return tuple(
        (
            int("".join("0" if digit == "x" else "F" for digit in pattern), 16),
            int(pattern.replace("x", "0"), 16),
            _settled(entry[0]),
        )
        for pattern, entry in RepeatersDictionary.items()
    )


_REPEATERS: Final = _repeaters()


@lru_cache(maxsize=4096)
def rare_vr(tag: int, creator: str | None) -> bytes:
    """The VR of a tag that `IMPLICIT_VR` does not list: group lengths, repeating groups, private elements.

    Args:
        tag: the data element's tag.
        creator: the private creator that reserved its block, if it is private and has one.

    Returns:
        ``UN`` where nothing is known (PS3.5 6.2.2).
    """
    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:
        return b"UL"
    if group & 1:
        return _private_vr(tag, element, creator)
    return next((vr for mask, pattern, vr in _REPEATERS if tag & mask == pattern), b"UN")


def _private_vr(tag: int, element: int, creator: str | None) -> bytes:
    if 0x10 <= element <= 0xFF:
        return b"LO"
    if creator is None:
        return b"UN"
    try:
        vr = private_dictionary_VR(tag, creator)
    except KeyError:
        return b"UN"
    return _settled(vr)
