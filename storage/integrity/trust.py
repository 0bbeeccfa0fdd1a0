"""What is known of a signer: a path to a configured anchor at the time of signing, revocation, and what the key is for.

1. Our own signers are known by their certificates, byte for byte.
2. So is a certificate that the operator trusts by itself.
3. Any other needs a path to an anchor that was valid at the time of signing (RFC 5280 6, by pyHanko's validator). Of
   the certificates given, the self-signed ones are anchors, and so are those whose issuer is not among them.
4. No certificate of the path is on a revocation list that its issuer signed, with SHA-2; lists of changes (delta) and
   of other issuers (indirect) are not read. Without a certified timestamp, whoever has a stolen key could write any
   date; a list that speaks of theft, or gives no reason, then counts for all signatures.
5. The signer's certificate is for signing: keyUsage has digitalSignature or nonRepudiation, extendedKeyUsage, where
   there is one, something that documents are signed with (RFC 9336, RFC 5280 4.2.1.12).
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from storage.integrity.timestamp import StampVerifier

_FOR_DOCUMENTS: Final = frozenset(
    {
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
        ExtendedKeyUsageOID.EMAIL_PROTECTION,
        x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36"),  # documentSigning (RFC 9336)
        x509.ObjectIdentifier("1.3.6.1.4.1.311.10.3.12"),  # documentSigning, as it was called before
    }
)
_HARMLESS: Final = frozenset(
    {
        x509.ReasonFlags.affiliation_changed,
        x509.ReasonFlags.superseded,
        x509.ReasonFlags.cessation_of_operation,
        x509.ReasonFlags.privilege_withdrawn,
    }
)
"""Reasons that leave the key with its owner, so that what it signed before stays believable (RFC 5280 5.3.1)."""
_NO_LONGER_HASHED: Final = frozenset({"md2", "md5"})
"""Certificates signed with these are believed from nobody."""
_SHORTEST_RSA: Final = 1024
"""Bits; shorter keys vouch for nobody."""
_STRONG_RSA: Final = 2048
"""Bits; a path with a shorter key is weak (NIST SP 800-131A), like one with a SHA-1 signature below its anchor."""


class SignerTrust(Enum):
    """What is known of the key that signed."""

    ARCHIVE = "archive"
    TRUSTED = "trusted"
    UNKNOWN = "unknown signer"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one signer at one time."""

    trust: SignerTrust
    reason: str = ""
    """Why it is not known; empty if it is."""
    revoked: bool = False
    weak: bool = False
    """Somebody who vouches for it does so with a key or digest that no longer resists forgery."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count."""

    archive: frozenset[bytes] = frozenset()
    """SHA-256 fingerprints of our own signers' certificates, former ones included."""
    authorities: tuple[x509.Certificate, ...] = ()
    """Anchors, intermediates and single signers, in any order."""
    revocations: tuple[x509.CertificateRevocationList, ...] = ()
    stamps: StampVerifier | None = None
    """Whose certified timestamps count; None: nobody's."""

    def standing(self, certificate: x509.Certificate, moment: datetime, *, proven: bool = False) -> Standing:
        """What is known of a signer who signed at ``moment``; ``proven``: a certified timestamp says so."""
        if certificate.fingerprint(hashes.SHA256()) in self.archive:
            return Standing(SignerTrust.ARCHIVE)
        if certificate in self.authorities:
            path: Sequence[x509.Certificate] = (certificate,)
        else:
            try:
                path = _path(certificate, self.authorities, moment)
            except _NoPath as error:
                return Standing(SignerTrust.UNKNOWN, str(error))
        revoked = self._revoked(path, moment, proven=proven)
        if revoked:
            return Standing(SignerTrust.UNKNOWN, revoked, revoked=True)
        misused = _misused(certificate)
        return Standing(SignerTrust.UNKNOWN, misused) if misused else Standing(SignerTrust.TRUSTED, weak=_weak(path))

    def _revoked(self, path: Sequence[x509.Certificate], moment: datetime, *, proven: bool) -> str:
        """Which certificate of the path, signer's last, counts as revoked, in words; empty if none."""
        for issuer, certificate in zip((path[0], *path), path, strict=False):
            for listing in self.revocations:
                if listing.issuer != certificate.issuer or not _issued_by(listing, issuer):
                    continue
                entry = listing.get_revoked_certificate_by_serial_number(certificate.serial_number)
                if entry is None:
                    continue
                since = entry.revocation_date_utc
                words = f"{certificate.subject.rfc4514_string()} is revoked since {since.isoformat()}"
                if since <= moment:
                    return words
                if not proven and _reason(entry) not in _HARMLESS:
                    return f"{words}, and no timestamp proves that it was used before"
        return ""


