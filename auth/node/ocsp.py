"""Asking an authority whether a certificate is still good (OCSP, RFC 6960), and believing only what it signed.

One POST over HTTP within one deadline. The answer is the authority's, or of a responder that it gave the power to
(RFC 6960 4.2.2.2); about this certificate; of now. Anything else, and no answer, refuses.
"""

import http.client
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from auth.errors import AuthorityError, CertificateRefused
from auth.node.trust import issued_by

MAX_RESPONSE_BYTES: Final = 65_536
MAX_REMEMBERED: Final = 4096
SKEW: Final = timedelta(minutes=5)
"""How far the responder's clock may be ahead of ours."""
LONGEST: Final = timedelta(hours=1)
"""How long an answer is relied upon at most, whatever it says itself; what it says bounds it too."""
_URL: Final = re.compile(r"http://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<path>/\S*)?")


@dataclass(frozen=True, slots=True)
class _Answer:
    until: datetime
    good: bool


class Responder:
    """One responder. Remembers answers; thread-safe."""

    def __init__(self, url: str, seconds: float, clock: Callable[[], datetime]) -> None:
        """``url`` is an http URL: what comes back is signed; ``seconds`` for the whole exchange.

        Raises:
            AuthorityError: it is no such URL.
        """
        parts = _URL.fullmatch(url)
        if parts is None or int(parts["port"] or 80) > 65_535:
            raise AuthorityError("an OCSP responder is named by an http URL")
        self._host, self._port = parts["host"].strip("[]"), int(parts["port"] or 80)
        self._path = parts["path"] or "/"
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered: dict[tuple[bytes, int], _Answer] = {}

    def check(self, certificate: x509.Certificate, issuer: x509.Certificate) -> None:
        """See that a certificate is good.

        Raises:
            CertificateRefused: it is revoked or unknown to its issuer, or nobody says.
        """
        now = self._clock()
        key = (certificate.issuer.public_bytes(), certificate.serial_number)
        with self._lock:
            answer = self._remembered.get(key)
        if answer is None or now >= answer.until:
            answer = self._ask(certificate, issuer, now)
            with self._lock:
                if len(self._remembered) >= MAX_REMEMBERED:
                    self._remembered.clear()
                self._remembered[key] = answer
        if not answer.good:
            raise CertificateRefused("the certificate was revoked by its issuer (OCSP)")

    def _ask(self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> _Answer:
        # The digest only names the issuer; SHA-1 is the one that every responder knows (RFC 5019 2.1.1).
        digest = hashes.SHA1()  # noqa: S303
        request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, digest).build()
        try:
            response = ocsp.load_der_ocsp_response(self._exchange(request.public_bytes(Encoding.DER)))
            if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
                raise CertificateRefused("revocation is unknown: the OCSP responder does not answer the question")
            return _believed(response, request, issuer, now)
        except (OSError, http.client.HTTPException) as error:
            raise CertificateRefused("revocation is unknown: the OCSP responder cannot be asked") from error
        except ValueError as error:
            raise CertificateRefused("revocation is unknown: the OCSP responder's answer is none") from error

    def _exchange(self, request: bytes) -> bytes:
        ends = time.monotonic() + self._seconds
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)
        try:
            headers = {"Content-Type": "application/ocsp-request", "Connection": "close"}
            connection.request("POST", self._path, request, headers)
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise CertificateRefused(f"revocation is unknown: the OCSP responder answers {answer.status}")
            body = b""
            while len(body) <= MAX_RESPONSE_BYTES and time.monotonic() < ends:
                piece = answer.read1(MAX_RESPONSE_BYTES)
                if not piece:
                    return body
                body += piece
            raise CertificateRefused("revocation is unknown: the OCSP responder's answer is too long or too slow")
        finally:
            connection.close()


def _believed(
    response: ocsp.OCSPResponse, request: ocsp.OCSPRequest, issuer: x509.Certificate, now: datetime
) -> _Answer:
    """RFC 6960 3.2, in its order."""
    # 1 It is about the certificate that was asked about.
    if (response.serial_number, response.issuer_key_hash) != (request.serial_number, request.issuer_key_hash):
        raise CertificateRefused("revocation is unknown: the OCSP responder speaks of another certificate")
    # 2 and 3 The signature is good, and its signer is the issuer or has its power.
    if not any(_signed(response, signer) for signer in (issuer, *_delegates(response, issuer, now))):
        raise CertificateRefused("revocation is unknown: the OCSP answer is not signed by who may")
    # 4 to 6 It is of now.
    until = min(response.next_update_utc or now + LONGEST, now + LONGEST)
    if response.this_update_utc > now + SKEW or until <= now or response.this_update_utc < now - timedelta(days=7):
        raise CertificateRefused("revocation is unknown: the OCSP answer is not of now")
    if response.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        raise CertificateRefused("the certificate is unknown to its issuer (OCSP)")
    return _Answer(until, response.certificate_status is ocsp.OCSPCertStatus.GOOD)


def _delegates(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> list[x509.Certificate]:
    """Responders that the issuer itself gave the power to (RFC 6960 4.2.2.2), and that have it now."""
    found = []
    for certificate in response.certificates:
        try:
            usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            continue
        valid = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc
        if valid and ExtendedKeyUsageOID.OCSP_SIGNING in usages and issued_by(certificate, issuer):
            found.append(certificate)
    return found


def _signed(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, digest = signer.public_key(), response.signature_hash_algorithm
    try:
        match key:
            case rsa.RSAPublicKey() if digest is not None and digest.digest_size >= 32:
                key.verify(response.signature, response.tbs_response_bytes, padding.PKCS1v15(), digest)
            case ec.EllipticCurvePublicKey() if digest is not None and digest.digest_size >= 32:
                key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(digest))
            case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
                key.verify(response.signature, response.tbs_response_bytes)
            case _:
                return False
    except (InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
