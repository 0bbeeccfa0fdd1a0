"""What the archive's signer says about the trail: one line of JSON with a signature at its end.

    line      = body ‖ ',"signature":"' ‖ base64 ‖ '"}'
    body      = JSON object without its closing brace: "format" first, then its fields, "signer" last; ASCII, no spaces
    signature = RSASSA-PKCS1-v1_5 with SHA-256 over the body, under the signer's key (as for objects, PS3.15 C.1)
    signer    = SHA-256 of the signer's certificate, hexadecimal

A statement has one spelling: a line that says the same in other bytes is not accepted.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from archive.errors import TrailDamaged
from storage.crypto.signing_key import SigningKey, sign_digest

MAX_LINE_BYTES: Final = 16_384
"""No statement comes near: the longest field is an operator's reason."""
_SIGNATURE: Final = ',"signature":"'


class StatementSigner:
    """Signs statements with the archive's key. Threads may share it."""

    def __init__(self, key: SigningKey, certificate_der: bytes) -> None:
        """Take the key, an RSA one, and its own X.509 certificate, DER encoded."""
        self._using = (key, sha256(certificate_der).hexdigest())

    def use(self, key: SigningKey, certificate_der: bytes) -> None:
        """Sign with another key from now on."""
        self._using = (key, sha256(certificate_der).hexdigest())

    def line(self, kind: str, fields: Mapping[str, object]) -> str:
        """A signed statement of a kind, without a newline. ``fields`` are JSON-ready."""
        key, signer = self._using
        body = _body(kind, fields, signer)
        value = sign_digest(key, sha256(body.encode("ascii")).digest(), "SHA256")
        signature = base64.b64encode(value).decode("ascii")
        return f'{body}{_SIGNATURE}{signature}"}}'


class StatementVerifier:
    """Knows whose signatures count. Threads may share it."""

    def __init__(self, certificates_der: Iterable[bytes]) -> None:
        """Take the certificates, DER encoded, of the signers that are believed."""
        self._keys: dict[str, RSAPublicKey] = {}
        for certificate in certificates_der:
            self.admit(certificate)

    def admit(self, certificate_der: bytes) -> None:
        """Believe this signer too."""
        key = x509.load_der_x509_certificate(certificate_der).public_key()
        if not isinstance(key, RSAPublicKey):
            raise TypeError("a signer's key is RSA")
        self._keys[sha256(certificate_der).hexdigest()] = key

    def fields(self, kind: str, line: str) -> dict[str, Any]:
        """The fields of a statement of a kind.

        Raises:
            TrailDamaged: it is none, was changed, or was signed by somebody else.
        """
        fields, signer, signature = _parsed(kind, line)
        key = self._keys.get(signer)
        if key is None:
            raise TrailDamaged(f"a {kind} is signed by {signer[:16]}…, which is not this archive's signer")
        try:
            key.verify(signature, _body(kind, fields, signer).encode("ascii"), PKCS1v15(), SHA256())
        except InvalidSignature:
            raise TrailDamaged(f"the signature of a {kind} does not hold") from None
        return fields


def unverified(kind: str, line: str) -> dict[str, Any]:
    """The fields of a statement, whoever signed it.

    Raises:
        TrailDamaged: it is none of this kind.
    """
    return _parsed(kind, line)[0]


def _parsed(kind: str, line: str) -> tuple[dict[str, Any], str, bytes]:
    """Fields, signer and signature of a line in its one spelling."""
    if len(line) > MAX_LINE_BYTES:
        raise TrailDamaged(f"a {kind} is longer than any")
    try:
        fields = json.loads(line)
        said, signer, text = fields.pop("format"), fields.pop("signer"), fields.pop("signature")
        signature = base64.b64decode(text, validate=True)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise TrailDamaged(f"a {kind} has no form that this release reads") from None
    if said != _format(kind) or not isinstance(signer, str):
        raise TrailDamaged(f"a {kind} has no form that this release reads")
    if line != f'{_body(kind, fields, signer)}{_SIGNATURE}{base64.b64encode(signature).decode("ascii")}"}}':
        raise TrailDamaged(f"a {kind} is not spelt as it was written")
    return fields, signer, signature


def _body(kind: str, fields: Mapping[str, object], signer: str) -> str:
    said = {"format": _format(kind), **fields, "signer": signer}
    return json.dumps(said, ensure_ascii=True, separators=(",", ":"))[:-1]


def _format(kind: str) -> str:
    return f"strongroom {kind} 1"
