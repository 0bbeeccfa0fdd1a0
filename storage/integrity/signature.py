"""Our digital signature over a received data set (PS3.15 C.1 Base RSA, PS3.3 C.12.1.1.3)."""

from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from storage.identifiers import Uid
from storage.instance import Inspection, Splice
from storage.transfer_syntax import TransferSyntax


@dataclass(frozen=True, slots=True)
class MadeSignature:
    """A signature, as the splices that put it into the received bytes."""

    splices: tuple[Splice, ...]
    uid: Uid
    value_digest: bytes
    """SHA-256 of the signature value, comparable with `Inspection.signature_values`."""
    mac_id: int


class Signer:
    """Signs inspected data sets with one RSA key."""

    def __init__(self, key: RSAPrivateKey, certificate_der: bytes) -> None:
        raise NotImplementedError

    def sign(self, inspection: Inspection, syntax: TransferSyntax, moment: datetime) -> MadeSignature:
        """Sign every signable top-level element (`Inspection.signed_tags`); ``moment`` is an aware time."""
        raise NotImplementedError
