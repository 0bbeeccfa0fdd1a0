"""The archive's own certificate authority: a root with two intermediates, and what they issue.

Here: making and reading the authority's folder, issuing certificates for nodes. Never here: deciding whom to believe
(`auth.node.peer`) or how to speak TLS (`auth.node.tls`).

    root ─┬─ node CA ────── our server (serverAuth, clientAuth), nodes (clientAuth)
          └─ signing CA ─── the archive's signer (documentSigning, RFC 9336)

The two sides cannot stand in for each other: each intermediate carries the extended key usages of its leaves, and
relying parties are given ``ca.pem`` = root and signing CA, so that a node's key that signs an object is an unknown
signer. CAs and the signer are RSA-3072 (PS3.15 C.1 knows RSA only; every TLS 1.2 peer of PS3.15 B.10 and B.12 can
check it). Our server has a P-256 key for those who can, and an RSA key for peers that offer RSA suites only.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from auth.errors import AuthorityError
from auth.names import checked_title
from auth.node.pem import read_certificates, read_private_key, write_exclusively

DOCUMENT_SIGNING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")
"""id-kp-documentSigning (RFC 9336)."""

BACKDATED = timedelta(days=1)
"""Verifiers compare with local time, some of them without a time zone: certificates are valid from a day ago."""
ROOT_LIFETIME = timedelta(days=20 * 365)
SIGNING_CA_LIFETIME = timedelta(days=20 * 365)
NODE_CA_LIFETIME = timedelta(days=10 * 365)
SIGNER_LIFETIME = timedelta(days=10 * 365)
"""Other people's verifiers compare with today, not with the day of the signature: a signer's certificate lives long."""
LEAF_LIFETIME = timedelta(days=730)
"""IHE ITI-19 recommends two years at most."""
RSA_BITS = 3072
MAX_NAME_LENGTH = 64
"""Upper bound of a common name (RFC 5280 A.1, ub-common-name)."""

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class AuthorityFiles:
    """Where everything is inside the authority's folder. Keys (``*.key``) are 0600, PKCS#8, without a passphrase."""

    directory: Path

    def certificate(self, name: str) -> Path:
        """PEM certificate of ``root``, ``node-ca``, ``signing-ca``, ``server``, ``server-rsa`` or ``signer``."""
        return self.directory / f"{name}.pem"

    def key(self, name: str) -> Path:
        """Its private key."""
        return self.directory / f"{name}.key"

    @property
    def trust(self) -> Path:
        """``ca.pem``: root and signing CA, what relying parties are given; never the node CA."""
        return self.directory / "ca.pem"

    @property
    def server_identities(self) -> tuple[tuple[Path, Path], ...]:
        """(certificate with its chain, key) pairs for `auth.node.tls.server_context`."""
        return tuple((self.certificate(name), self.key(name)) for name in ("server", "server-rsa"))


