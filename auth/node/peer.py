"""From a peer's certificate to its node, in numbered steps. The TLS handshake has proved possession of the key and that
the chain ends in an anchor; this repeats every check that must not depend on what an anchor may vouch for.

A pinned certificate is a TLS trust anchor, so TLS alone would take whatever it has issued; step 1 does not.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from auth.errors import CertificateRefused, UnknownNode
from auth.node.trust import Trust, issued_by
from auth.ports import NodeStore
from auth.principal import IdentityDemand, NodeIdentity, NodeTrust

MAX_CERTIFICATE_BYTES = 16_384
"""DER of one certificate; larger ones are not parsed."""
MIN_RSA_BITS = 2048
MIN_CURVE_BITS = 256
MIN_DIGEST_BYTES = 32
MAX_REMEMBERED = 4096
"""Certificates whose unchanging checks (steps 4 to 7) are not repeated at every association."""
FACILITY_PREFIX = "facility/"

_UNREADABLE = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What reading a certificate raises for what a peer may send."""
# How much of a subject a description shows.
_SUBJECT_LENGTH = 200


def fingerprint_of(certificate: bytes) -> str:
    """SHA-256 of a certificate's DER, lower-case hexadecimal."""
    return sha256(certificate).hexdigest()


def describe(certificate: bytes) -> str:
    """Subject and fingerprint for the audit; control characters escaped, never raises for what a peer sent."""
    try:
        subject = x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
    except _UNREADABLE:
        subject = "unreadable"
    visible = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in subject[:_SUBJECT_LENGTH])
    return f"{visible} sha256:{fingerprint_of(certificate)}"


def checked_registration(certificate: bytes, now: datetime) -> None:
    """Refuse to register a certificate that `NodeVerifier` would never accept, by the same steps 3, 6 and 7.

    A certificate that is not valid *yet* may be registered; one that has expired may not.

    Raises:
        CertificateRefused: it is not one certificate, has expired, is too weak or not for TLS clients.
    """
    parsed = _parse(certificate)
    if now >= parsed.not_valid_after_utc:
        raise CertificateRefused("the certificate has expired")
    _check_key_and_usage(parsed)


@dataclass(frozen=True, slots=True)
class _Checked:
    """What of a certificate is looked at again and again."""

    begins: datetime
    ends: datetime
    issuer: bytes
    serial: int
    facility: x509.Certificate | None
    """The facility's authority that issued it, where one did."""
    parsed: x509.Certificate


