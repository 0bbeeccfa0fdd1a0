"""Certificates and keys as files: bounded reading, exclusive writing. Nothing here decides whether to trust one."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from auth.errors import AuthorityError

MAX_FILE_BYTES = 262_144
"""No certificate or key file of ours comes near; a larger one is not read."""
_TRIAL = b"strongroom: a trial of this key"


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Every certificate of a PEM file, at least one, the leaf first.

    Raises:
        AuthorityError: the file is missing, too large, or holds no certificate.
    """
    data = read_bounded(path)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise AuthorityError(f"{path.name} holds no readable certificate") from error


def read_certificate(path: Path) -> bytes:
    """DER of the first certificate of a PEM file, or of a DER file, as an operator may bring either.

    Raises:
        AuthorityError: the file is missing, too large, or holds no certificate.
    """
    data = read_bounded(path)
    try:
        loaded = x509.load_pem_x509_certificate(data) if b"-----BEGIN" in data else x509.load_der_x509_certificate(data)
    except ValueError as error:
        raise AuthorityError(f"{path.name} holds no readable certificate") from error
    return loaded.public_bytes(serialization.Encoding.DER)


def read_private_key(path: Path) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """An RSA or elliptic curve key from a PEM file without a passphrase.

    Raises:
        AuthorityError: the file is missing, too large, no such key, or others than its owner can read it.
    """
    return _private_key(path, proved=False)


def read_key_of(path: Path, certificate: x509.Certificate) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """The key of a certificate, from a file of our own making.

    Testing anew that the factors of an RSA key are primes takes a tenth of a second, in each process. Here a signature
    that the certificate verifies is the proof instead: a damaged key does not make one.

    Raises:
        AuthorityError: as `read_private_key`, or it is not that certificate's.
    """
    key = _private_key(path, proved=True)
    if key.public_key() != certificate.public_key() or not _signs(key):
        raise AuthorityError(f"{path.name} is not the key of {certificate.subject.rfc4514_string()}")
    return key


def _signs(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bool:
    """Whether what the key signs is verified by its public half. An elliptic curve key was tested as it was read."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return True
    try:
        signature = key.sign(_TRIAL, PKCS1v15(), hashes.SHA256())
        key.public_key().verify(signature, _TRIAL, PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def _private_key(path: Path, *, proved: bool) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """``proved``: that an RSA key is sound is seen otherwise."""
    refuse_exposed(path)
    try:
        key = serialization.load_pem_private_key(
            read_bounded(path), password=None, unsafe_skip_rsa_key_validation=proved
        )
    except (ValueError, TypeError) as error:
        raise AuthorityError(f"{path.name} holds no private key that can be read without a passphrase") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"{path.name} is neither an RSA nor an elliptic curve key")
    return key


def refuse_exposed(path: Path) -> None:
    """Refuse a key file that its group or the world can read or write.

    Raises:
        AuthorityError: it is missing or exposed.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise AuthorityError(f"{path}: {error.strerror}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise AuthorityError(f"{path} can be reached by others than its owner: chmod 600")


def write_exclusively(directory: Path, contents: Mapping[str, tuple[bytes, int]]) -> None:
    """Write all files (name: bytes and mode) durably into a folder, made 0700 if missing, or none of them.

    Raises:
        AuthorityError: one is already there, or the folder cannot be written.
    """
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in contents:
            if os.path.lexists(directory / name):
                raise AuthorityError(f"{directory / name} is already there; nothing is overwritten")
        for name, (data, mode) in contents.items():
            descriptor = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
            written.append(directory / name)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
        _sync_directory(directory)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise AuthorityError(f"{directory}: {error.strerror}") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, most: int = MAX_FILE_BYTES) -> bytes:
    """A file of at most so many bytes.

    Raises:
        AuthorityError: it is missing or larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise AuthorityError(f"{path}: {error.strerror}") from error
    if len(data) > most:
        raise AuthorityError(f"{path} is larger than {most} bytes")
    return data
