"""The throw-away issuer, as another library sees it: joserfc reads its tokens with the keys that it serves."""

import json
import ssl
import urllib.request

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from archive.lab.jwt_issuer import NAME, JwtIssuer

KINDS = ("ES256", "RS256", "PS384", "ES512", "EdDSA")


@pytest.fixture(scope="module")
def issuer(tmp_path_factory):
    return JwtIssuer(tmp_path_factory.mktemp("issuer"), audience="urn:dicom:ae:STRONGROOM", algorithms=KINDS)


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize("kind", KINDS)
def test_its_tokens_are_read_by_another_library(issuer, kind):
    keys = KeySet.import_key_set(json.loads(issuer.jwks_file.read_text()))
    read = jwt.decode(issuer.token("anna", algorithm=kind, roles=["r"]), keys, algorithms=[kind])
    assert read.header["alg"] == kind
    assert read.claims | {"iss": NAME, "sub": "anna", "aud": "urn:dicom:ae:STRONGROOM", "roles": ["r"]} == read.claims
    assert read.claims["exp"] - read.claims["iat"] == 300


def test_claims_and_header_are_the_askers_to_choose(issuer):
    keys = KeySet.import_key_set(issuer.jwks())
    read = jwt.decode(issuer.token("anna", jti=None, exp=7, header={"typ": "at+jwt"}), keys, algorithms=["ES256"])
    assert read.claims["exp"] == 7
    assert "jti" not in read.claims
    assert read.header["typ"] == "at+jwt"


def test_what_it_publishes_is_public(issuer):
    assert all({"d", "p", "q", "k"}.isdisjoint(key) for key in issuer.jwks()["keys"])


def test_rotation_leaves_former_tokens_without_a_key(tmp_path):
    issuer = JwtIssuer(tmp_path / "new", audience="x")
    former = issuer.token("anna")
    issuer.rotate()
    keys = KeySet.import_key_set(json.loads(issuer.jwks_file.read_text()))
    with pytest.raises((JoseError, ValueError)):
        jwt.decode(former, keys, algorithms=["ES256"])


def test_it_serves_its_description_and_keys_to_those_who_trust_its_ca(tmp_path):
    issuer = JwtIssuer(tmp_path, audience="x", name="https://issuer.example")
    issuer.start()
    try:
        context = ssl.create_default_context(cafile=issuer.ca)
        with urllib.request.urlopen(issuer.discovery, context=context, timeout=10) as answer:
            description = json.load(answer)
        assert description["issuer"] == "https://issuer.example"
        with urllib.request.urlopen(description["jwks_uri"], context=context, timeout=10) as answer:
            assert json.load(answer) == issuer.jwks()
    finally:
        issuer.stop()
    issuer.stop()
    with pytest.raises(RuntimeError, match="does not serve"):
        _ = issuer.discovery
