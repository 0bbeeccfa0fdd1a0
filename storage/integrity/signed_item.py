"""One digital signature as it was found, and the checks that need no data set (PS3.3 Table C.12-6, PS3.15 C.1)."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from storage.errors import UnsupportedTransferSyntax
from storage.integrity.mac import signable
from storage.integrity.profiles import PURPOSE_SCHEME, PURPOSES
from storage.integrity.timestamp import Stamp, StampInvalid, StampVerifier
from storage.transfer_syntax import transfer_syntax

if TYPE_CHECKING:
    from hashlib import _Hash

MAC_ID: Final = 0x04000005
MAC_SYNTAX: Final = 0x04000010
MAC_ALGORITHM: Final = 0x04000015
ELEMENTS_SIGNED: Final = 0x04000020
SIGNATURE_UID: Final = 0x04000100
SIGNATURE_TIME: Final = 0x04000105
CERTIFICATE_TYPE: Final = 0x04000110
CERTIFICATE: Final = 0x04000115
SIGNATURE: Final = 0x04000120
TIMESTAMP_TYPE: Final = 0x04000305
TIMESTAMP: Final = 0x04000310
PURPOSE: Final = 0x04000401

_HASHES: Final[dict[str, hashes.HashAlgorithm | None]] = {
    "RIPEMD160": None,  # known to hashlib only
    "MD5": hashes.MD5(),  # noqa: S303 - validators have to read it (PS3.15 C.1)
    "SHA1": hashes.SHA1(),  # noqa: S303 - as above
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}
WEAK: Final = frozenset({"RIPEMD160", "MD5", "SHA1"})
"""Algorithms that PS3.15 C.1 lists and no one should rely on."""
WEAK_RSA_BITS: Final = 2048
"""Shorter RSA keys are weak (NIST SP 800-131A)."""
_OTHER_CONTENT: Final = "the signed elements are not what was signed: they were changed, or it is another object's"
_OTHER_KEY: Final = "the signature value is not one that the certificate's key made over this"
_RIPEMD160_INFO: Final = bytes.fromhex("3021300906052b2403020105000414")
"""DigestInfo of RIPEMD-160 (RFC 8017 9.2), up to the digest."""


class Verdict(Enum):
    """What came of checking one signature."""

    VALID = "valid"
    WEAK = "valid but weak"
    """Right, with a digest or key that no longer resists forgery."""
    UNKNOWN_SIGNER = "unknown signer"
    """Right, by a key that nobody vouches for."""
    REVOKED = "signer revoked"
    """Right, by a key that its authority has withdrawn."""
    OUTSIDE_VALIDITY = "outside validity"
    """Right, but its certificate was not valid at the time it gives."""
    INVALID = "invalid"
    INDETERMINATE = "indeterminate"
    """Neither right nor wrong: it covers an element whose VR is not known for certain, or an algorithm is not here."""


class SignatureFault(Exception):
    """This signature is not valid; the text says why."""

    def __init__(self, reason: str, verdict: Verdict = Verdict.INVALID) -> None:
        super().__init__(reason)
        self.verdict = verdict


@dataclass(slots=True)
class SignedItem:
    """One item of a Digital Signatures Sequence with the MAC parameters that it names, values as they stand."""

    path: tuple[tuple[int, int], ...]
    fields: dict[int, bytes] = field(default_factory=dict)
    tail: bytearray = field(default_factory=bytearray)
    """The item's own elements as they go into the MAC (PS3.3 C.12.1.1.3.1.2)."""
    parameters: dict[int, bytes] = field(default_factory=dict)
    purpose_code: str = ""
    purpose_scheme: str = ""

    def text(self, tag: int) -> str:
        """A text value without its padding; empty if absent."""
        return (self.fields.get(tag) or self.parameters.get(tag) or b"").decode("latin-1").strip(" \0")

    @property
    def tags(self) -> tuple[int, ...]:
        """Data Elements Signed, as listed."""
        value = self.parameters.get(ELEMENTS_SIGNED, b"")
        words = [int.from_bytes(value[at : at + 2], "little") for at in range(0, len(value) - len(value) % 4, 2)]
        return tuple(group << 16 | element for group, element in zip(words[::2], words[1::2], strict=True))

    def hash(self) -> "_Hash":
        """A fresh hash for the MAC, the parameters checked.

        Raises:
            SignatureFault: the MAC cannot be calculated, or its parameters break PS3.3 C.12.1.1.3.1.1.
        """
        if not self.parameters:
            raise SignatureFault("its MAC parameters are missing, not the only ones, or in an unknown VR")
        try:
            syntax = transfer_syntax(self.text(MAC_SYNTAX))
        except UnsupportedTransferSyntax:
            raise SignatureFault("unknown MAC calculation transfer syntax") from None
        if not syntax.explicit or not syntax.little_endian:
            raise SignatureFault("the MAC calculation transfer syntax is not explicit VR little endian")
        tags = self.tags
        if not tags or list(tags) != sorted(set(tags)):
            raise SignatureFault("the list of signed elements is empty or not ascending")
        if not all(signable(tag) for tag in tags):
            raise SignatureFault("it lists an element that may not be signed")
        algorithm = self.text(MAC_ALGORITHM)
        if algorithm not in _HASHES:
            raise SignatureFault("unknown MAC algorithm")
        try:
            return hashlib.new(algorithm.lower())
        except ValueError:
            raise SignatureFault(f"{algorithm} is not available here", Verdict.INDETERMINATE) from None

    def certificate(self) -> x509.Certificate:
        """The signer's certificate.

        Raises:
            SignatureFault: there is none that can be read.
        """
        if self.text(CERTIFICATE_TYPE) != "X509_1993_SIG":
            raise SignatureFault("unknown certificate type")
        try:
            loaded = x509.load_der_x509_certificate(_der(self.fields.get(CERTIFICATE, b"")))
            # It is parsed as it is asked: whatever anybody asks of it later is asked here.
            _ = (loaded.subject.rfc4514_string(), loaded.issuer, list(loaded.extensions), loaded.public_key())
            _ = (loaded.not_valid_before_utc, loaded.not_valid_after_utc, loaded.signature_hash_algorithm)
        except Exception:  # noqa: BLE001 - what a parser raises on hostile bytes, nobody has a list of
            raise SignatureFault("its certificate cannot be read") from None
        return loaded

    def moment(self) -> datetime:
        """Digital Signature DateTime; without an offset it is read as UTC.

        Raises:
            SignatureFault: it is none.
        """
        text = self.text(SIGNATURE_TIME)
        digits, offset = text, timedelta()
        for sign in "+-":
            if sign in text:
                digits, _, zone = text.partition(sign)
                if len(zone) != 4 or not zone.isdecimal():
                    raise SignatureFault("its time cannot be read")
                offset = timedelta(hours=int(zone[:2]), minutes=int(zone[2:])) * (1 if sign == "+" else -1)
        try:
            moment = datetime.strptime(digits.partition(".")[0], "%Y%m%d%H%M%S")
            return moment.replace(tzinfo=timezone(offset)).astimezone(UTC)
        except (ValueError, OverflowError):
            raise SignatureFault("its time cannot be read") from None

    @property
    def purpose(self) -> str:
        """Code of Digital Signature Purpose Code Sequence, if it is one of CID 7007; empty else."""
        return self.purpose_code if self.purpose_scheme == PURPOSE_SCHEME and self.purpose_code in PURPOSES else ""

    def check(self, macs: list[bytes], certificate: x509.Certificate, moment: datetime) -> None:
        """Check the signature value over a finished MAC, any of ``macs``, and that the certificate was valid then.

        Raises:
            SignatureFault: it is not valid.
        """
        if not any(self._signs(mac, certificate) for mac in macs):
            raise SignatureFault(_OTHER_CONTENT if self._made_by(certificate) else _OTHER_KEY)
        if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
            raise SignatureFault("its certificate was not valid when it was made", Verdict.OUTSIDE_VALIDITY)

    @property
    def value(self) -> bytes:
        """The signature value without the byte that pads it (PS3.5 6.2)."""
        value = self.fields.get(SIGNATURE, b"")
        try:
            key = self.certificate().public_key()
        except (SignatureFault, UnsupportedAlgorithm, ValueError):
            return value
        return value[: (key.key_size + 7) // 8] if isinstance(key, rsa.RSAPublicKey) else _der(value)

    def stamp(self, verifier: StampVerifier | None) -> tuple[Stamp | None, str]:
        """Its certified timestamp if that holds, else why not; neither if there is none."""
        token = self.fields.get(TIMESTAMP)
        if token is None:
            return None, ""
        if self.text(TIMESTAMP_TYPE) != "CMS_TSP":
            return None, "its timestamp is not CMS_TSP (PS3.15 C.1)"
        if verifier is None:
            return None, "no time stamping authority is trusted"
        try:
            return verifier.kept(_der(token), self.value), ""
        except StampInvalid as error:
            return None, f"its timestamp does not hold: {error}"

    def _made_by(self, certificate: x509.Certificate) -> bool:
        """Whether the value was made with the certificate's key over something (RFC 8017 9.2); only RSA tells."""
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        try:
            return bool(key.recover_data_from_signature(self.value, PKCS1v15(), None))
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            return False

    def _signs(self, mac: bytes, certificate: x509.Certificate) -> bool:
        algorithm = _HASHES[self.text(MAC_ALGORITHM)]
        value = self.value
        try:
            key = certificate.public_key()
            if isinstance(key, rsa.RSAPublicKey):
                if algorithm is not None:
                    key.verify(value, mac, PKCS1v15(), Prehashed(algorithm))
                else:
                    return key.recover_data_from_signature(value, PKCS1v15(), None) == _RIPEMD160_INFO + mac
            elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
                key.verify(value, mac, ec.ECDSA(Prehashed(algorithm)))
            else:
                raise SignatureFault("neither RSA nor ECDSA")
        except InvalidSignature:
            return False
        except (UnsupportedAlgorithm, ValueError):
            raise SignatureFault("its key or algorithm cannot be used", Verdict.INDETERMINATE) from None
        return True


def _der(value: bytes) -> bytes:
    """A DER SEQUENCE without the byte that pads an OB value (PS3.5 6.2)."""
    if len(value) < 2 or value[0] != 0x30:
        return value
    size = value[1]
    if size < 0x80:
        return value[: 2 + size]
    octets = size & 0x7F
    return value[: 2 + octets + int.from_bytes(value[2 : 2 + octets], "big")]
