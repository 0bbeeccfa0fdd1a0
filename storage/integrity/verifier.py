"""An independent check of every digital signature in a data set (PS3.3 C.12.1.1.3, PS3.15 C.1)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

from cryptography.x509 import Certificate

from storage.instance import Uncovered
from storage.transfer_syntax import TransferSyntax


class SignerTrust(Enum):
    """What we know of the key that signed."""

    ARCHIVE = "archive"
    TRUSTED = "trusted"
    UNKNOWN = "unknown signer"


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count."""

    archive: frozenset[bytes] = frozenset()
    """SHA-256 fingerprints of our own signers' certificates."""
    authorities: tuple[Certificate, ...] = ()
    """Certificates that are trusted themselves or, if CA certificates, as issuers of a signer's certificate."""


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """One signature and what came of checking it."""

    path: tuple[tuple[int, int], ...]
    """Where it stands: (sequence tag, item number from 0), outermost first; empty at the top level."""
    uid: str
    mac_algorithm: str
    weak: bool
    signer: str
    trust: SignerTrust
    valid: bool
    reason: str
    signed_tags: tuple[int, ...]
    uncovered: tuple[Uncovered, ...]
    value_digest: bytes


def verify_signatures(
    chunks: Callable[[], Iterable[bytes | memoryview]], syntax: TransferSyntax, trust: Trust
) -> tuple[SignatureReport, ...]:
    """Check every signature of a data set, which is read twice, as it is stored (deflated if so)."""
    raise NotImplementedError
