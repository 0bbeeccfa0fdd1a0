"""Whom else we believe, and whom no longer: the facility's authorities and lists of revoked certificates (RFC 5280 5).

Read from files into one frozen value, so that a reload takes effect at once or not at all. Here: reading them and
answering questions. What follows from an answer, `auth.node.peer` says.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from auth.errors import AuthorityError
from auth.node.pem import read_bounded, read_certificates

MAX_LISTS = 256
"""Files in the folder of revocation lists."""
MAX_LIST_BYTES = 33_554_432
"""Bytes of one revocation list: some hundred thousand certificates."""


@dataclass(frozen=True, slots=True)
class RevocationList:
    """What one authority has revoked, until when the list may be relied upon."""

    serials: frozenset[int]
    until: datetime | None
    """nextUpdate; None: it does not say (RFC 5280 5.1.2.5 demands it, and such a list is refused)."""


@dataclass(frozen=True, slots=True)
class Trust:
    """The facility's authorities and all revocation lists, as they were read."""

    facility: tuple[x509.Certificate, ...] = ()
    """Issuing authorities; what they issued directly is a facility node's certificate."""
    lists: Mapping[bytes, RevocationList] = field(default_factory=lambda: MappingProxyType({}))
    """By the DER of the issuer's name."""

    @property
    def anchors(self) -> tuple[bytes, ...]:
        """DER of the facility's authorities, for the TLS trust anchors."""
        return tuple(authority.public_bytes(Encoding.DER) for authority in self.facility)

    def facility_issuer(self, certificate: x509.Certificate) -> x509.Certificate | None:
        """The authority of the facility that issued a certificate, name and signature; None if none did."""
        return next((authority for authority in self.facility if issued_by(certificate, authority)), None)

    def revocation(self, issuer: bytes, serial: int, now: datetime) -> str | None:
        """Why a certificate is not to be relied upon, by its issuer's list; None where that says nothing.

        Args:
            issuer: the DER of its issuer's name.
            serial: its serial number.
            now: a list that is past its time proves nothing, and so refuses.
        """
        found = self.lists.get(issuer)
        if found is None:
            return None
        if serial in found.serials:
            return "the certificate was revoked by its issuer"
        if found.until is None or now >= found.until:
            return "the revocation list of the certificate's issuer is past its time"
        return None


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's name and key are those that signed (RFC 5280 6.1.3 a)."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def load_trust(facility: Path | None, revoked: Path | None, known: Iterable[x509.Certificate]) -> Trust:
    """Read the facility's authorities and every list.

    Args:
        facility: PEM of the facility's issuing authorities; None: there are none.
        revoked: a folder of lists (PEM or DER) and, where we do not know them, of the certificates of their issuers
            (PEM); None, or no such folder: there are none.
        known: our own authorities.

    Raises:
        AuthorityError: a file cannot be read, an authority is none, or a list is not signed by an authority that is
            known, or says not until when it holds.
    """
    authorities = tuple(read_certificates(facility)) if facility is not None else ()
    for authority in authorities:
        if not _is_authority(authority):
            raise AuthorityError(f"{authority.subject.rfc4514_string()} in {facility} is no certificate authority")
    if revoked is None or not revoked.is_dir():
        return Trust(authorities)
    issuers = [*authorities, *known]
    lists: dict[Path, x509.CertificateRevocationList] = {}
    for path in _files(revoked):
        data = read_bounded(path, MAX_LIST_BYTES)
        if b"-----BEGIN CERTIFICATE-----" in data:
            issuers += read_certificates(path)
        else:
            lists[path] = _list(path, data)
    found = {
        crl.issuer.public_bytes(): RevocationList(
            frozenset(entry.serial_number for entry in _revoked(crl)), crl.next_update_utc
        )
        for path, crl in lists.items()
        if _checked(path, crl, issuers)
    }
    return Trust(authorities, MappingProxyType(found))


def _files(folder: Path) -> Iterator[Path]:
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if len(paths) > MAX_LISTS:
        raise AuthorityError(f"{folder} holds more than {MAX_LISTS} files")
    yield from paths


def _list(path: Path, data: bytes) -> x509.CertificateRevocationList:
    try:
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_crl(data)
        return x509.load_der_x509_crl(data)
    except ValueError as error:
        raise AuthorityError(f"{path.name} holds neither certificates nor a revocation list") from error


def _revoked(crl: x509.CertificateRevocationList) -> Iterator[x509.RevokedCertificate]:
    yield from crl


def _checked(path: Path, crl: x509.CertificateRevocationList, issuers: Iterable[x509.Certificate]) -> bool:
    """RFC 5280 6.3.3, as far as a complete list of one issuer goes: signed by it, by a key that may, and dated."""
    signer = next((one for one in issuers if one.subject == crl.issuer and _signed_by(crl, one)), None)
    if signer is None:
        raise AuthorityError(f"{path.name} is not signed by an authority that is known: put its certificate beside it")
    if crl.next_update_utc is None:
        raise AuthorityError(f"{path.name} does not say until when it holds (nextUpdate)")
    if any(extension.critical for extension in crl.extensions):
        # A delta, or the list of some certificates only (RFC 5280 5.2.4, 5.2.5): what is not on it may be revoked.
        raise AuthorityError(f"{path.name} is not a complete list of its issuer's certificates")
    return True


def _signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        may_sign = usage.crl_sign
    except x509.ExtensionNotFound:
        may_sign = True
    try:
        return may_sign and crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
