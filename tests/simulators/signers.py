"""A root, an authority under it and the signers that it certifies; revocation lists on order."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.simulators.encoding import MOMENT, signing_key

DAY = timedelta(days=1)
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


@cache
def _signer_key() -> rsa.RSAPrivateKey:
    return signing_key("somebody").key


@dataclass(frozen=True)
class House:
    """Two levels of authority, valid for 1000 days about `MOMENT` unless said otherwise."""

    root_key: ec.EllipticCurvePrivateKey
    root: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    authority: x509.Certificate

    @classmethod
    def made(cls, start: datetime = MOMENT - 1000 * DAY) -> "House":
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root = _certificate("root", root_key, "root", root_key, start, MOMENT + 1000 * DAY, level=1)
        authority = _certificate("authority", key, "root", root_key, start, MOMENT + 1000 * DAY, level=0)
        return cls(root_key, root, key, authority)

    def certificate(self, key, **choices) -> x509.Certificate:
        """A signer's; ``key_usage`` and ``extended`` say what it is for, ``start`` and ``end`` when."""
        start, end = choices.pop("start", MOMENT - 1000 * DAY), choices.pop("end", MOMENT + 999 * DAY)
        return _certificate("somebody", key, "authority", self.key, start, end, **choices)

    def signer(self, **choices) -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
        return _signer_key(), self.certificate(_signer_key(), **choices)

    def revoking(self, certificate, since, reason=None, *, by_root=False) -> x509.CertificateRevocationList:
        """A list of the certificate's issuer that holds it."""
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(since)
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        return (
            x509.CertificateRevocationListBuilder()
            .issuer_name(certificate.issuer)
            .last_update(since)
            .next_update(since + 100 * DAY)
            .add_revoked_certificate(entry.build())
            .sign(self.root_key if by_root else self.key, hashes.SHA256())
        )


def _certificate(subject, key, issuer, issuer_key, start, end, *, level=None, key_usage=None, extended=None):
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if level is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=level), critical=True)
        key_usage = ("key_cert_sign", "crl_sign")
    if key_usage is not None:
        usage = x509.KeyUsage(**{name: name in key_usage for name in _USAGES})
        builder = builder.add_extension(usage, critical=True)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