def read_revocations(paths: Iterable[Path]) -> tuple[x509.CertificateRevocationList, ...]:
    """Revocation lists, PEM or DER.

    Raises:
        OSError: a file cannot be read.
        ValueError: it is no revocation list.
    """
    found = []
    for path in paths:
        data = path.read_bytes()
        pem = b"-----BEGIN" in data
        found.append(x509.load_pem_x509_crl(data) if pem else x509.load_der_x509_crl(data))
    return tuple(found)


class _NoPath(Exception):
    """No anchor vouches for the certificate; the message says what is wrong with the best path."""


def _path(
    certificate: x509.Certificate, given: Sequence[x509.Certificate], moment: datetime
) -> tuple[x509.Certificate, ...]:
    """A valid path, anchor first. Raises `_NoPath`."""
    if not given:
        raise _NoPath("nobody is trusted")
    # Imported where it is needed: a server that keeps unsigned objects never does.
    from asn1crypto import x509 as asn1
    from pyhanko_certvalidator import CertificateValidator, ValidationContext
    from pyhanko_certvalidator.policy_decl import DisallowWeakAlgorithmsPolicy

    def loaded(one: x509.Certificate) -> asn1.Certificate:
        return asn1.Certificate.load(one.public_bytes(Encoding.DER))

    allowed = DisallowWeakAlgorithmsPolicy(  # type: ignore[no-untyped-call]
        _NO_LONGER_HASHED, rsa_key_size_threshold=_SHORTEST_RSA
    )
    subjects = {known.subject for known in given}
    anchors = [known for known in given if _self_signed(known) or known.issuer not in subjects]
    context = ValidationContext(
        # A certificate that is no CA's vouches for itself alone.
        trust_roots=[loaded(known) for known in anchors if _is_authority(known)],
        moment=moment,
        allow_fetching=False,
        revocation_mode="soft-fail",
        algorithm_usage_policy=allowed,
    )
    between = [loaded(known) for known in given if known not in anchors]
    try:
        validator = CertificateValidator(loaded(certificate), intermediate_certs=between, validation_context=context)
        path = asyncio.run(validator.async_validate_path())
        found = [one for one in path if isinstance(one, asn1.Certificate)]
    except Exception as error:  # noqa: BLE001 - what a validator raises on hostile bytes, nobody has a list of
        raise _NoPath(str(error).partition("\n")[0].rstrip(".") or type(error).__name__) from None
    if len(found) < 2:
        # An anchor is a name and a key to the validator; what else its double says, nobody has signed.
        raise _NoPath("it names a trusted signer and is another certificate")
    return tuple(x509.load_der_x509_certificate(one.dump()) for one in found)


def _weak(path: Sequence[x509.Certificate]) -> bool:
    keys = [key for one in path if isinstance(key := one.public_key(), rsa.RSAPublicKey)]
    digests = {type(one.signature_hash_algorithm) for one in path[1:]}
    return any(key.key_size < _STRONG_RSA for key in keys) or hashes.SHA1 in digests


def _self_signed(certificate: x509.Certificate) -> bool:
    """Whether it names itself and its own key as its issuer (RFC 5280 4.2.1.1)."""
    if certificate.issuer != certificate.subject:
        return False
    try:
        above = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, ValueError):
        return True
    return above is None or above == own


def _is_authority(certificate: x509.Certificate) -> bool:
    with suppress(x509.ExtensionNotFound, ValueError):
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    return False


def _issued_by(listing: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return issuer.subject == listing.issuer and listing.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _reason(entry: x509.RevokedCertificate) -> x509.ReasonFlags:
    with suppress(x509.ExtensionNotFound):
        return entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    return x509.ReasonFlags.unspecified


def _misused(certificate: x509.Certificate) -> str:
    """Why the certificate is none to sign documents with; empty if it is."""
    with suppress(x509.ExtensionNotFound):
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        if not usage.digital_signature and not usage.content_commitment:
            return "its certificate is not for signatures (keyUsage)"
    with suppress(x509.ExtensionNotFound):
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if not _FOR_DOCUMENTS & set(purposes):
            return "its certificate is not for signing documents (extendedKeyUsage)"
    return ""
