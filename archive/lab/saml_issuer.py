"""A throw-away SAML identity provider for trying and testing: a key in a folder, and assertions as IHE XUA has them.

There is no server: an identity provider is whoever holds the key. What it signs is well-formed; how an assertion may be
wrong is for tests to say, which sign documents of their own with `sign`.
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod
from signxml.signer import XMLSigner

from auth.identity.saml.attributes import ORGANIZATION, PURPOSE_OF_USE, ROLE, SUBJECT_ID
from auth.identity.saml.markup import Element, alone, parsed

ISSUER: Final = "https://idp.strongroom.lab/saml"
LIFE: Final = timedelta(days=30)
RSA_BITS: Final = 2048
CODE_SYSTEM: Final = "2.16.840.1.113883.6.96"
"""SNOMED CT, in which XUA writes roles."""
PURPOSE_SYSTEM: Final = "1.0.14265.1"
"""ISO 14265, in which XUA writes purposes of use."""

_ASSERTION_NAMES: Final = 'xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"'
_RESPONSE_NAMES: Final = 'xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"'
_UNSPECIFIED: Final = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
_PASSWORD: Final = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"  # noqa: S105 (a class of sign-in)
SIGNATURE_PLACE: Final = b'<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Id="placeholder"/>'
"""What `SamlIssuer.sign_element` puts the signature instead of."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What an assertion shall say besides its subject. Times are relative to its issue."""

    audience: str = ""
    """Empty: it is restricted to nobody."""
    recipient: str = ""
    """Empty: not said."""
    roles: Sequence[str] = ()
    """Codes in `CODE_SYSTEM`."""
    display_name: str = ""
    organization: str = ""
    purpose_of_use: str = ""
    """A code in `PURPOSE_SYSTEM`."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Others, as text."""
    begins: timedelta = timedelta(0)
    ends: timedelta = timedelta(minutes=5)
    session_ends: timedelta | None = timedelta(hours=8)
    """None: not said."""
    one_time_use: bool = False


