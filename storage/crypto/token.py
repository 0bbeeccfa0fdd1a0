"""The signer's key in a token (PKCS #11), which signs and never shows it.

A token is named as RFC 7512 has it, with the attributes that are needed here and no others:

    pkcs11:token=strongroom?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=keys/token-pin

The module is the library of the token's maker, and the PIN is in a file of its owner's alone. Keys in it are found by
CKA_ID, which is the subject key identifier of their certificate, so that a certificate says which key it wants.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from storage.errors import TokenUnusable

RSA_BITS: Final = 3072
_OTHERS: Final = 0o077
_MAX_PIN_BYTES: Final = 4096
_DIGEST_INFO: Final = {
    "SHA256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "SHA384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "SHA512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""DigestInfo up to the digest (RFC 8017 9.2)."""


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Which token, through which library, opened with which PIN."""

    label: str
    module: Path
    pin: Path

    @classmethod
    def parse(cls, uri: str, inside: Callable[[Path], Path]) -> "TokenPlace":
        """A place from a PKCS #11 URI; ``inside`` resolves relative paths.

        Raises:
            TokenUnusable: it is none, or lacks one of the three attributes.
        """
        scheme, _, rest = uri.partition(":")
        path, _, query = rest.partition("?")
        pairs = [part.partition("=") for part in (*path.split(";"), *query.split("&")) if part]
        found = {name: unquote(value) for name, _, value in pairs}
        if scheme != "pkcs11" or set(found) != {"token", "module-path", "pin-source"} or not all(found.values()):
            raise TokenUnusable("write the signer's token as pkcs11:token=LABEL?module-path=LIBRARY&pin-source=FILE")
        source = found["pin-source"].removeprefix("file:")
        return cls(found["token"], Path(found["module-path"]), inside(Path(source)))


class Token:
    """One token, logged in. Threads may share it; it signs for one at a time."""

    def __init__(self, place: TokenPlace) -> None:
        """Log in.

        Raises:
            TokenUnusable: library, token or PIN are not usable, or this installation has no PKCS #11.
        """
        self._pkcs11 = _library()
        self._lock = threading.Lock()
        try:
            library = self._pkcs11.lib(str(place.module))
            self._session = library.get_token(token_label=place.label).open(user_pin=_pin(place.pin), rw=True)
        except self._pkcs11.PKCS11Error as error:
            raise TokenUnusable(f"token {place.label}: {type(error).__name__} {error}".strip()) from None
        except (OSError, RuntimeError) as error:
            raise TokenUnusable(f"{place.module}: {error}") from None

    def key_of(self, certificate: x509.Certificate) -> "TokenKey | None":
        """The private key that belongs to a certificate; None if it is not here.

        Raises:
            TokenUnusable: the token fails, or the key is not the certificate's.
        """
        public = certificate.public_key()
        if not isinstance(public, rsa.RSAPublicKey):
            return None
        try:
            identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
            key = self._session.get_key(object_class=self._pkcs11.ObjectClass.PRIVATE_KEY, id=identifier)
        except (x509.ExtensionNotFound, self._pkcs11.NoSuchKey):
            return None
        except self._pkcs11.PKCS11Error as error:
            raise TokenUnusable(f"{type(error).__name__} {error}".strip()) from None
        return TokenKey(self, key, public)

    def generate(self, label: str) -> "TokenKey":
        """Make an RSA key in the token, which cannot be taken out.

        Raises:
            TokenUnusable: the token does not.
        """
        attribute = self._pkcs11.Attribute
        try:
            public, private = self._session.generate_keypair(
                self._pkcs11.KeyType.RSA,
                RSA_BITS,
                label=label,
                store=True,
                private_template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False, attribute.SIGN: True},
            )
            numbers = rsa.RSAPublicNumbers(
                int.from_bytes(public[attribute.PUBLIC_EXPONENT], "big"),
                int.from_bytes(public[attribute.MODULUS], "big"),
            )
            known = numbers.public_key()
            identifier = x509.SubjectKeyIdentifier.from_public_key(known).digest
            public[attribute.ID] = private[attribute.ID] = identifier
        except self._pkcs11.PKCS11Error as error:
            raise TokenUnusable(f"no key was made: {type(error).__name__} {error}".strip()) from None
        return TokenKey(self, private, known)

    def sign(self, key: Any, data: bytes) -> bytes:
        """The RSA operation over ``data``, padded by the token (CKM_RSA_PKCS). Raises `TokenUnusable`."""
        try:
            with self._lock:
                return bytes(key.sign(data, mechanism=self._pkcs11.Mechanism.RSA_PKCS))
        except self._pkcs11.PKCS11Error as error:
            raise TokenUnusable(f"it did not sign: {type(error).__name__} {error}".strip()) from None

    def close(self) -> None:
        """Log out."""
        self._session.close()


class TokenKey:
    """A private key in a token (`storage.crypto.signing_key.DigestSigner`)."""

    def __init__(self, token: Token, key: Any, public: rsa.RSAPublicKey) -> None:
        self._token = token
        self._key = key
        self._public = public

    def public_key(self) -> rsa.RSAPublicKey:
        """The other half."""
        return self._public

    def sign_digest(self, digest: bytes, algorithm: str) -> bytes:
        """RSASSA-PKCS1-v1_5 (RFC 8017 8.2). Raises `TokenUnusable`."""
        if len(digest) != hashlib.new(algorithm.lower()).digest_size:
            raise ValueError("a digest of another algorithm")
        return self._token.sign(self._key, _DIGEST_INFO[algorithm] + digest)


def _library() -> ModuleType:
    try:
        import pkcs11
    except ImportError:
        raise TokenUnusable("this installation has no PKCS #11: install strongroom[pkcs11]") from None
    module: ModuleType = pkcs11
    return module


def _pin(path: Path) -> str:
    """One trailing newline is the editor's. Raises `TokenUnusable`."""
    try:
        if path.stat().st_mode & _OTHERS:
            raise TokenUnusable(f"{path} can be read by others: run `chmod 600 {path}`")
        data = path.read_bytes()
    except OSError as error:
        raise TokenUnusable(f"{path} cannot be read ({error.strerror})") from None
    if not 0 < len(data) <= _MAX_PIN_BYTES:
        raise TokenUnusable(f"{path} holds no PIN")
    return data.removesuffix(b"\n").decode("utf-8", "replace")
