"""Audit trails on disk, as an archive leaves them: several segments, checkpoints in between, and a signer's key."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from archive.audit.checkpoint import CheckpointMaker
from archive.audit.retention import Retention
from archive.audit.statement import StatementSigner, StatementVerifier
from archive.audit.trail import AuditTrail
from archive.audit.verify import TrailReport, verify_trail

KEY = bytes(range(32))
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Identity:
    """A key that signs statements, and its certificate."""

    key: rsa.RSAPrivateKey
    certificate: bytes

    @property
    def signer(self) -> StatementSigner:
        return StatementSigner(self.key, self.certificate)

    @property
    def verifier(self) -> StatementVerifier:
        return StatementVerifier([self.certificate])


@cache
def identity(name: str = "archive") -> Identity:
    """The signer of that name, the same one each time. Small keys: what is tried here is not RSA."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGINNING)
        .not_valid_after(BEGINNING + timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    return Identity(key, certificate.public_bytes(serialization.Encoding.DER))


@dataclass
class TrailOnDisk:
    """One trail, with a clock that goes on one minute with each record."""

    folder: Path
    signer: Identity = field(default_factory=identity)
    records: int = 0

    def now(self) -> datetime:
        """The time of the next record."""
        return BEGINNING + timedelta(minutes=self.records)

    def record(self) -> dict[str, Any]:
        """The next record."""
        made = {"time": self.now().isoformat(), "kind": "query-performed", "facts": {"n": self.records}}
        self.records += 1
        return made | {"ledger": self.records}

    @contextmanager
    def opened(self, **options: Any) -> Iterator[AuditTrail]:
        """The trail, open for appending."""
        trail = AuditTrail(self.folder, KEY, checkpoints=CheckpointMaker(self.signer.signer, self.now), **options)
        try:
            yield trail
        finally:
            trail.close()

    def grow(self, count: int, *, segment_bytes: int = 1200, **options: Any) -> "TrailOnDisk":
        """Append so many records, into segments of a few each, and stop cleanly."""
        with self.opened(segment_bytes=segment_bytes, **options) as trail:
            for _ in range(count):
                trail.append([self.record()])
        return self

    def checkpoint(self) -> str:
        """The line of a checkpoint of the trail as it is now."""
        with self.opened() as trail:
            return trail.checkpoint().line

    def verify(self, *against: str, **options: Any) -> TrailReport:
        """What a check says."""
        return verify_trail(self.folder, KEY, verifier=self.signer.verifier, against=against, **options)

    @property
    def segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.trail"))

    @property
    def retention(self) -> Retention:
        return Retention(self.folder, KEY, self.signer.signer, self.signer.verifier, self.now)
