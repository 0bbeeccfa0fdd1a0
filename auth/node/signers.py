"""The archive's signers, one after another: the present one, and the certificates of those before.

A former signer signs nothing any more, and what it signed stays valid: its certificate is kept in ``former-signers``,
its key is destroyed. A certificate that the operator takes away from there vouches for nothing any more.
"""

import os
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from auth.errors import AuthorityError
from auth.node.authority import RSA_BITS, SIGNER_LIFETIME, Authority, AuthorityFiles
from auth.node.certificates import (
    DOCUMENT_SIGNING,
    Issuer,
    Subject,
    certificate_pem,
    key_pem,
    leaf_certificate,
    subject_beside,
)
from auth.node.pem import read_certificates, read_key_of, read_private_key, write_exclusively

FORMER: Final = "former-signers"
_NEXT: Final = "next-signer"
"""Folder of a signer that is being put in place; who finds one finishes that."""


def signer_certificates(authority: Authority) -> tuple[bytes, ...]:
    """DER of the present signer's certificate, then of every former one.

    Raises:
        AuthorityError: one of them cannot be read.
    """
    folder = authority.files.directory / FORMER
    paths = sorted(folder.glob("*.pem")) if folder.is_dir() else []
    former = [read_certificates(path)[0].public_bytes(serialization.Encoding.DER) for path in paths]
    return tuple(dict.fromkeys((authority.signer_certificate, *former)))


def new_signer_key() -> rsa.RSAPrivateKey:
    """A key for a signer that is kept in a file."""
    return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)


def issue_signer(authority: Authority, key: Subject) -> x509.Certificate:
    """A signer's certificate, under the signing CA.

    Raises:
        AuthorityError: the signing CA's key is not usable, or the CA has expired.
    """
    now = authority.clock()
    if now >= authority.signing_ca.not_valid_after_utc:
        raise AuthorityError("the signing CA has expired")
    ca_key = read_key_of(authority.files.key("signing-ca"), authority.signing_ca)
    mark = x509.random_serial_number().to_bytes(20, "big").hex()[-8:]
    title = authority.root.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)[0].value
    return leaf_certificate(
        Issuer(authority.signing_ca, ca_key),
        key,
        subject_beside(authority.root, f"{title!s} signer {mark}"),
        now,
        SIGNER_LIFETIME,
        [DOCUMENT_SIGNING],
        commits=True,
    )


def install_signer(authority: Authority, certificate: x509.Certificate, key: rsa.RSAPrivateKey | None) -> None:
    """Make it the present signer; ``key`` None: it is kept in a token. A crash leaves the one before, or this one.

    Raises:
        AuthorityError: the authority's folder cannot be written.
    """
    files = authority.files
    contents = {"signer.pem": (certificate_pem(certificate) + certificate_pem(authority.signing_ca), 0o644)}
    if key is not None:
        contents["signer.key"] = (key_pem(key), 0o600)
    former = authority.signer
    name = f"{former.serial_number:040x}.pem"
    if not (files.directory / FORMER / name).exists():
        write_exclusively(files.directory / FORMER, {name: (certificate_pem(former), 0o644)})
    making = files.directory / f".{_NEXT}"
    _emptied(making)
    write_exclusively(making, contents)
    # From this rename on it is the present one: `settle` finishes what a crash interrupts.
    making.rename(files.directory / _NEXT)
    settle(files)


def settle(files: AuthorityFiles) -> None:
    """Finish putting a signer in place, if that was begun. Idempotent.

    Raises:
        AuthorityError: the folder cannot be written.
    """
    waiting = files.directory / _NEXT
    if not waiting.is_dir():
        return
    try:
        # The certificate goes last: while it is there, this is done again.
        key = waiting / "signer.key"
        if key.exists():
            key.replace(files.key("signer"))
        elif (waiting / "signer.pem").exists() and not _matches(files.key("signer"), waiting / "signer.pem"):
            files.key("signer").unlink(missing_ok=True)
        if (waiting / "signer.pem").exists():
            (waiting / "signer.pem").replace(files.certificate("signer"))
        _sync(files.directory)
        waiting.rmdir()
        _sync(files.directory)
    except OSError as error:
        raise AuthorityError(f"{files.directory}: {error.strerror}") from error


def _matches(key: Path, certificate: Path) -> bool:
    """Whether a key file is there and is the certificate's: then it has been put in place already."""
    if not key.exists():
        return False
    return read_private_key(key).public_key() == read_certificates(certificate)[0].public_key()


def _emptied(folder: Path) -> None:
    try:
        for path in folder.iterdir() if folder.is_dir() else ():
            path.unlink()
    except OSError as error:
        raise AuthorityError(f"{folder}: {error.strerror}") from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
