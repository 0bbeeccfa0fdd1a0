"""The archive's signing key: opened where the settings say it is, and changed for another while everything runs.

What signs are objects and statements; what believes signatures are all signers there ever were.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from archive.audit.statement import StatementSigner, StatementVerifier
from archive.errors import HomeInvalid
from archive.home import Home
from archive.settings import Settings
from auth.node.authority import Authority, AuthorityFiles
from auth.node.authority import load as load_authority
from auth.node.signers import install_signer, issue_signer, new_signer_key, settle, signer_certificates
from storage.crypto.signing_key import SigningKey
from storage.crypto.token import Token, TokenPlace
from storage.integrity.signature import Signer


def fingerprints(certificates: tuple[bytes, ...]) -> frozenset[bytes]:
    """SHA-256 of each certificate."""
    return frozenset(sha256(one).digest() for one in certificates)


def own_signers(home: Home, settings: Settings) -> tuple[bytes, ...]:
    """DER of the certificates of the home's signers, the present one first.

    Raises:
        AuthError: the authority is not usable.
    """
    return signer_certificates(load_authority(home.inside(settings.keys.authority)))


def finish_rotation(home: Home, settings: Settings) -> None:
    """Finish a change of signers that a crash interrupted; the caller holds the lock.

    Raises:
        AuthError: the authority's folder cannot be written.
    """
    settle(AuthorityFiles(home.inside(settings.keys.authority)))


def object_signer(home: Home, settings: Settings) -> Signer:
    """A signer of objects for a process of its own, which opens the key for itself. Raises as `SigningKeys`."""
    authority = load_authority(home.inside(settings.keys.authority))
    key, _ = _opened(home, settings, authority)
    return Signer(key, authority.signer_certificate)


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new signer that is made and not yet in place."""

    certificate: x509.Certificate
    take_effect: Callable[[], None]


class SigningKeys:
    """The present signer and all before. `close` it. Changed by one thread at a time."""

    def __init__(self, home: Home, settings: Settings) -> None:
        """Open the key; the caller holds the lock, and has finished any rotation.

        Raises:
            AuthError: authority or key are not usable.
            TokenUnusable: the token is not.
            HomeInvalid: the present signer's key is in neither token nor file.
        """
        self.authority = load_authority(home.inside(settings.keys.authority))
        key, self._token = _opened(home, settings, self.authority)
        certificate = self.authority.signer_certificate
        self.certificates = signer_certificates(self.authority)
        self.objects = Signer(key, certificate)
        self.statements = StatementSigner(key, certificate)
        self.verifier = StatementVerifier(self.certificates)
        self.key = key

    @property
    def in_token(self) -> bool:
        """The present signer's key is in a token."""
        return self._token is not None and self._token.key_of(self.authority.signer) is not None

    def rotation(self) -> Rotation:
        """Make another key, in the token if there is one, and have it certified. Nothing is signed with it yet.

        Raises:
            AuthError: the signing CA's key is not usable.
            TokenUnusable: the token makes no key.
        """
        if self._token is not None:
            made = self._token.generate("strongroom signer")
            certificate = issue_signer(self.authority, made)
            return Rotation(certificate, lambda: self._put(certificate, made))
        key = new_signer_key()
        certificate = issue_signer(self.authority, key)
        return Rotation(certificate, lambda: self._put(certificate, key))

    def close(self) -> None:
        """Log out of the token."""
        if self._token is not None:
            self._token.close()

    def _put(self, certificate: x509.Certificate, key: SigningKey) -> None:
        in_file = self._token is None
        install_signer(self.authority, certificate, key if in_file else None)  # type: ignore[arg-type]
        self.authority = load_authority(self.authority.files.directory)
        self.certificates = signer_certificates(self.authority)
        der = certificate.public_bytes(Encoding.DER)
        self.verifier.admit(der)
        self.key = key
        self.statements.use(key, der)
        self.objects.use(key, der)


def _opened(home: Home, settings: Settings, authority: Authority) -> tuple[SigningKey, Token | None]:
    """The present signer's key, and the token if one is named.

    Where a token was named after the certificate was made, the key is still that of the file.
    """
    place = settings.keys.signer
    if not place:
        return authority.signer_key(), None
    token = Token(TokenPlace.parse(place, home.inside))
    found = token.key_of(authority.signer)
    if found is not None:
        return found, token
    if not authority.files.key("signer").exists():
        token.close()
        raise HomeInvalid("the token has no key of the present signer: name the token that has")
    return authority.signer_key(), token
