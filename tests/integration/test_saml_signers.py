"""Assertions that other software signed: xmlsec1 on the command line, and pysaml2 as an identity provider."""

import shutil
import subprocess
import warnings
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from auth.errors import AuthenticationFailed
from auth.identity.saml import IssuerKeys
from tests.simulators.certificates import make
from tests.simulators.saml_documents import (
    AUDIENCE,
    DSIG,
    ENVELOPED,
    EXCLUSIVE,
    MORE,
    RSA_SHA256,
    SHA1,
    SHA256,
    Desk,
    good,
    issuer,
    unsigned,
)

RECIPIENT = "urn:dicom:ae:STRONGROOM"
OUR_METADATA = (
    f'<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{AUDIENCE}">'
    '<md:SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">'
    '<md:AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" index="0"'
    f' Location="{RECIPIENT}"/></md:SPSSODescriptor></md:EntityDescriptor>'
)
NAMES = ("urn:oasis:names:tc:SAML:2.0:assertion:Assertion", "urn:oasis:names:tc:SAML:2.0:protocol:Response")


def template(document, method=RSA_SHA256, digest=SHA256, prefixes=""):
    """The document with an empty signature for xmlsec1 to fill in."""
    identifier = document.partition(b' ID="')[2].partition(b'"')[0].decode()
    inclusive = f'<ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE}" PrefixList="{prefixes}"/>' if prefixes else ""
    empty = (
        f'<ds:Signature xmlns:ds="{DSIG}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"/>'
        f'<ds:SignatureMethod Algorithm="{method}"/><ds:Reference URI="#{identifier}"><ds:Transforms>'
        f'<ds:Transform Algorithm="{ENVELOPED}"/><ds:Transform Algorithm="{EXCLUSIVE}">{inclusive}</ds:Transform>'
        f'</ds:Transforms><ds:DigestMethod Algorithm="{digest}"/><ds:DigestValue/></ds:Reference></ds:SignedInfo>'
        "<ds:SignatureValue/><ds:KeyInfo><ds:X509Data/></ds:KeyInfo></ds:Signature>"
    )
    return document.replace(b"</saml:Issuer>", b"</saml:Issuer>" + empty.encode(), 1)


@pytest.fixture
def xmlsec1(tmp_path):
    """Sign a template with a key and certificate, as xmlsec1 does."""
    program = shutil.which("xmlsec1") or pytest.skip("xmlsec1 absent: Debian package xmlsec1")

    def sign(document, key=None, certificate=None):
        keys = f"{key or issuer().key_file},{certificate or issuer().certificate_file}"
        unsigned_file, signed_file = tmp_path / "unsigned.xml", tmp_path / "signed.xml"
        unsigned_file.write_bytes(document)
        identifiers = [word for name in NAMES for word in ("--id-attr:ID", name)]
        output = ["--output", str(signed_file), str(unsigned_file)]
        command = [program, "--sign", "--privkey-pem", keys, *identifiers, *output]
        subprocess.run(command, check=True, capture_output=True)
        return signed_file.read_bytes()

    return sign


@pytest.mark.parametrize("size", [256, 384, 512])
def test_assertion_signed_by_xmlsec1_is_accepted(xmlsec1, size):
    digest = {256: SHA256, 384: f"{MORE}sha384", 512: "http://www.w3.org/2001/04/xmlenc#sha512"}[size]
    data = xmlsec1(template(unsigned(), f"{MORE}rsa-sha{size}", digest))
    person = Desk().verify(data).principal
    assert (person.name, person.roles) == ("alice@hospital", {"radiologist"})
    with pytest.raises(AuthenticationFailed, match="what was signed has been changed"):
        Desk().verify(data.replace(b">alice<", b">mallory<"))


@pytest.mark.parametrize(("curve", "size"), [(ec.SECP256R1, 256), (ec.SECP384R1, 384), (ec.SECP521R1, 512)])
def test_assertion_signed_by_xmlsec1_with_an_elliptic_curve_is_accepted(xmlsec1, tmp_path, curve, size):
    idp = make("idp", key=ec.generate_private_key(curve()))
    certificate, key = idp.write(tmp_path, "idp")
    data = xmlsec1(template(unsigned(), f"{MORE}ecdsa-sha{size}"), key, certificate)
    keys = IssuerKeys((issuer().certificate, idp.certificate))
    assert Desk(keys=keys).verify(data).principal.name == "alice@hospital"
    with pytest.raises(AuthenticationFailed, match="not by a key of the issuer"):
        Desk().verify(data)


