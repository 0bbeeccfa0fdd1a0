"""Time stamps on checkpoints (RFC 3161): what somebody else's clock and signature say about one line.

A token is the CMS structure of RFC 3161 section 2.4.2. It stamps the SHA-256 of a checkpoint's line, without a newline.
A stamped line holds both: ``{"checkpoint":"<line>","token":"<base64 of the token, DER>"}``.
"""

import base64
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from rfc3161_client import TimeStampResponse, VerifierBuilder, decode_timestamp_response

from archive.errors import TrailDamaged

MAX_TOKEN_BYTES: Final = 65_536
"""Some kilobytes are usual: a signature and a chain of certificates."""
_SHA256: Final = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
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

    def answered(self, answer: bytes, line: str, nonce: int) -> Stamp:
        """The stamp in an authority's answer (TimeStampResp) to a request with this nonce.

        Raises:
            StampInvalid: it refuses, or what it gives does not hold for this line and this request.
        """
        return self._verified(answer, line, nonce)

    def kept(self, token: bytes, line: str) -> Stamp:
        """The stamp that was kept with a line.

        Raises:
            StampInvalid: it does not hold for this line.
        """
        return self._verified(_sequence(_GRANTED + token), line, None)

    def _verified(self, answer: bytes, line: str, nonce: int | None) -> Stamp:
        """RFC 3161 2.2: status, signature and chain at the time of the stamp, nonce, extended key usage, imprint."""
        try:
            response = decode_timestamp_response(answer)
            VerifierBuilder(roots=self._roots, nonce=nonce).build().verify(response, sha256(line.encode()).digest())
            said = response.tst_info
            is_sha256 = said.message_imprint.hash_algorithm == _SHA256
            stamp = Stamp(said.gen_time, _signer_of(response), response.time_stamp_token())
        except Exception as error:  # noqa: BLE001 - what two parsers raise on hostile bytes, nobody has a list of
            raise StampInvalid(_in_words(error)) from None
        if not is_sha256:
            raise StampInvalid("the imprint is no SHA-256")
        return stamp


def stamped_line(line: str, stamp: Stamp) -> str:
    """A checkpoint's line with its stamp, without a newline."""
    token = base64.b64encode(stamp.token).decode("ascii")
    return json.dumps({"checkpoint": line, "token": token}, separators=(",", ":"))


def split_line(line: str) -> tuple[str, bytes | None]:
    """A checkpoint's line, and the token if it has one. What is no stamped line comes back as it is."""
    if len(line) > 4 * MAX_TOKEN_BYTES:
        return line, None
    with suppress(ValueError, RecursionError):
        match json.loads(line):
            case {"checkpoint": str(checkpoint), "token": str(token), **rest} if not rest:
                return checkpoint, base64.b64decode(token, validate=True)
    return line, None


@dataclass(frozen=True, slots=True)
class StampReport:
    """What a check of stamps found."""

    faults: tuple[str, ...] = ()
    newest: Stamp | None = None
    """Of those that hold."""
    line: str = ""
    """The checkpoint that it stamps."""
    unchecked: int = 0
    """Stamps, where no authority is trusted."""


def check_stamps(lines: Sequence[tuple[str, bytes | None]], verifier: StampVerifier | None) -> StampReport:
    """Check the stamps of checkpoints, as `split_line` gives them; ``verifier`` None: nobody is trusted."""
    faults: list[str] = []
    newest: Stamp | None = None
    stamped = ""
    unchecked = 0
    for number, (line, token) in enumerate(lines, 1):
        if token is None:
            continue
        if verifier is None:
            unchecked += 1
            continue
        try:
            stamp = verifier.kept(token, line)
        except StampInvalid as error:
            faults.append(f"E{TrailDamaged.number} the time stamp of checkpoint {number} from elsewhere: {error}")
            continue
        if newest is None or stamp.time >= newest.time:
            newest, stamped = stamp, line
    return StampReport(tuple(faults), newest, stamped, unchecked)


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
