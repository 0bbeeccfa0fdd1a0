"""SAML documents as they should not be: signed by hand, so that any part of a signature can be wrong and verify."""

import atexit
import base64
import hashlib
import hmac
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from lxml import etree

from archive.lab.saml_issuer import SamlIssuer, Wishes
from auth.credential import SamlAssertion, Secret
from auth.identity.chain import Vouched
from auth.identity.saml import IssuerKeys, Saml, SamlConfig, default_audience
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryUsers, node_identity

AUDIENCE = default_audience("STRONGROOM")
RADIOLOGIST = "106289002"
GOOD = Wishes(
    audience=AUDIENCE,
    recipient="urn:dicom:ae:STRONGROOM",
    roles=(RADIOLOGIST,),
    display_name="Alice Ärztin",
    organization="Hospital",
    purpose_of_use="TREATMENT",
)

DSIG = "http://www.w3.org/2000/09/xmldsig#"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = f"{DSIG}enveloped-signature"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
RSA_SHA256 = f"{MORE}rsa-sha256"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
SHA1 = f"{DSIG}sha1"


@cache
def _lab(which: str) -> SamlIssuer:
    folder = Path(tempfile.mkdtemp(prefix="saml-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return SamlIssuer(folder)


def issuer() -> SamlIssuer:
    """The configured issuer; one for a test process, since keys are slow to make."""
    return _lab("issuer")


def stranger() -> SamlIssuer:
    """Somebody with another key who says to be the same issuer."""
    return _lab("stranger")


def moment() -> datetime:
    """The one time of a test process, inside the certificates' validity."""
    return _started


_started = datetime.now(UTC).replace(microsecond=0)


def config(**changes: object) -> SamlConfig:
    """The configuration that `GOOD` satisfies."""
    values: dict[str, object] = {
        "name": "hospital-idp",
        "realm": "hospital",
        "issuer": issuer().issuer,
        "keys": IssuerKeys((issuer().certificate,)),
        "audience": AUDIENCE,
        "recipient": "urn:dicom:ae:STRONGROOM",
        "roles": {RADIOLOGIST: "radiologist"},
    }
    return SamlConfig(**(values | changes))  # type: ignore[arg-type]


class Desk:
    """A provider with its stores, at a time that a test moves."""

    def __init__(self, *users, presented=None, **changes):
        self.now = moment()
        self.users = MemoryUsers(*users)
        self.presented = presented or PresentedInMemory(clock=lambda: self.now)
        self.provider = Saml(config(**changes), self.users, self.presented, lambda: self.now)
        self.node = node_identity()

    def verify(self, data: bytes, node=None) -> Vouched:
        return self.provider.verify(SamlAssertion(Secret(data)), node or self.node)


def good(subject: str = "alice", wishes: Wishes = GOOD, *, response: bool = False) -> bytes:
    """What is accepted."""
    return issuer().assertion(subject, wishes, response=response, now=moment())


def unsigned(subject: str = "alice", wishes: Wishes = GOOD) -> bytes:
    """A document for `handmade`, or for an issuer that signs what it should not."""
    return issuer().unsigned(subject, wishes, now=moment())


def changed(old: str, new: str, *, wishes: Wishes = GOOD, count: int = 1) -> bytes:
    """An assertion that was changed *before* it was signed: the issuer really says so."""
    document = unsigned(wishes=wishes)
    assert old.encode() in document
    return handmade(document.replace(old.encode(), new.encode(), count))


def at(offset: timedelta) -> str:
    """A time as it stands in the documents."""
    return (moment() + offset).strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass(frozen=True)
class Form:
    """What a signature looks like."""

    method: str = RSA_SHA256
    digest: str = SHA256
    canonicalization: str = EXCLUSIVE
    transforms: tuple[str, ...] = (ENVELOPED, EXCLUSIVE)
    uri: str | None = None
    """None: the signed element."""
    references: int = 1
    key_info: str = ""
    method_inside: str = ""
    transform_inside: str = ""
    secret: bytes = b""
    """For HMAC."""


_HASHES = {"sha1": hashes.SHA1, "md5": hashes.MD5, "sha256": hashes.SHA256, "sha512": hashes.SHA512}


def handmade(document: bytes, form: Form = Form(), by: Callable[[], SamlIssuer] = issuer) -> bytes:
    """The document signed as ``form`` says, with a digest and a signature value that are right for it."""
    with_comments = form.canonicalization.endswith("WithComments")
    root = etree.fromstring(document, etree.XMLParser(resolve_entities=False, strip_cdata=False))
    payload = etree.tostring(root, method="c14n", exclusive=True, with_comments=with_comments)
    uri = form.uri if form.uri is not None else f"#{root.get('ID')}"
    inside = {EXCLUSIVE: form.transform_inside}
    transforms = "".join(
        f'<ds:Transform Algorithm="{transform}">{inside.get(transform, "")}</ds:Transform>'
        for transform in form.transforms
    )
    digest = base64.b64encode(hashlib.new(_hash_name(form.digest), payload).digest()).decode()
    reference = (
        f'<ds:Reference URI="{uri}"><ds:Transforms>{transforms}</ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{form.digest}"/><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>'
    )
    signed_info = (
        f'<ds:SignedInfo xmlns:ds="{DSIG}"><ds:CanonicalizationMethod Algorithm="{form.canonicalization}"/>'
        f'<ds:SignatureMethod Algorithm="{form.method}">{form.method_inside}</ds:SignatureMethod>'
        f"{reference * form.references}</ds:SignedInfo>"
    )
    canonical = etree.tostring(etree.fromstring(signed_info), method="c14n", exclusive=True)
    value = base64.b64encode(_signature(canonical, form, by())).decode()
    signature = (
        f'<ds:Signature xmlns:ds="{DSIG}">{signed_info}<ds:SignatureValue>{value}</ds:SignatureValue>'
        f"{form.key_info}</ds:Signature>"
    )
    head, issuer_end, rest = document.partition(b"</saml:Issuer>")
    return head + issuer_end + signature.encode() + rest


def _hash_name(algorithm: str) -> str:
    return algorithm.rpartition("#")[2].rpartition("-")[2]


def _signature(data: bytes, form: Form, by: SamlIssuer) -> bytes:
    if "hmac" in form.method:
        return hmac.digest(form.secret, data, _hash_name(form.method))
    key = load_pem_private_key(by.key_file.read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.sign(data, padding.PKCS1v15(), _HASHES[_hash_name(form.method)]())


def key_info(of: SamlIssuer) -> str:
    """A KeyInfo that offers a certificate."""
    der = base64.b64encode(of.certificate.public_bytes(Encoding.DER)).decode()
    return f"<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>"
