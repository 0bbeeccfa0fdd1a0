"""How our certificates are built (RFC 5280): extensions, key identifiers, nested validity, names. Pure.

Which certificates there are, and under which CA, `auth.node.authority` says. What every builder here keeps to:
critical basicConstraints and keyUsage, subject and authority key identifiers, and no certificate that outlives its
issuer; Python 3.13's default context and ``openssl verify -x509_strict`` ask for exactly that.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from auth.errors import AuthorityError

DOCUMENT_SIGNING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")
"""id-kp-documentSigning (RFC 9336)."""

BACKDATED = timedelta(days=1)
"""Verifiers compare with local time, some of them without a time zone: certificates are valid from a day ago."""
MAX_NAME_LENGTH = 64
"""Upper bound of a common name (RFC 5280 A.1, ub-common-name)."""

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Subject(Protocol):
    """Whose key is certified; only the public half is needed."""

    def public_key(self) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
        """That half."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """A CA's certificate with its key, while something is being issued."""

    certificate: x509.Certificate
    key: SigningKey


def ca_certificate(
    issuer: Issuer | None,
    key: SigningKey,
    subject: x509.Name,
    now: datetime,
    lifetime: timedelta,
    path_length: int,
    usages: list[x509.ObjectIdentifier] | None,
) -> x509.Certificate:
    """A CA certificate (RFC 5280 4.2.1.9: critical basicConstraints; 4.2.1.3: keyCertSign and cRLSign, critical)."""
    builder = _builder(issuer, key, subject, now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    builder = builder.add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
    if usages is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(issuer.key if issuer else key, hashes.SHA256())


def leaf_certificate(
    issuer: Issuer,
    key: Subject,
    subject: x509.Name,
    now: datetime,
    lifetime: timedelta,
    usages: list[x509.ObjectIdentifier],
    names: x509.SubjectAlternativeName | None = None,
    *,
    commits: bool = False,
) -> x509.Certificate:
    """An end-entity certificate; ``commits`` adds contentCommitment (once nonRepudiation) for the signer."""
    builder = _builder(issuer, key, subject, now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usage = _key_usage(digital_signature=True, content_commitment=commits)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def _builder(
    issuer: Issuer | None, key: Subject, subject: x509.Name, now: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    """Names, serial, validity nested in the issuer's, and the key identifiers of RFC 5280 4.2.1.1 and 4.2.1.2."""
    own_identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    identifier, issuer_name, end = own_identifier, subject, now + lifetime
    if issuer is not None:
        identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        issuer_name, end = issuer.certificate.subject, min(end, issuer.certificate.not_valid_after_utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
        .add_extension(own_identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )


def _key_usage(
    *,
    digital_signature: bool = False,
    content_commitment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=content_commitment,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def subject_name(organization: str, common_name: str) -> x509.Name:
    """A subject or issuer: organization (the archive's AE title) and common name."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def subject_beside(root: x509.Certificate, common_name: str) -> x509.Name:
    """A subject in the archive's own organization."""
    organization = root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value
    return subject_name(str(organization), common_name)


def alternative_names(names: Iterable[str]) -> x509.SubjectAlternativeName | None:
    """Host names and addresses of a server; unspecified addresses name nothing and are left out.

    Raises:
        AuthorityError: a name is neither a host name nor an address.
    """
    entries: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        try:
            address = ip_address(name)
        except ValueError:
            entries.append(x509.DNSName(_host_name(name)))
            continue
        if not address.is_unspecified:
            entries.append(x509.IPAddress(address))
    return x509.SubjectAlternativeName(entries) if entries else None


def _host_name(name: str) -> str:
    labels = name.split(".")
    legal = (
        name.isascii()
        and len(name) <= 253
        and all(
            0 < len(label) <= 63
            and label.replace("-", "a").isalnum()
            and not label.startswith("-")
            and not label.endswith("-")
            for label in labels
        )
    )
    if not legal:
        raise AuthorityError(f"neither a host name nor an address: {name[:MAX_NAME_LENGTH]!r}")
    return name


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """One certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: SigningKey) -> bytes:
    """A private key as PKCS#8 in PEM, without a passphrase."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