class SamlIssuer:
    """One identity provider. Thread-safe once made."""

    def __init__(self, folder: Path, *, issuer: str = ISSUER) -> None:
        """``folder``: keeps ``idp.key`` (0600), ``idp.pem`` and ``idp-metadata.xml``; what is there is used again."""
        self.issuer = issuer
        self.certificate_file = folder / "idp.pem"
        self.key_file = folder / "idp.key"
        self.metadata_file = folder / "idp-metadata.xml"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.key_file.exists():
            self._make()
        self.certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        key = load_pem_private_key(self.key_file.read_bytes(), password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError(f"{self.key_file} holds no RSA key")
        self._key = key
        self.metadata_file.write_bytes(self.metadata())

    def assertion(self, subject: str, wishes: Wishes, *, response: bool = False, now: datetime | None = None) -> bytes:
        """A signed assertion about ``subject``, bare or inside an unsigned response."""
        signed = self.sign(self.unsigned(subject, wishes, now=now))
        return self.in_response(signed, now=now) if response else signed

    def unsigned(self, subject: str, wishes: Wishes, *, now: datetime | None = None) -> bytes:
        """The assertion before it is signed."""
        moment = now or datetime.now(UTC)
        recipient = f" Recipient={quoteattr(wishes.recipient)}" if wishes.recipient else ""
        audience = (
            f"<saml:AudienceRestriction><saml:Audience>{escape(wishes.audience)}</saml:Audience>"
            "</saml:AudienceRestriction>"
            if wishes.audience
            else ""
        )
        session = (
            f' SessionNotOnOrAfter="{_written(moment + wishes.session_ends)}"'
            if wishes.session_ends is not None
            else ""
        )
        begins, ends = _written(moment + wishes.begins), _written(moment + wishes.ends)
        return (
            f'<saml:Assertion {_ASSERTION_NAMES} ID="{_identifier()}" Version="2.0" IssueInstant="{_written(moment)}">'
            f"<saml:Issuer>{escape(self.issuer)}</saml:Issuer>"
            f'<saml:Subject><saml:NameID Format="{_UNSPECIFIED}">{escape(subject)}</saml:NameID>'
            '<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer">'
            f'<saml:SubjectConfirmationData NotOnOrAfter="{ends}"{recipient}/>'
            "</saml:SubjectConfirmation></saml:Subject>"
            f'<saml:Conditions NotBefore="{begins}" NotOnOrAfter="{ends}">{audience}'
            f"{'<saml:OneTimeUse/>' if wishes.one_time_use else ''}</saml:Conditions>"
            f'<saml:AuthnStatement AuthnInstant="{_written(moment)}"{session}><saml:AuthnContext>'
            f"<saml:AuthnContextClassRef>{_PASSWORD}</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"
            f"{_attribute_statement(wishes)}</saml:Assertion>"
        ).encode()

    def in_response(self, assertion: bytes, *, now: datetime | None = None) -> bytes:
        """An assertion, signed or not, inside an unsigned response."""
        return (
            (
                f'<samlp:Response {_RESPONSE_NAMES} {_ASSERTION_NAMES} ID="{_identifier()}" Version="2.0"'
                f' IssueInstant="{_written(now or datetime.now(UTC))}"><saml:Issuer>{escape(self.issuer)}</saml:Issuer>'
                '<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>'
            ).encode()
            + assertion
            + b"</samlp:Response>"
        )

    def sign(self, document: bytes) -> bytes:
        """A document signed over its root, an assertion or a response, behind its first Issuer (SAML core 5.4)."""
        place = document.replace(b"</saml:Issuer>", b"</saml:Issuer>" + SIGNATURE_PLACE, 1)
        return alone(self.sign_element(parsed(place)))

    def sign_element(
        self,
        root: Element,
        *,
        method: SignatureMethod = SignatureMethod.RSA_SHA256,
        digest: DigestAlgorithm = DigestAlgorithm.SHA256,
    ) -> Element:
        """An element signed as a whole, at the `SIGNATURE_PLACE` in it. Its ID is not looked at more closely."""
        signer = XMLSigner(
            signature_algorithm=method,
            digest_algorithm=digest,
            c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
        )
        reference = f"#{root.get('ID')}"
        return signer.sign(root, key=self._key, cert=[self.certificate], reference_uri=reference, id_attribute="ID")

    def metadata(self) -> bytes:
        """SAML metadata of the issuer (SAML metadata 2.4.3)."""
        lines = self.certificate.public_bytes(Encoding.PEM).decode().splitlines()[1:-1]
        return (
            '<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" '
            f"entityID={quoteattr(self.issuer)}>"
            '<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">'
            '<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:X509Data>'
            f"<ds:X509Certificate>{''.join(lines)}</ds:X509Certificate>"
            "</ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
            '<md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" '
            f"Location={quoteattr(self.issuer)}/></md:IDPSSODescriptor></md:EntityDescriptor>"
        ).encode()

    def _make(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Strongroom lab identity provider")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + LIFE)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        with os.fdopen(os.open(self.key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _attribute_statement(wishes: Wishes) -> str:
    texts = {SUBJECT_ID: wishes.display_name, ORGANIZATION: wishes.organization, **wishes.attributes}
    attributes = [_attribute(name, escape(text)) for name, text in texts.items() if text]
    if wishes.roles:
        attributes.append(_attribute(ROLE, *(_coded("Role", code, CODE_SYSTEM) for code in wishes.roles)))
    if wishes.purpose_of_use:
        attributes.append(_attribute(PURPOSE_OF_USE, _coded("PurposeOfUse", wishes.purpose_of_use, PURPOSE_SYSTEM)))
    return f"<saml:AttributeStatement>{''.join(attributes)}</saml:AttributeStatement>" if attributes else ""


def _attribute(name: str, *values: str) -> str:
    inside = "".join(f"<saml:AttributeValue>{value}</saml:AttributeValue>" for value in values)
    return f"<saml:Attribute Name={quoteattr(name)}>{inside}</saml:Attribute>"


def _coded(element: str, code: str, system: str) -> str:
    """An HL7 coded element, as ITI TF-2 3.40.4.1.2.1 has it."""
    return (
        f'<{element} xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CE"'
        f" code={quoteattr(code)} codeSystem={quoteattr(system)}/>"
    )


def _identifier() -> str:
    return f"_{secrets.token_hex(16)}"


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
