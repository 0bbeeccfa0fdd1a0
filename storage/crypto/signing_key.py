"""A private key that signs digests, wherever it is kept: in a file, or in a token that never lets go of it."""

from typing import Final, Protocol, runtime_checkable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

SHA2: Final[dict[str, hashes.HashAlgorithm]] = {
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}
"""What new signatures are made with, by the defined terms of MAC Algorithm (0400,0015)."""


@runtime_checkable
class DigestSigner(Protocol):
    """An RSA key that is kept elsewhere (`storage.crypto.token`)."""

    def sign_digest(self, digest: bytes, algorithm: str) -> bytes:
        """RSASSA-PKCS1-v1_5 (RFC 8017 8.2) over a digest that was made with one of `SHA2`."""

    def public_key(self) -> rsa.RSAPublicKey:
        """The other half."""


SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | DigestSigner
"""ECDSA has no profile in DICOM (PS3.15 C.1 to C.4 are RSA); DCMTK makes and reads such signatures all the same."""


def sign_digest(key: SigningKey, digest: bytes, algorithm: str) -> bytes:
    """A signature over a digest that was made with ``algorithm``, one of `SHA2`."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(digest, PKCS1v15(), Prehashed(SHA2[algorithm]))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(digest, ec.ECDSA(Prehashed(SHA2[algorithm])))
    return key.sign_digest(digest, algorithm)
