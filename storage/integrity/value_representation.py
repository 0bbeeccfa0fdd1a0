"""Value representations (PS3.5 6.2): how each is encoded explicitly, and which one a tag has where it is not said.

Nothing here decodes a value.
"""

import array
from functools import lru_cache
from typing import Final

from pydicom.datadict import DicomDictionary, RepeatersDictionary

SHORT: Final = 1
"""A 16-bit length follows the VR (PS3.5 Table 7.1-2)."""
LONG: Final = 2
"""Two reserved bytes and a 32-bit length follow the VR (PS3.5 Table 7.1-1)."""
SEQUENCE: Final = 3
"""As `LONG`; the value is a sequence of items."""

MAX_SHORT: Final = 0xFFFE
"""The longest value that a 16-bit length can say."""

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
def rare_vr(tag: int) -> bytes:
    """The VR of a tag that `IMPLICIT_VR` does not list: group lengths, repeating groups, private elements.

    A private element whose VR is not said has none here, whatever somebody's dictionary holds: a signature must not
    depend on the edition of a list (PS3.5 6.2.2).

    Returns:
        ``UN`` where nothing is known.
    """
    group, element = tag >> 16, tag & 0xFFFF
    if element == 0:
        return b"UL"
    if group & 1:
        return b"LO" if 0x10 <= element <= 0xFF else b"UN"
    return next((vr for mask, pattern, vr in _REPEATERS if tag & mask == pattern), b"UN")


TEXT: Final = frozenset(b"AE AS CS DA DS DT IS LO LT PN SH ST TM UC UR UT".split())
"""VRs that are padded with a space (PS3.5 6.2)."""
_WHITE_SPACE: Final = b" \t\n\v\f\r"


def padded_as_due(vr: bytes, value: bytes) -> bytes:
    """The value with no more padding than makes its length even (PS3.5 6.2), and a UID without white space.

    Senders that pad to a fixed width are many. Their bytes are kept, but a MAC is calculated over what this returns,
    because that is what verifiers have once they have read the value.
    """
    if vr in TEXT:
        if not value.endswith(b"  "):
            return value
        value = value.rstrip(b" ")
        return value + b" " if len(value) & 1 else value
    if vr == b"UI":
        value = value.translate(None, _WHITE_SPACE).rstrip(b"\0")
        return value + b"\0" if len(value) & 1 else value
    return value