@dataclass(frozen=True, slots=True)
class IssuedNode:
    """A node's new credentials. They exist in memory only until `write` puts them where the operator said."""

    ae_title: str
    certificate: bytes
    """DER of the leaf."""
    fingerprint: str
    """SHA-256 of the DER, lower-case hexadecimal."""
    not_after: datetime
    chain_pem: bytes
    """Leaf and node CA."""
    trust_pem: bytes
    """Root and signing CA."""
    key_pem: bytes = field(repr=False)

    def write(self, directory: Path) -> None:
        """Make DIR/{cert,key,ca}.pem: nothing there is overwritten, and nothing stays where one of them fails.

        Raises:
            AuthorityError: one of the files is already there, or the folder cannot be written.
        """
        write_exclusively(
            directory,
            {"key.pem": (self.key_pem, 0o600), "cert.pem": (self.chain_pem, 0o644), "ca.pem": (self.trust_pem, 0o644)},
        )


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority that was made or read: certificates in memory, private keys read when they are used."""

    files: AuthorityFiles
    root: x509.Certificate
    node_ca: x509.Certificate
    signing_ca: x509.Certificate
    signer: x509.Certificate
    clock: Clock = utc_now

    @property
    def trust_pem(self) -> bytes:
        """Root and signing CA."""
        return _pem(self.root) + _pem(self.signing_ca)

    @property
    def signer_certificate(self) -> bytes:
        """DER of the certificate that the archive's signatures name."""
        return self.signer.public_bytes(serialization.Encoding.DER)

    def signer_key(self) -> rsa.RSAPrivateKey:
        """The archive's signing key.

        Raises:
            AuthorityError: it is missing, readable by others, not RSA, or not that of the certificate.
        """
        key = _matching_key(self.files.key("signer"), self.signer)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise AuthorityError("the signer's key is not RSA (PS3.15 C.1)")
        return key

    def issue_node(self, ae_title: str) -> IssuedNode:
        """Make a key and a client certificate for the node of this AE title, signed by the node CA.

        Raises:
            RecordInvalid: not an AE title (PS3.5 6.2).
            AuthorityError: the node CA's key is not usable, or the node CA has expired.
        """
        title = checked_title(ae_title)
        now = self.clock()
        if now >= self.node_ca.not_valid_after_utc:
            raise AuthorityError("the node CA has expired")
        issuer = _Issuer(self.node_ca, _matching_key(self.files.key("node-ca"), self.node_ca))
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _leaf(
            issuer, key, _subject(self.root, title), now, LEAF_LIFETIME, [ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        return IssuedNode(
            ae_title=title,
            certificate=certificate.public_bytes(serialization.Encoding.DER),
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            not_after=certificate.not_valid_after_utc,
            chain_pem=_pem(certificate) + _pem(self.node_ca),
            trust_pem=self.trust_pem,
            key_pem=_key_pem(key),
        )


def create(directory: Path, *, ae_title: str, names: Sequence[str], clock: Clock = utc_now) -> Authority:
    """Make a new authority with our server's and signer's certificates, and write it to a folder (0700).

    Args:
        directory: made if missing; must not hold an authority yet.
        ae_title: the archive's, part of every subject.
        names: host names and addresses of our server, for its subjectAltName; unspecified addresses are left out.
        clock: what "now" is; certificates are valid from a day before.

    Raises:
        RecordInvalid: not an AE title.
        AuthorityError: a name is neither a host name nor an address, or a file is already there.
    """
    title = checked_title(ae_title)
    alternative_names = _alternative_names(names)
    now = clock()
    mark = x509.random_serial_number().to_bytes(20, "big").hex()[-8:]

    root_key, node_key, signing_key = _rsa_key(), _rsa_key(), _rsa_key()
    root_name = _name(title, f"{title} root {mark}")
    root = _authority(None, root_key, root_name, now, ROOT_LIFETIME, 1, None)
    top = _Issuer(root, root_key)
    client_and_server = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    node_name = _name(title, f"{title} node CA {mark}")
    node_ca = _authority(top, node_key, node_name, now, NODE_CA_LIFETIME, 0, client_and_server)
    signing_name = _name(title, f"{title} signing CA {mark}")
    signing_ca = _authority(top, signing_key, signing_name, now, SIGNING_CA_LIFETIME, 0, [DOCUMENT_SIGNING])

    server_key, server_rsa_key, signer_key = ec.generate_private_key(ec.SECP256R1()), _rsa_key(), _rsa_key()
    node_issuer = _Issuer(node_ca, node_key)
    servers = [
        _leaf(node_issuer, key, _name(title, title), now, LEAF_LIFETIME, client_and_server, alternative_names)
        for key in (server_key, server_rsa_key)
    ]
    signer_name = _name(title, f"{title} signer {mark}")
    signer = _leaf(
        _Issuer(signing_ca, signing_key),
        signer_key,
        signer_name,
        now,
        SIGNER_LIFETIME,
        [DOCUMENT_SIGNING],
        commits=True,
    )

    keys: dict[str, SigningKey] = {
        "root.key": root_key,
        "node-ca.key": node_key,
        "signing-ca.key": signing_key,
        "server.key": server_key,
        "server-rsa.key": server_rsa_key,
        "signer.key": signer_key,
    }
    certificates = {
        "root.pem": _pem(root),
        "node-ca.pem": _pem(node_ca),
        "signing-ca.pem": _pem(signing_ca),
        "server.pem": _pem(servers[0]) + _pem(node_ca),
        "server-rsa.pem": _pem(servers[1]) + _pem(node_ca),
        "signer.pem": _pem(signer) + _pem(signing_ca),
        "ca.pem": _pem(root) + _pem(signing_ca),
    }
    contents = {name: (_key_pem(key), 0o600) for name, key in keys.items()}
    contents |= {name: (data, 0o644) for name, data in certificates.items()}
    write_exclusively(directory, contents)
    return Authority(AuthorityFiles(directory), root, node_ca, signing_ca, signer, clock)


def load(directory: Path, *, clock: Clock = utc_now) -> Authority:
    """Read an authority's certificates and check that they belong together; private keys are left alone.

    Raises:
        AuthorityError: a certificate is missing, unreadable, or not issued as the picture above says.
    """
    files = AuthorityFiles(directory)
    root, node_ca, signing_ca, signer = (
        read_certificates(files.certificate(name))[0] for name in ("root", "node-ca", "signing-ca", "signer")
    )
    for child, parent in ((node_ca, root), (signing_ca, root), (signer, signing_ca)):
        try:
            child.verify_directly_issued_by(parent)
        except Exception as error:
            raise AuthorityError(f"{child.subject.rfc4514_string()} is not issued by its authority") from error
    return Authority(files, root, node_ca, signing_ca, signer, clock)


@dataclass(frozen=True, slots=True)
class _Issuer:
    certificate: x509.Certificate
    key: SigningKey


def _authority(
    issuer: _Issuer | None,
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


def _leaf(
    issuer: _Issuer,
    key: SigningKey,
    subject: x509.Name,
    now: datetime,
    lifetime: timedelta,
    usages: list[x509.ObjectIdentifier],
    alternative_names: x509.SubjectAlternativeName | None = None,
    *,
    commits: bool = False,
) -> x509.Certificate:
    """An end-entity certificate; ``commits`` adds contentCommitment (once nonRepudiation) for the signer."""
    builder = _builder(issuer, key, subject, now, lifetime)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    usage = _key_usage(digital_signature=True, content_commitment=commits)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if alternative_names is not None:
        builder = builder.add_extension(alternative_names, critical=False)
    return builder.sign(issuer.key, hashes.SHA256())


def _builder(
    issuer: _Issuer | None, key: SigningKey, subject: x509.Name, now: datetime, lifetime: timedelta
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


def _name(organization: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _subject(root: x509.Certificate, common_name: str) -> x509.Name:
    """A subject in the archive's own organization."""
    organization = root.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value
    return _name(str(organization), common_name)


def _alternative_names(names: Iterable[str]) -> x509.SubjectAlternativeName | None:
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


def _matching_key(path: Path, certificate: x509.Certificate) -> SigningKey:
    key = read_private_key(path)
    if key.public_key() != certificate.public_key():
        raise AuthorityError(f"{path.name} is not the key of {certificate.subject.rfc4514_string()}")
    return key


def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: SigningKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
