"""Certificates as they should not be: one builder whose every part a test can turn wrong; and one authority for all."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from auth.node.authority import Authority, create, load

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@cache
def _template() -> Path:
    """Keys are slow to make: one authority is made for a test process, and copied for each test that asks."""
    folder = Path(tempfile.mkdtemp(prefix="authority-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    create(folder / "pki", ae_title="STRONGROOM", names=["127.0.0.1", "localhost"])
    return folder / "pki"


def authority_in(directory: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Authority:
    """A complete authority of STRONGROOM at 127.0.0.1 and localhost, in a folder of the test's own."""
    shutil.copytree(_template(), directory)
    return load(directory, clock=clock)


@dataclass
class Made:
    """A certificate, its key, and whoever should be sent along."""

    certificate: x509.Certificate
    key: Key
    chain: list[x509.Certificate] = field(default_factory=list)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """PEM files as `auth.node.tls` takes them: (certificate with chain, key)."""
        directory.mkdir(parents=True, exist_ok=True)
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        pem = [c.public_bytes(serialization.Encoding.PEM) for c in [self.certificate, *self.chain]]
        certificate.write_bytes(b"".join(pem))
        key.touch(mode=0o600)
        key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, key


def make(
    name: str,
    *,
    issuer: Made | None = None,
    ca: bool = False,
    key: Key | None = None,
    begins: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=30),
    usages: list[x509.ObjectIdentifier] | None = None,
    digital_signature: bool = True,
    now: datetime | None = None,
    extensions: tuple[x509.ExtensionType, ...] = (),
) -> Made:
    """A certificate, self-signed without an issuer. ``usages`` None: clientAuth; empty: no extended key usage."""
    moment = now or datetime.now(UTC)
    own = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else own
    issuer_name = issuer.certificate.subject if issuer else subject
    wanted = [ExtendedKeyUsageOID.CLIENT_AUTH] if usages is None else usages
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment + begins)
        .not_valid_after(moment + ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=digital_signature,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=not digital_signature,
                key_cert_sign=ca,
                crl_sign=ca,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if wanted:
        builder = builder.add_extension(x509.ExtendedKeyUsage(wanted), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    chosen = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Made(builder.sign(signer, chosen), own)


def revoking(issuer: Made, *revoked: Made, until: timedelta = timedelta(days=1)) -> bytes:
    """The issuer's list of revoked certificates, DER."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now - timedelta(days=2))
        .next_update(now + until)
    )
    for each in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def node_ca_of(authority: Authority) -> Made:
    """The authority's node CA with its key, to issue what `Authority.issue_node` never would."""
    key = serialization.load_pem_private_key(authority.files.key("node-ca").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return Made(authority.node_ca, key)