def test_response_signed_by_xmlsec1_covers_its_assertion(xmlsec1):
    data = xmlsec1(template(issuer().in_response(unsigned())))
    assert Desk().verify(data).principal.name == "alice@hospital"
    with pytest.raises(AuthenticationFailed, match="what was signed has been changed"):
        Desk().verify(data.replace(b">alice<", b">mallory<"))


def test_prefixes_that_xmlsec1_was_told_to_keep_are_kept(xmlsec1):
    """Shibboleth and others list ``xs``, which is used in values of xsi:type only."""
    document = unsigned().replace(b"<saml:Assertion ", b'<saml:Assertion xmlns:xs="http://www.w3.org/2001/XMLSchema" ')
    signed = xmlsec1(template(document, prefixes="xs saml")).partition(b"?>")[2]
    assert Desk().verify(signed).principal.name == "alice@hospital"
    assert Desk().verify(issuer().in_response(signed)).principal.name == "alice@hospital"


@pytest.mark.parametrize(
    ("method", "digest", "reason"),
    [
        (f"{DSIG}rsa-sha1", SHA256, "the signature method is not taken"),
        (RSA_SHA256, SHA1, "the digest method is not taken"),
    ],
)
def test_sha_1_by_xmlsec1_is_refused(xmlsec1, method, digest, reason):
    with pytest.raises(AuthenticationFailed, match=reason):
        Desk().verify(xmlsec1(template(unsigned(), method, digest)))


def test_xmlsec1_verifies_what_the_lab_issuer_signs(tmp_path):
    program = shutil.which("xmlsec1") or pytest.skip("xmlsec1 absent: Debian package xmlsec1")
    (tmp_path / "a.xml").write_bytes(good())
    command = [program, "--verify", "--pubkey-cert-pem", str(issuer().certificate_file), "--id-attr:ID", NAMES[0]]
    subprocess.run([*command, str(tmp_path / "a.xml")], check=True, capture_output=True)


@pytest.fixture(scope="module")
def pysaml2():
    """An identity provider of pysaml2 with the issuer's key; it runs xmlsec1."""
    program = shutil.which("xmlsec1") or pytest.skip("xmlsec1 absent: Debian package xmlsec1")
    pytest.importorskip("saml2", reason="pysaml2 absent: PyPI package pysaml2")
    settings = {
        "entityid": issuer().issuer,
        "xmlsec_binary": program,
        "key_file": str(issuer().key_file),
        "cert_file": str(issuer().certificate_file),
        "metadata": {"inline": [OUR_METADATA]},
        "service": {
            "idp": {
                "endpoints": {"single_sign_on_service": []},
                "policy": {"default": {"lifetime": {"minutes": 5}}},
            }
        },
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it imports
        from saml2.config import IdPConfig
        from saml2.server import Server

        yield Server(config=IdPConfig().load(settings))


def respond(server, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from saml2.saml import NAMEID_FORMAT_PERSISTENT, NameID
        from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256

        return str(
            server.create_authn_response(
                {"displayName": ["Alice Ärztin"]},
                in_response_to=None,
                destination=RECIPIENT,
                sp_entity_id=AUDIENCE,
                name_id=NameID(format=NAMEID_FORMAT_PERSISTENT, text="alice"),
                authn={"class_ref": "urn:oasis:names:tc:SAML:2.0:ac:classes:Password", "authn_auth": "idp"},
                sign_alg=SIG_RSA_SHA256,
                digest_alg=DIGEST_SHA256,
                **how,
            )
        ).encode()


@pytest.mark.parametrize(
    "how",
    [
        {"sign_assertion": True, "sign_response": False},
        {"sign_assertion": False, "sign_response": True},
        {"sign_assertion": True, "sign_response": True},
    ],
    ids=["assertion", "response", "both"],
)
def test_response_of_pysaml2_is_accepted_whatever_of_it_is_signed(pysaml2, how):
    data = respond(pysaml2, **how)
    desk = Desk(attributes={"urn:oid:2.16.840.1.113730.3.1.241": "display_name"})
    desk.now = datetime.now(UTC)  # pysaml2 dates by the clock
    person = desk.verify(data).principal
    assert (person.name, person.attributes["display_name"]) == ("alice@hospital", "Alice Ärztin")
    with pytest.raises(AuthenticationFailed, match="what was signed has been changed"):
        desk.verify(data.replace(b">alice<", b">mallory<"))


def test_response_of_pysaml2_that_nobody_signed_is_refused(pysaml2):
    with pytest.raises(AuthenticationFailed, match="the assertion is not signed"):
        Desk().verify(respond(pysaml2, sign_assertion=False, sign_response=False))
