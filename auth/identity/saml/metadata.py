"""Which keys are the issuer's: certificates that the operator configured, or SAML metadata that holds them.

An issuer that changes its key publishes the old and the new one for a time; each counts while it is valid.
The certificates are pinned: who issued them, and what they say of their subject, is of no interest.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from auth.errors import AuthorityError, ProviderMisconfigured, ProviderUnavailable
from auth.identity.saml.markup import DS, METADATA, Element, children, configured, instant
from auth.node.pem import read_certificates

MAX_METADATA_BYTES: Final = 8 * 1024 * 1024
"""A federation's metadata can be larger; an operator takes the one issuer out of it."""
MIN_RSA_BITS: Final = 2048
CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


@dataclass(frozen=True, slots=True)
class CurrentKeys:
    """The certificates that are valid at one moment; at least one."""

    certificates: tuple[x509.Certificate, ...]
    moment: datetime


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """The certificates of one issuer, and how long the word of whoever published them holds."""

    certificates: tuple[x509.Certificate, ...]
    valid_until: datetime | None = None
    """``validUntil`` of the metadata; None: no end."""

    def __post_init__(self) -> None:
        if not self.certificates:
            raise ProviderMisconfigured("the issuer has no certificate")
        for certificate in self.certificates:
            key = certificate.public_key()
            strong = (isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS) or (
                isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES)
            )
            if not strong:
                raise ProviderMisconfigured("an issuer's key is RSA of 2048 bits or more, or on P-256, P-384 or P-521")

    @classmethod
    def from_files(cls, paths: Iterable[Path]) -> "IssuerKeys":
        """Every certificate of some PEM files.

        Raises:
            ProviderMisconfigured: a file cannot be read, or holds no certificate or one with a weak key.
        """
        try:
            return cls(tuple(certificate for path in paths for certificate in read_certificates(path)))
        except AuthorityError as error:
            raise ProviderMisconfigured(str(error)) from error

    @classmethod
    def from_metadata(cls, data: bytes, issuer: str) -> "IssuerKeys":
        """The signing certificates of the identity provider ``issuer`` in SAML metadata (SAML metadata 2.4.1.1, 2.4.3).

        Its signature, if any, is not looked at: the file is configuration, and trusted as the settings are.

        Raises:
            ProviderMisconfigured: not metadata, or no usable certificate of that issuer in it.
        """
        entities = [
            entity for entity in _metadata(data).iter(f"{METADATA}EntityDescriptor") if entity.get("entityID") == issuer
        ]
        if len(entities) != 1:
            raise ProviderMisconfigured("the metadata does not describe the issuer exactly once")
        roles = children(entities[0], f"{METADATA}IDPSSODescriptor", f"{METADATA}AttributeAuthorityDescriptor")
        certificates = [
            _certificate(holder)
            for role in roles
            for descriptor in children(role, f"{METADATA}KeyDescriptor")
            if descriptor.get("use") in (None, "signing")
            for holder in descriptor.iter(f"{DS}X509Certificate")
        ]
        ends = [_end(holder) for holder in (*entities[0].iterancestors(), entities[0], *roles)]
        distinct = tuple(dict.fromkeys(certificates))
        return cls(distinct, min((end for end in ends if end is not None), default=None))

    def at(self, moment: datetime) -> CurrentKeys:
        """The certificates that count at ``moment``.

        Raises:
            ProviderUnavailable: the metadata or every certificate has expired: nobody can say whose signature it is.
        """
        if self.valid_until is not None and moment >= self.valid_until:
            raise ProviderUnavailable("the issuer's metadata has expired")
        valid = tuple(
            certificate
            for certificate in self.certificates
            if certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc
        )
        if not valid:
            raise ProviderUnavailable("no certificate of the issuer is valid now")
        return CurrentKeys(valid, moment)


def _metadata(data: bytes) -> Element:
    if len(data) > MAX_METADATA_BYTES:
        raise ProviderMisconfigured(f"the metadata is larger than {MAX_METADATA_BYTES} bytes")
    return configured(data)


def _certificate(holder: Element) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(base64.b64decode("".join((holder.text or "").split()), validate=True))
    except (ValueError, binascii.Error) as error:
        raise ProviderMisconfigured("a certificate in the metadata cannot be read") from error


def _end(element: Element) -> datetime | None:
    text = element.get("validUntil")
    end = instant(text)
    if text is not None and end is None:
        raise ProviderMisconfigured("the metadata says validUntil in a form that SAML does not have")
    return end
