"""What is told of one digital signature once it is checked."""

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from storage.instance import Uncovered
from storage.integrity.mac_walk import Path
from storage.integrity.profiles import Profile
from storage.integrity.signed_item import WEAK_RSA_BITS, SignatureFault, Verdict
from storage.integrity.timestamp import Stamp
from storage.integrity.trust import SignerTrust, Standing


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """One signature and what came of checking it."""

    path: Path
    """Which item it signs: (sequence tag, item number from 0), outermost first; empty for the data set itself."""
    uid: str
    mac_algorithm: str
    weak: bool
    """The algorithm is one that no longer resists forgery."""
    signer: str
    """Subject of the certificate (RFC 4514), empty if it cannot be read."""
    certificate: bytes
    """As it stands, DER."""
    key: str
    """Kind and length of the key, like ``RSA-3072``; empty if it cannot be read."""
    moment: datetime | None
    """When it says it was made, in UTC."""
    stamp: Stamp | None
    """Its certified timestamp, if that holds."""
    stamp_fault: str
    """Why its certified timestamp proves nothing; empty if it does, or there is none."""
    purpose: str
    """Code of CID 7007; empty if none is said."""
    profiles: tuple[Profile, ...]
    """Those of PS3.15 C.1 to C.4 that it keeps to."""
    trust: SignerTrust
    verdict: Verdict
    valid: bool
    """The signature is right, whoever signed; read it together with ``trust``."""
    reason: str
    """Why the verdict is not simply valid; empty if it is."""
    signed_tags: tuple[int, ...]
    missing: tuple[int, ...]
    """Listed elements that are not there: taken away, or signed elsewhere."""
    uncovered: tuple[Uncovered, ...]
    """Elements at its level that it says nothing about; empty if the MAC could not be calculated."""
    value: bytes
    """The signature value as it stands."""
    value_digest: bytes
    """SHA-256 of the signature value, comparable with `Inspection.signature_values`."""


def verdict_of(fault: SignatureFault | None, standing: Standing, *, weak: bool) -> tuple[Verdict, str]:
    """The verdict, and why it is not simply valid."""
    if fault is not None:
        return fault.verdict, str(fault)
    if standing.trust is SignerTrust.UNKNOWN:
        return Verdict.REVOKED if standing.revoked else Verdict.UNKNOWN_SIGNER, standing.reason
    return (Verdict.WEAK, "") if weak else (Verdict.VALID, "")


def kind_of_key(certificate: x509.Certificate | None) -> str:
    """Kind and length of the certificate's key, in words."""
    if certificate is None:
        return ""
    try:
        key = certificate.public_key()
    except (UnsupportedAlgorithm, ValueError):
        return ""
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA-{key.key_size}"
    return f"EC-{key.key_size}" if isinstance(key, ec.EllipticCurvePublicKey) else type(key).__name__


def is_weak(certificate: x509.Certificate | None) -> bool:
    """Whether its RSA key is shorter than anybody should rely on."""
    kind, _, bits = kind_of_key(certificate).partition("-")
    return kind == "RSA" and int(bits) < WEAK_RSA_BITS
