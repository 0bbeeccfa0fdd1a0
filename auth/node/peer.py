"""From a peer's certificate to the registered node, in numbered steps. The TLS handshake has proved possession of the
key and that the chain ends in an anchor; this repeats every check that must not depend on what an anchor may vouch for.

A pinned certificate is a TLS trust anchor, so TLS alone would take whatever it has issued; step 1 does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from auth.errors import CertificateRefused, UnknownNode
from auth.ports import NodeStore
from auth.principal import NodeIdentity, NodeTrust

MAX_CERTIFICATE_BYTES = 16_384
"""DER of one certificate; larger ones are not parsed."""
MIN_RSA_BITS = 2048
MIN_CURVE_BITS = 256
MAX_REMEMBERED = 4096
"""Certificates whose unchanging checks (steps 4 to 7) are not repeated at every association."""

# How much of a subject a description shows.
_SUBJECT_LENGTH = 200


def fingerprint_of(certificate: bytes) -> str:
    """SHA-256 of a certificate's DER, lower-case hexadecimal."""
    return sha256(certificate).hexdigest()


def describe(certificate: bytes) -> str:
    """Subject and fingerprint for the audit; control characters escaped, never raises for what a peer sent."""
    try:
        subject = x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
    except ValueError:
        subject = "unreadable"
    visible = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in subject[:_SUBJECT_LENGTH])
    return f"{visible} sha256:{fingerprint_of(certificate)}"


def checked_registration(certificate: bytes, now: datetime) -> None:
    """Refuse to register a certificate that `NodeVerifier` would never accept, by the same steps 3, 5, 6 and 7.

    A certificate that is not valid *yet* may be registered; one that has expired may not.

    Raises:
        CertificateRefused: it is not one certificate, has expired, is too weak or not for TLS clients.
    """
    parsed = _parse(certificate)
    if now >= parsed.not_valid_after_utc:
        raise CertificateRefused("the certificate has expired")
    _check_key_and_usage(parsed)


@dataclass(frozen=True, slots=True)
class _Validity:
    begins: datetime
    ends: datetime


class NodeVerifier:
    """Knows the registered nodes by their certificates. Shared by all associations; thread-safe."""

    def __init__(
        self, store: NodeStore, node_ca: x509.Certificate, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._store = store
        self._node_ca = node_ca
        self._clock = clock
        self._remembered: dict[tuple[str, NodeTrust], _Validity] = {}

    def identify(self, certificate: bytes | None) -> NodeIdentity:
        """The node that this certificate (DER of the leaf that the peer proved in the handshake) belongs to.

        Raises:
            UnknownNode: step 1, no registered node has it.
            CertificateRefused: a later step.
        """
        # 1 Some registered node has exactly this certificate: a CA's word alone admits nobody.
        if certificate is None:
            raise UnknownNode("the peer sent no certificate")
        fingerprint = fingerprint_of(certificate)
        node = self._store.by_fingerprint(fingerprint)
        if node is None or node.fingerprint != fingerprint:
            raise UnknownNode("no node is registered with this certificate")
        # 2 A plain node has no certificate, whatever its record says.
        if node.trust is NodeTrust.PLAIN:
            raise CertificateRefused("the node is registered without TLS")
        key = (fingerprint, node.trust)
        validity = self._remembered.get(key)
        if validity is None:
            validity = self._check(certificate, node.trust)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = validity
        # 3 Valid now (RFC 5280 4.1.2.5): TLS looked at the handshake, an association may be long after.
        now = self._clock()
        if now < validity.begins:
            raise CertificateRefused("the certificate is not valid yet")
        if now > validity.ends:
            raise CertificateRefused("the certificate, or the node CA's, has expired")
        return node

    def plain(self, ae_title: str) -> NodeIdentity:
        """The node that may use this AE title without TLS: on the plain listener only, where the title is all there is.

        Raises:
            UnknownNode: there is none; a node with a certificate is never believed by its title.
        """
        node = self._store.by_title(ae_title)
        if node is None or node.trust is not NodeTrust.PLAIN:
            raise UnknownNode("no node is registered for this AE title without TLS")
        return node

    def _check(self, certificate: bytes, trust: NodeTrust) -> _Validity:
        parsed = _parse(certificate)
        begins, ends = parsed.not_valid_before_utc, parsed.not_valid_after_utc
        if trust is NodeTrust.PINNED:
            # 4a Pinned: byte for byte one of the certificates that were pinned; what it has issued is not (step 1).
            if certificate not in self._store.pinned_certificates():
                raise CertificateRefused("not the certificate that was pinned")
        else:
            # 4b Issued: by our node CA, name and signature (RFC 5280 6.1.3 a), and valid no longer than it.
            try:
                parsed.verify_directly_issued_by(self._node_ca)
            except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
                raise CertificateRefused("not issued by our node CA") from error
            begins = max(begins, self._node_ca.not_valid_before_utc)
            ends = min(ends, self._node_ca.not_valid_after_utc)
            _check_end_entity(parsed)
        _check_key_and_usage(parsed)
        return _Validity(begins, ends)


def _parse(certificate: bytes) -> x509.Certificate:
    if len(certificate) > MAX_CERTIFICATE_BYTES:
        raise CertificateRefused(f"the certificate is larger than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        # Extensions are parsed when they are first read: read them now, so that damaged ones are refused here.
        _ = parsed.extensions
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise CertificateRefused("not a certificate that can be read") from error
    return parsed


def _check_end_entity(certificate: x509.Certificate) -> None:
    # 5 An issued certificate is no CA (RFC 5280 4.2.1.9). A pinned self-signed one often claims to be: step 1 holds it.
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return
    if constraints.ca:
        raise CertificateRefused("the certificate is a CA's")


def _check_key_and_usage(certificate: x509.Certificate) -> None:
    # 6 The key is strong enough (PS3.15 B.12: RFC 9325 4.5).
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateRefused("the key is of a kind that is not accepted") from error
    match key:
        case rsa.RSAPublicKey():
            strong = key.key_size >= MIN_RSA_BITS
        case ec.EllipticCurvePublicKey():
            strong = key.curve.key_size >= MIN_CURVE_BITS
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            strong = True
        case _:
            strong = False
    if not strong:
        raise CertificateRefused(f"the key is weaker than RSA {MIN_RSA_BITS} or a curve of {MIN_CURVE_BITS} bits")
    # 7 It is for TLS clients: usages that are stated must include it (RFC 5280 4.2.1.3, 4.2.1.12).
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        pass
    else:
        if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
            raise CertificateRefused("the certificate is not for TLS clients (extended key usage)")
    try:
        key_usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not key_usage.digital_signature:
        raise CertificateRefused("the key is not for digital signatures (key usage)")
