"""Our digital signature over a received data set (PS3.15 C.1 Base RSA, PS3.3 C.12.1.1.3).

It covers every signable top-level element, is made from the hash that `inspection` left behind, and is told as splices:
received bytes are never re-encoded. Signatures of every other kind are made by `storage.integrity.signing`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from struct import Struct
from typing import Final

from storage.crypto.signing_key import SigningKey, sign_digest
from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.identifiers import Uid, new_uid
from storage.instance import Inspection, Splice
from storage.integrity.inspection import Seal
from storage.integrity.mac import DIGITAL_SIGNATURES, MAC_PARAMETERS
from storage.integrity.profiles import PURPOSE_SCHEME, PURPOSES
from storage.integrity.signature_writer import Encoding, Field, additions, mac_bytes, padded
from storage.transfer_syntax import TransferSyntax

_MAC_IDS: Final = 1 << 16
_ALGORITHM: Final = "SHA256"


@dataclass(frozen=True, slots=True)
class MadeSignature:
    """A signature, as the splices that put it into the received bytes."""

    splices: tuple[Splice, ...]
    """In the order of their offsets."""
    uid: Uid
    value_digest: bytes
    """SHA-256 of the signature value, comparable with `Inspection.signature_values`."""
    mac_id: int
    signed_tags: tuple[int, ...]


class Signer:
    """Signs inspected data sets with one key. Threads may share it."""

    def __init__(self, key: SigningKey, certificate_der: bytes) -> None:
        """Take the key and its own X.509 certificate, DER encoded."""
        self._using = (key, certificate_der)

    def use(self, key: SigningKey, certificate_der: bytes) -> None:
        """Sign with another key from now on."""
        self._using = (key, certificate_der)

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
        key, certificate = self._using
        mac_id = free_mac_id(seal.mac_ids)
        uid = new_uid()
        identity = identity_fields(mac_id, uid, moment)
        mac = seal.mac.copy()
        mac.update(mac_bytes(identity))
        value = sign_digest(key, mac.digest(), _ALGORITHM)
        items = {
            MAC_PARAMETERS: parameter_fields(mac_id, syntax.mac_syntax, _ALGORITHM, inspection.signed_tags),
            DIGITAL_SIGNATURES: signature_fields(identity, certificate, value),
        }
        points = {MAC_PARAMETERS: seal.mac_parameters, DIGITAL_SIGNATURES: seal.digital_signatures}
        return MadeSignature(
            splices=additions(items, points, Encoding(syntax.explicit, not syntax.little_endian)),
            uid=uid,
            value_digest=sha256(padded(b"OB", value)).digest(),
            mac_id=mac_id,
            signed_tags=inspection.signed_tags,
        )


def free_mac_id(taken: Iterable[int]) -> int:
    """The lowest MAC ID (0400,0005) that nobody at the level uses. Raises `DataSetLimitExceeded`."""
    known = frozenset(taken)
    found = next((number for number in range(_MAC_IDS) if number not in known), None)
    if found is None:
        raise DataSetLimitExceeded("every MAC ID is taken")
    return found


def identity_fields(mac_id: int, uid: str, moment: datetime, purpose: str = "") -> tuple[Field, ...]:
    """What of a signature item goes into its own MAC (PS3.3 C.12.1.1.3.1.2), in tag order."""
    fields: tuple[Field, ...] = (
        (0x04000005, b"US", mac_id.to_bytes(2, "little")),
        (0x04000100, b"UI", uid.encode()),
        (0x04000105, b"DT", moment.astimezone(UTC).strftime("%Y%m%d%H%M%S.%f+0000").encode()),
        (0x04000110, b"CS", b"X509_1993_SIG"),
    )
    if not purpose:
        return fields
    code: tuple[Field, ...] = (
        (0x00080100, b"SH", purpose.encode()),
        (0x00080102, b"SH", PURPOSE_SCHEME.encode()),
        (0x00080104, b"LO", PURPOSES[purpose].encode()),
    )
    return (*fields, (0x04000401, b"SQ", code))


def signature_fields(
    identity: Sequence[Field], certificate: bytes, value: bytes, stamp: bytes | None = None
) -> tuple[Field, ...]:
    """A whole signature item (PS3.3 Table C.12-6), in tag order; ``stamp``: a TimeStampToken over the value."""
    fields = [*identity, (0x04000115, b"OB", certificate), (0x04000120, b"OB", value)]
    if stamp is not None:
        fields += [(0x04000305, b"CS", b"CMS_TSP"), (0x04000310, b"OB", stamp)]
    return tuple(sorted(fields, key=lambda field: field[0]))


def parameter_fields(mac_id: int, mac_syntax: str, algorithm: str, tags: Sequence[int]) -> tuple[Field, ...]:
    """A whole MAC parameters item (PS3.3 Table C.12-6), in tag order."""
    return (
        (0x04000005, b"US", mac_id.to_bytes(2, "little")),
        (0x04000010, b"UI", mac_syntax.encode()),
        (0x04000015, b"CS", algorithm.encode()),
        (0x04000020, b"AT", _listed(tuple(tags))),
    )


@lru_cache(maxsize=64)
def _listed(tags: tuple[int, ...]) -> bytes:
    """Tags as a value of AT (PS3.5 6.2). The objects of a series have the same elements."""
    return Struct(f"<{2 * len(tags)}H").pack(*chain.from_iterable((tag >> 16, tag & 0xFFFF) for tag in tags))
