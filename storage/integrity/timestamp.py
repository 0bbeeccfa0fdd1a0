"""Certified timestamps (RFC 3161): what somebody else's clock and signature say about some bytes.

A token is the CMS structure of RFC 3161 section 2.4.2, as DICOM keeps it in Certified Timestamp (0400,0310) with type
CMS_TSP, and as the audit trail keeps it beside a checkpoint. Asking for one is not done here, as it needs a network.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from rfc3161_client import TimeStampResponse, VerifierBuilder, decode_timestamp_response

MAX_TOKEN_BYTES: Final = 65_536
"""Some kilobytes are usual: a signature and a chain of certificates."""
_IMPRINTS: Final = {
    x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1"): "sha256",
    x509.ObjectIdentifier("2.16.840.1.101.3.4.2.2"): "sha384",
    x509.ObjectIdentifier("2.16.840.1.101.3.4.2.3"): "sha512",
}
_GRANTED: Final = bytes.fromhex("3003020100")
"""PKIStatusInfo: status granted (RFC 3161 2.4.2)."""
_OPENSSL_SAYS: Final = re.compile(r'(?:reason|data): "([^"]*)"')


class StampInvalid(Exception):
    """A token proves nothing; the message says why."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A token that holds."""

    time: datetime
    """genTime, UTC."""
    name: str
    """Subject of the certificate that signed, as RFC 4514 writes it."""
    token: bytes
    """DER."""


class StampVerifier:
    """Knows whose stamps count."""

    def __init__(self, roots: Sequence[x509.Certificate]) -> None:
        """Take the certificates to which a chain has to lead; at least one."""
        self._roots = list(roots)

    @classmethod
    def trusting(cls, path: Path) -> "StampVerifier":
        """Those of a PEM file. Raises `OSError`: it cannot be read; `ValueError`: it holds no certificate."""
        return cls(x509.load_pem_x509_certificates(path.read_bytes()))

    def answered(self, answer: bytes, data: bytes, nonce: int) -> Stamp:
        """The stamp in an authority's answer (TimeStampResp) to a request with this nonce.

        Raises:
            StampInvalid: it refuses, or what it gives does not hold for these bytes and this request.
        """
        return self._verified(answer, data, nonce)

    def kept(self, token: bytes, data: bytes) -> Stamp:
        """The stamp that was kept with some bytes.

        Raises:
            StampInvalid: it does not hold for them.
        """
        return self._verified(_sequence(_GRANTED + token), data, None)

    def _verified(self, answer: bytes, data: bytes, nonce: int | None) -> Stamp:
        """RFC 3161 2.2: status, signature and chain at the time of the stamp, nonce, extended key usage, imprint."""
        try:
            response = decode_timestamp_response(answer)
            imprint = _IMPRINTS.get(response.tst_info.message_imprint.hash_algorithm)
            digest = hashlib.new(imprint or "sha256", data).digest()
            VerifierBuilder(roots=self._roots, nonce=nonce).build().verify(response, digest)
            stamp = Stamp(response.tst_info.gen_time, _signer_of(response), response.time_stamp_token())
        except Exception as error:  # noqa: BLE001 - what two parsers raise on hostile bytes, nobody has a list of
            raise StampInvalid(_in_words(error)) from None
        if imprint is None:
            raise StampInvalid("the imprint is none of SHA-2")
        return stamp


def _signer_of(response: TimeStampResponse) -> str:
    """The subject of the certificate that the one SignerInfo names; the verifier has found it there."""
    (signer,) = response.signed_data.signer_infos
    for der in response.signed_data.certificates:
        certificate = x509.load_der_x509_certificate(der)
        if (certificate.issuer, certificate.serial_number) == (signer.issuer, signer.serial_number):
            return certificate.subject.rfc4514_string()
    raise StampInvalid("the certificate that signed is not in it")


def _in_words(error: Exception) -> str:
    """What the library says, of OpenSSL's errors their reasons alone."""
    return ", ".join(_OPENSSL_SAYS.findall(str(error))) or str(error) or type(error).__name__


def _sequence(content: bytes) -> bytes:
    """A DER SEQUENCE (X.690 8.1.3)."""
    size = len(content)
    if size < 128:
        return bytes((0x30, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x30, 0x80 | len(length))) + length + content
