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
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from auth.errors import AuthorityError
from auth.names import checked_title
from auth.node.certificates import (
    DOCUMENT_SIGNING,
    Issuer,
    SigningKey,
    alternative_names,
    ca_certificate,
    certificate_pem,
    key_pem,
    leaf_certificate,
    subject_beside,
    subject_name,
)
from auth.node.pem import read_certificates, read_key_of, write_exclusively

ROOT_LIFETIME = timedelta(days=20 * 365)
SIGNING_CA_LIFETIME = timedelta(days=20 * 365)
NODE_CA_LIFETIME = timedelta(days=10 * 365)
SIGNER_LIFETIME = timedelta(days=10 * 365)
"""Other people's verifiers compare with today, not with the day of the signature: a signer's certificate lives long."""
LEAF_LIFETIME = timedelta(days=730)
"""IHE ITI-19 recommends two years at most."""
LIST_LIFETIME = timedelta(days=90)
"""Of our list of revoked certificates; it is written anew at every revocation."""
RSA_BITS = 3072
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
    def revoked(self) -> Path:
        """``node-ca.crl``: which of the node CA's certificates are revoked, for whoever else relies on them."""
        return self.directory / "node-ca.crl"

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
        return certificate_pem(self.root) + certificate_pem(self.signing_ca)

    @property
    def signer_certificate(self) -> bytes:
        """DER of the certificate that the archive's signatures name."""
        return self.signer.public_bytes(serialization.Encoding.DER)

    def signer_key(self) -> rsa.RSAPrivateKey:
        """The archive's signing key.

        Raises:
            AuthorityError: it is missing, readable by others, not RSA, or not that of the certificate.
        """
        key = read_key_of(self.files.key("signer"), self.signer)
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
        issuer = self._issuer(now)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = leaf_certificate(
            issuer, key, subject_beside(self.root, title), now, LEAF_LIFETIME, [ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        return IssuedNode(
            ae_title=title,
            certificate=certificate.public_bytes(serialization.Encoding.DER),
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            not_after=certificate.not_valid_after_utc,
            chain_pem=certificate_pem(certificate) + certificate_pem(self.node_ca),
            trust_pem=self.trust_pem,
            key_pem=key_pem(key),
        )

    def renewed_servers(self) -> dict[str, bytes]:
        """Our server's certificates anew (file name: PEM with the node CA): the same keys and names, another end.

        The keys stay so that one file, replaced at once, is all that changes.

        Raises:
            AuthorityError: the node CA's key or a server's certificate is not usable, or the node CA has expired.
        """
        now = self.clock()
        issuer = self._issuer(now)
        renewed = {}
        for path, _ in self.files.server_identities:
            present = read_certificates(path)[0]
            key = read_key_of(self.files.key(path.stem), present)
            usages = present.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            certificate = leaf_certificate(
                issuer, key, present.subject, now, LEAF_LIFETIME, list(usages), _names_of(present)
            )
            renewed[path.name] = certificate_pem(certificate) + certificate_pem(self.node_ca)
        return renewed

    def revocation_list(self, revoked: Iterable[tuple[int, datetime]]) -> bytes:
        """The node CA's list of revoked certificates (serial number, moment) as PEM, good for `LIST_LIFETIME`.

        Raises:
            AuthorityError: the node CA's key is not usable, or the node CA has expired.
        """
        now = self.clock()
        issuer = self._issuer(now)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.node_ca.subject)
            .last_update(now)
            .next_update(now + LIST_LIFETIME)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
        )
        for serial, moment in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(moment)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _issuer(self, now: datetime) -> Issuer:
        """The node CA with its key. Raises `AuthorityError`."""
        if now >= self.node_ca.not_valid_after_utc:
            raise AuthorityError("the node CA has expired")
        return Issuer(self.node_ca, read_key_of(self.files.key("node-ca"), self.node_ca))


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
    server_names = alternative_names(names)
    now = clock()
    mark = x509.random_serial_number().to_bytes(20, "big").hex()[-8:]

    root_key, node_key, signing_key = _rsa_key(), _rsa_key(), _rsa_key()
    root_name = subject_name(title, f"{title} root {mark}")
    root = ca_certificate(None, root_key, root_name, now, ROOT_LIFETIME, 1, None)
    top = Issuer(root, root_key)
    client_and_server = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    node_name = subject_name(title, f"{title} node CA {mark}")
    node_ca = ca_certificate(top, node_key, node_name, now, NODE_CA_LIFETIME, 0, client_and_server)
    signing_name = subject_name(title, f"{title} signing CA {mark}")
    signing_ca = ca_certificate(top, signing_key, signing_name, now, SIGNING_CA_LIFETIME, 0, [DOCUMENT_SIGNING])

    server_key, server_rsa_key, signer_key = ec.generate_private_key(ec.SECP256R1()), _rsa_key(), _rsa_key()
    node_issuer = Issuer(node_ca, node_key)
    servers = [
        leaf_certificate(
            node_issuer, key, subject_name(title, title), now, LEAF_LIFETIME, client_and_server, server_names
        )
        for key in (server_key, server_rsa_key)
    ]
    signer_name = subject_name(title, f"{title} signer {mark}")
    signer = leaf_certificate(
        Issuer(signing_ca, signing_key),
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
        "root.pem": certificate_pem(root),
        "node-ca.pem": certificate_pem(node_ca),
        "signing-ca.pem": certificate_pem(signing_ca),
        "server.pem": certificate_pem(servers[0]) + certificate_pem(node_ca),
        "server-rsa.pem": certificate_pem(servers[1]) + certificate_pem(node_ca),
        "signer.pem": certificate_pem(signer) + certificate_pem(signing_ca),
        "ca.pem": certificate_pem(root) + certificate_pem(signing_ca),
    }
    contents = {name: (key_pem(key), 0o600) for name, key in keys.items()}
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
        except (ValueError, TypeError, InvalidSignature) as error:
            raise AuthorityError(f"{child.subject.rfc4514_string()} is not issued by its authority") from error
    return Authority(files, root, node_ca, signing_ca, signer, clock)


def _names_of(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
