"""Our digital signature over a received data set (PS3.15 C.1 Base RSA, PS3.3 C.12.1.1.3).

It covers every signable top-level element, is made from the hash that `inspection` left behind, and is told as splices:
received bytes are never re-encoded.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import chain
from struct import Struct
from typing import Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.identifiers import Uid, new_uid
from storage.instance import Inspection, Splice
from storage.integrity.explicit_little import header
from storage.integrity.inspection import Seal
from storage.integrity.layout import SplicePoint
from storage.integrity.mac import DIGITAL_SIGNATURES, MAC_PARAMETERS
from storage.integrity.value_representation import FORM, SHORT, WORD, swapped
from storage.transfer_syntax import TransferSyntax

_ITEM: Final = 0xFFFEE000
_MAC_IDS: Final = 1 << 16
_MAX_LENGTH: Final = 0xFFFFFFFE
_SPACE_PADDED: Final = (b"CS", b"DT")

_Field = tuple[int, bytes, bytes]
"""Tag, VR and little-endian value of one element of an item."""


@dataclass(frozen=True, slots=True)
class MadeSignature:
    """A signature, as the splices that put it into the received bytes."""

    splices: tuple[Splice, ...]
    """In the order of their offsets."""
    uid: Uid
    value_digest: bytes
    """SHA-256 of the signature value, comparable with `Inspection.signature_values`."""
    mac_id: int


@dataclass(frozen=True, slots=True)
class _Encoding:
    """How elements are written where the splices go."""

    explicit: bool
    big: bool

    def element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        """One element, its value padded to even length (PS3.5 6.2)."""
        value = _padded(vr, value)
        if self.big and vr in WORD:
            value = swapped(value, WORD[vr])
        group, element, length = tag >> 16, tag & 0xFFFF, len(value)
        order = ">" if self.big else "<"
        if not self.explicit:
            return Struct(order + "HHI").pack(group, element, length) + value
        if FORM[vr] == SHORT:
            return Struct(order + "HH2sH").pack(group, element, vr, length) + value
        return Struct(order + "HH2sHI").pack(group, element, vr, 0, length) + value

    def item(self, fields: tuple[_Field, ...]) -> bytes:
        """One item of defined length (PS3.5 7.5)."""
        body = b"".join(self.element(*field) for field in fields)
        return Struct(">HHI" if self.big else "<HHI").pack(_ITEM >> 16, _ITEM & 0xFFFF, len(body)) + body

    def length(self, length: int) -> bytes:
        """A length field of four bytes."""
        return length.to_bytes(4, "big" if self.big else "little")


class Signer:
    """Signs inspected data sets with one RSA key. Threads may share it."""

    def __init__(self, key: RSAPrivateKey, certificate_der: bytes) -> None:
        """Take the key and its own X.509 certificate, DER encoded."""
        self._key = key
        self._certificate = certificate_der

    def sign(self, inspection: Inspection, syntax: TransferSyntax, moment: datetime) -> MadeSignature:
        """Sign every element of `Inspection.signed_tags`.

        Args:
            inspection: what `DataSetInspector.finish` returned; it is not changed.
            syntax: the transfer syntax that was inspected.
            moment: when it is signed, an aware time; written as UTC, which is how verifiers compare it.

        Raises:
            MalformedDataSet: nothing in the data set may be signed.
            DataSetLimitExceeded: every MAC ID is taken, or an existing sequence has no room.
        """
        seal = inspection.seal
        if not isinstance(seal, Seal):
            raise TypeError("an inspection carries the seal that its inspector made")
        if not inspection.signed_tags:
            raise MalformedDataSet("nothing may be signed")
        mac_id = next((number for number in range(_MAC_IDS) if number not in seal.mac_ids), None)
        if mac_id is None:
            raise DataSetLimitExceeded("every MAC ID is taken")
        uid = new_uid()
        number = mac_id.to_bytes(2, "little")
        # PS3.3 Table C.12-6, in tag order; all but certificate and signature go into the MAC (C.12.1.1.3.1.2).
        identity: tuple[_Field, ...] = (
            (0x04000005, b"US", number),
            (0x04000100, b"UI", uid.encode()),
            (0x04000105, b"DT", moment.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000").encode()),
            (0x04000110, b"CS", b"X509_1993_SIG"),
        )
        mac = seal.mac.copy()
        for tag, vr, value in identity:
            mac.update(header(tag, vr, len(_padded(vr, value))) + _padded(vr, value))
        value = self._key.sign(mac.digest(), PKCS1v15(), Prehashed(SHA256()))
        signature = (*identity, (0x04000115, b"OB", self._certificate), (0x04000120, b"OB", value))
        tags = Struct(f"<{2 * len(inspection.signed_tags)}H").pack(*chain(*map(_halves, inspection.signed_tags)))
        parameters: tuple[_Field, ...] = (
            (0x04000005, b"US", number),
            (0x04000010, b"UI", syntax.mac_syntax.encode()),
            (0x04000015, b"CS", b"SHA256"),
            (0x04000020, b"AT", tags),
        )
        return MadeSignature(
            splices=(
                *_splices(MAC_PARAMETERS, seal.mac_parameters, syntax, parameters),
                *_splices(DIGITAL_SIGNATURES, seal.digital_signatures, syntax, signature),
            ),
            uid=uid,
            value_digest=sha256(_padded(b"OB", value)).digest(),
            mac_id=mac_id,
        )


def _halves(tag: int) -> tuple[int, int]:
    return tag >> 16, tag & 0xFFFF


def _padded(vr: bytes, value: bytes) -> bytes:
    return value + (b" " if vr in _SPACE_PADDED else b"\0") if len(value) & 1 else value


def _splices(tag: int, point: SplicePoint, syntax: TransferSyntax, fields: tuple[_Field, ...]) -> tuple[Splice, ...]:
    """What puts one item into its sequence, or a sequence of one item where there is none."""
    outside = _Encoding(syntax.explicit, not syntax.little_endian)
    if not point.exists:
        return (Splice(point.offset, 0, outside.element(tag, b"SQ", outside.item(fields))),)
    # PS3.5 6.2.2 note 2: the value of a sequence whose VR is UN is implicit VR little endian.
    inside = outside if point.named else _Encoding(explicit=False, big=False)
    item = inside.item(fields)
    grown = Splice(point.offset, 0, item)
    if point.length_at is None:
        return (grown,)
    length = point.length + len(item)
    if length > _MAX_LENGTH:
        raise DataSetLimitExceeded(f"no room in {tag:08X}")
    return (Splice(point.length_at, 4, outside.length(length)), grown)