class Revocation(Protocol):
    """Who is asked whether a certificate is still good (`auth.node.ocsp.Responder`)."""

    def check(self, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
        """Raises `CertificateRefused`."""


class NodeVerifier:
    """Knows nodes by their certificates. Shared by all associations; thread-safe."""

    def __init__(
        self,
        store: NodeStore,
        node_ca: x509.Certificate,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        trust: Trust | None = None,
        facility_role: str = "service",
        responder: Revocation | None = None,
    ) -> None:
        """Prepare.

        Args:
            store: registered nodes.
            node_ca: issuer of those that we issued.
            clock: aware times.
            trust: the facility's authorities, and who is revoked.
            facility_role: the one role of a node that only the facility vouches for.
            responder: asked about certificates of the facility's authorities, at each admission.
        """
        self._store = store
        self._node_ca = node_ca
        self._clock = clock
        self._trust = trust or Trust()
        self._facility_role = facility_role
        self._responder = responder
        self._lock = threading.Lock()
        self._remembered: dict[tuple[str, NodeTrust], _Checked] = {}

    def believe(self, trust: Trust) -> None:
        """What was read anew counts from now on, for certificates that are known already too."""
        with self._lock:
            self._trust = trust
            known, self._remembered = self._remembered, {}
            for key, checked in known.items():
                with suppress(CertificateRefused, UnknownNode):
                    self._remembered[key] = self._check(checked.parsed.public_bytes(Encoding.DER), key[1])

    def identify(self, certificate: bytes | None) -> NodeIdentity:
        """The node that this certificate (DER of the leaf that the peer proved in the handshake) belongs to.

        Raises:
            UnknownNode: step 1, no registered node has it, and the facility does not vouch for it.
            CertificateRefused: it was revoked, or a later step.
        """
        # 1 Some registered node has exactly this certificate: a CA's word alone makes nobody a registered node.
        if certificate is None:
            raise UnknownNode("the peer sent no certificate")
        fingerprint = fingerprint_of(certificate)
        if self._store.revoked(fingerprint):
            raise CertificateRefused("the certificate was revoked here")
        node = self._store.by_fingerprint(fingerprint)
        if node is not None and node.fingerprint != fingerprint:
            node = None
        # 2 A plain node has no certificate, whatever its record says.
        if node is not None and node.trust is NodeTrust.PLAIN:
            raise CertificateRefused("the node is registered without TLS")
        trust = node.trust if node is not None else NodeTrust.FACILITY
        checked = self._remembered.get((fingerprint, trust)) or self._check(certificate, trust)
        self._remember(fingerprint, trust, checked)
        # 3 Valid now (RFC 5280 4.1.2.5): TLS looked at the handshake, an association may be long after.
        # 8 Not revoked: by the list of its issuer, and by the responder where there is one.
        reason = self._timely(checked)
        if reason is not None:
            raise CertificateRefused(reason)
        if self._responder is not None and checked.facility is not None:
            self._responder.check(checked.parsed, checked.facility)
        return node if node is not None else self._facility_node(checked.parsed, fingerprint)

    def still(self, node: NodeIdentity) -> str | None:
        """Why a node that was identified may not be connected any more; None where it may. Asks nobody outside.

        Registration is looked up by `archive.enforcement.standing`, which compares it with what was admitted.
        """
        if node.fingerprint is None:
            return None
        if self._store.revoked(node.fingerprint):
            return "the certificate was revoked here"
        checked = self._remembered.get((node.fingerprint, node.trust))
        if checked is not None:
            return self._timely(checked)
        return "no authority of the facility vouches for it any more" if node.trust is NodeTrust.FACILITY else None

    def may_call(self, node: NodeIdentity, ae_title: str) -> bool:
        """Whether a node may call from this AE title: its own; of the facility's nodes, any that is nobody's."""
        if node.trust is NodeTrust.FACILITY:
            return bool(ae_title) and ae_title.isprintable() and not self._store.title_taken(ae_title)
        return ae_title in node.ae_titles

    def plain(self, ae_title: str) -> NodeIdentity:
        """The node that may use this AE title without TLS: on the plain listener only, where the title is all there is.

        Raises:
            UnknownNode: there is none; a node with a certificate is never believed by its title.
        """
        node = self._store.by_title(ae_title)
        if node is None or node.trust is not NodeTrust.PLAIN:
            raise UnknownNode("no node is registered for this AE title without TLS")
        return node

    def _remember(self, fingerprint: str, trust: NodeTrust, checked: _Checked) -> None:
        with self._lock:
            # Whoever came last is at the end, and whoever has not come for longest is forgotten.
            self._remembered.pop((fingerprint, trust), None)
            self._remembered[(fingerprint, trust)] = checked
            if len(self._remembered) > MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]

    def _timely(self, checked: _Checked) -> str | None:
        """Steps 3 and 8, as far as we can tell ourselves."""
        now = self._clock()
        if now < checked.begins:
            return "the certificate is not valid yet"
        if now > checked.ends:
            return "the certificate, or its authority's, has expired"
        return self._trust.revocation(checked.issuer, checked.serial, now)

    def _facility_node(self, parsed: x509.Certificate, fingerprint: str) -> NodeIdentity:
        """A node that nobody registered: named for its key, with the least role, and no title of its own."""
        key = sha256(parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
        return NodeIdentity(
            name=f"{FACILITY_PREFIX}{key[:16]}",
            ae_titles=frozenset(),
            roles=frozenset({self._facility_role}),
            identity=IdentityDemand.OPTIONAL,
            identity_types=None,
            asserts_roles=frozenset(),
            trust=NodeTrust.FACILITY,
            fingerprint=fingerprint,
        )

    def _check(self, certificate: bytes, trust: NodeTrust) -> _Checked:
        parsed = _parse(certificate)
        begins, ends = parsed.not_valid_before_utc, parsed.not_valid_after_utc
        facility = self._trust.facility_issuer(parsed)
        issuer: x509.Certificate | None = None
        if trust is NodeTrust.PINNED:
            # 4a Pinned: byte for byte one of the certificates that were pinned; what it has issued is not (step 1).
            if certificate not in self._store.pinned_certificates():
                raise CertificateRefused("not the certificate that was pinned")
        elif trust is NodeTrust.ISSUED:
            # 4b Issued: by our node CA, name and signature (RFC 5280 6.1.3 a), and valid no longer than it.
            if not issued_by(parsed, self._node_ca):
                raise CertificateRefused("not issued by our node CA")
            issuer = self._node_ca
        else:
            # 4c Facility: by one of its authorities, likewise; else nobody knows it (step 1).
            if facility is None:
                raise UnknownNode("no node is registered with this certificate")
            issuer = facility
        if issuer is not None:
            begins = max(begins, issuer.not_valid_before_utc)
            ends = min(ends, issuer.not_valid_after_utc)
            _check_end_entity(parsed)
        _check_key_and_usage(parsed)
        return _Checked(begins, ends, parsed.issuer.public_bytes(), parsed.serial_number, facility, parsed)


def _parse(certificate: bytes) -> x509.Certificate:
    if len(certificate) > MAX_CERTIFICATE_BYTES:
        raise CertificateRefused(f"the certificate is larger than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        # Extensions are parsed when they are first read: read them now, so that damaged ones are refused here.
        _ = parsed.extensions
    except _UNREADABLE as error:
        raise CertificateRefused("not a certificate that can be read") from error
    if parsed.serial_number <= 0:
        raise CertificateRefused("the serial number is not positive (RFC 5280 4.1.2.2)")
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
    # 6b And so is the signature on it (RFC 9325 4.5: SHA-256 or better). OpenSSL does not look at that of an anchor.
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm as error:
        raise CertificateRefused("the signature is of a kind that is not accepted") from error
    if digest is not None and digest.digest_size < MIN_DIGEST_BYTES:
        raise CertificateRefused(f"the certificate is signed with {digest.name}, which is too weak")
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
