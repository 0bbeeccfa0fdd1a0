"""Which transfer syntaxes encode a stored data set, and how each is read (PS3.5 Annex A, PS3.6 Table A-1)."""

from dataclasses import dataclass
from functools import cache
from typing import Final

from pydicom.uid import UID, UID_dictionary

from storage.errors import UnsupportedTransferSyntax

IMPLICIT_LITTLE: Final = "1.2.840.10008.1.2"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG: Final = "1.2.840.10008.1.2.2"

_DEFLATED: Final = frozenset({DEFLATED_LITTLE, "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"})
_NATIVE: Final = frozenset(
    # JPIP names its pixels by a URL and carries none (PS3.5 A.6), so those data sets read like native ones.
    {IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED_LITTLE, EXPLICIT_BIG}
    | {"1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204", "1.2.840.10008.1.2.4.205"}
)
_NEWER_THAN_THE_DICTIONARY: Final = frozenset(
    # Named here, so that what is stored does not depend on which other library has taught pydicom's dictionary more.
    {
        "1.2.840.10008.1.2.4.110",  # JPEG XL Lossless
        "1.2.840.10008.1.2.4.111",  # JPEG XL JPEG Recompression
        "1.2.840.10008.1.2.4.112",  # JPEG XL
        "1.2.840.10008.1.2.8.1",  # Deflated Image Frame Compression
    }
)
_NOT_A_STORED_DATA_SET: Final = (
    "1.2.840.10008.1.2.6.",  # MIME encapsulation and XML encoding
    "1.2.840.10008.1.2.7.",  # SMPTE ST 2110 real-time streams
    "1.2.840.10008.1.20",  # Papyrus
)


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How the bytes of a data set are to be read."""

    uid: str
    explicit: bool
    little_endian: bool
    deflated: bool
    encapsulated: bool

    @property
    def mac_syntax(self) -> str:
        """The MAC Calculation Transfer Syntax of our signature (PS3.3 C.12.1.1.3.1.1): explicit, little endian."""
        return self.uid if self.encapsulated else EXPLICIT_LITTLE


@cache
def transfer_syntax(uid: str) -> TransferSyntax:
    """The transfer syntax of a UID.

    Raises:
        UnsupportedTransferSyntax: PS3.6 does not list it as one that encodes a stored data set.
    """
    if uid not in supported():
        raise UnsupportedTransferSyntax("not a transfer syntax of stored data sets")
    return TransferSyntax(
        uid=uid,
        explicit=uid != IMPLICIT_LITTLE,
        little_endian=uid != EXPLICIT_BIG,
        deflated=uid in _DEFLATED,
        encapsulated=uid not in _NATIVE,
    )


_CONVERTIBLE: Final = (EXPLICIT_LITTLE, DEFLATED_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE)
"""Encodings of the same elements, those that keep every VR first."""


@cache
def ways_out(uid: str) -> tuple[str, ...]:
    """The other syntaxes that a data set stored in this one converts to without loss, the best first."""
    return tuple(other for other in _CONVERTIBLE if other != uid) if uid in _CONVERTIBLE else ()


@cache
def supported() -> frozenset[str]:
    """Every transfer syntax UID of PS3.6 that encodes a stored data set, retired ones included."""
    return _NEWER_THAN_THE_DICTIONARY | frozenset(
        uid
        for uid in UID_dictionary
        if UID(uid).type == "Transfer Syntax" and not uid.startswith(_NOT_A_STORED_DATA_SET)
    )


def acceptable(proposed: list[str]) -> str | None:
    """The syntax a storage context is accepted in: the requestor's first explicit one that is stored, else its first.

    None if nothing proposed can be stored.
    """
    stored = [uid for uid in proposed if uid in supported()]
    explicit = [uid for uid in stored if uid != IMPLICIT_LITTLE]
    return next(iter(explicit or stored), None)
