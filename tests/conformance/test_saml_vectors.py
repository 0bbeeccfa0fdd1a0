"""Assertions, responses and metadata that other projects test themselves with: what becomes of each here, and why.

Most were made when SHA-1 and 1024 bits were usual; they are refused for that before their point is reached. What the
unsigned ones aim at is shown by asking `statement` about them as if they had been signed; the rest of what the others
aim at is reached by assertions of our own in `tests/attack/test_saml_attacks.py`.
"""

import base64
import warnings
from datetime import timedelta

import pytest
from cryptography import x509
from lxml import etree

from auth.errors import AuthenticationFailed, ProviderMisconfigured
from auth.identity.chain import NOT_MINE
from auth.identity.saml import IssuerKeys
from auth.identity.saml.attributes import ORGANIZATION, PURPOSE_OF_USE, ROLE, SUBJECT_ID, Value, read
from auth.identity.saml.document import issuer_of, received
from auth.identity.saml.markup import instant
from auth.identity.saml.statement import Demands, examined
from tests.simulators.saml_documents import DSIG, Desk
from tests.simulators.shared_material import shared

SAML = "{urn:oasis:names:tc:SAML:2.0:assertion}"
RESPONSES = "saml-python3-saml/tests/data/responses"
METADATA = "saml-python3-saml/tests/data/metadata"

OTHER_ISSUER = "the response is by another issuer"
"""The response and its assertion name two issuers."""
SHA_1 = "the signature method is not taken"
"""rsa-sha1, or HMAC in the two files that say so."""
OTHER = "neither a SAML 2.0 assertion nor a SAML 2.0 response"
"""An attribute statement alone, SAML 1, a SOAP or another envelope."""
COMMENT = "a comment is inside"
UNSIGNED = "the assertion is not signed"
SEVERAL = "more than one assertion is inside"
"""Wrapped ones; and NHIN's, which carry another assertion as evidence of an authorization decision."""
STRANGER = "the signature is not by a key of the issuer"
"""See `test_response_of_adfs_is_refused_under_its_own_key_too`."""
ENCRYPTED = "a part is encrypted"
FAILED = "the response does not say Success"
NO_ISSUER = "the assertion names no issuer"
NO_METHOD = "the signature has parts that are not taken"
"""No signature method is named."""
NOT_XML = "not well-formed XML"
"""Base64 under the name of XML, or a prefix that nothing declares."""
NO_REFERENCE = "the signature refers to something else"
"""The reference has no URI, or an empty one."""
MISPLACED = "a signature is not where it belongs"

OUTCOMES = {
    OTHER_ISSUER: [
        "saml-pysaml2/tests/attribute_response.xml",
        "saml-python3-saml/tests/data/responses/invalids/invalid_issuer_assertion.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/invalid_issuer_message.xml.base64",
        "saml-python3-saml/tests/data/responses/response5.xml.base64",
    ],
    SHA_1: [
        "saml-pysaml2/tests/eidas_response.xml",
        "saml-pysaml2/tests/saml2_response.xml",
        "saml-pysaml2/tests/saml_false_signed.xml",
        "saml-pysaml2/tests/saml_signed.xml",
        "saml-pysaml2/tests/simplesamlphp_authnresponse.xml",
        "saml-pysaml2/tests/xmlsec1-keydata/signed-assertion-random-embedded-cert.xml",
        "saml-pysaml2/tests/xmlsec1-keydata/signed-assertion-with-hmac.xml",
        "saml-pysaml2/tests/xmlsec1-keydata/signed-response-with-hmac.xml",
        "saml-python3-saml/tests/data/responses/double_signed_response.xml.base64",
        "saml-python3-saml/tests/data/responses/double_signed_response2.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/bad_reference.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/duplicated_attributes.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/empty_destination.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/empty_nameid.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/no_authnstatement.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/no_conditions.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/no_issuer_response.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/signed_assertion_response.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/wrong_spnamequalifier.xml.base64",
        "saml-python3-saml/tests/data/responses/open_saml_response.xml",
        "saml-python3-saml/tests/data/responses/pretty_signed_message_response.xml",
        "saml-python3-saml/tests/data/responses/response1.xml.base64",
        "saml-python3-saml/tests/data/responses/response1_with_duplicate_attributes.xml.base64",
        "saml-python3-saml/tests/data/responses/response1_with_friendlyname.xml.base64",
        "saml-python3-saml/tests/data/responses/response2.xml.base64",
        "saml-python3-saml/tests/data/responses/response3.xml.base64",
        "saml-python3-saml/tests/data/responses/response_with_nested_nameid_values.xml.base64",
        "saml-python3-saml/tests/data/responses/signed_assertion_response.xml.base64",
        "saml-python3-saml/tests/data/responses/signed_assertion_response2.xml.base64",
        "saml-python3-saml/tests/data/responses/signed_message_response.xml.base64",
        "saml-python3-saml/tests/data/responses/simple_saml_php.xml",
        "saml-python3-saml/tests/data/responses/valid_response.xml.base64",
        "saml-python3-saml/tests/data/responses/valid_response2.xml.base64",
        "saml-python3-saml/tests/data/responses/valid_response_with_namequalifier.xml.base64",
        "saml-python3-saml/tests/data/responses/valid_response_without_inresponseto.xml.base64",
    ],
    OTHER: [
        "saml-pysaml2/tests/encrypted_attribute_statement.xml",
        "saml-pysaml2/tests/okta_response.xml",
        "saml-python3-saml/tests/data/responses/invalids/no_saml2.xml.base64",
        "saml-xspa-connect/saml_header_diff_order.xml",
    ],
    COMMENT: [
        "saml-pysaml2/tests/saml_hok.xml",
        "saml-pysaml2/tests/saml_hok_invalid.xml",
        "saml-python3-saml/tests/data/responses/response_node_text_attack.xml.base64",
    ],
    UNSIGNED: [
        "saml-pysaml2/tests/saml_unsigned.xml",
        "saml-python3-saml/tests/data/responses/decrypted_valid_encrypted_assertion.xml",
        "saml-python3-saml/tests/data/responses/expired_response.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/invalid_audience.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/invalid_sessionindex.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/invalid_subjectconfirmation_inresponse.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/invalid_subjectconfirmation_nb.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/invalid_subjectconfirmation_noa.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/invalid_subjectconfirmation_recipient.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/no_nameid.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/no_signature.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/no_subjectconfirmation_data.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/no_subjectconfirmation_method.xml.base64",
        "saml-python3-saml/tests/data/responses/no_audience.xml.base64",
        "saml-python3-saml/tests/data/responses/pretty_decrypted_valid_encrypted_assertion.xml",
        "saml-python3-saml/tests/data/responses/unsigned_response.xml.base64",
        "saml-python3-saml/tests/data/responses/unsigned_response_with_miliseconds.xm.base64",
        "saml-python3-saml/tests/data/responses/valid_unsigned_response.xml.base64",
    ],
    SEVERAL: [
        "saml-pysaml2/tests/xsw/signed-xsw-response-in-response-first-sig.xml",
        "saml-python3-saml/tests/data/responses/invalids/multiple_assertions.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/signature_wrapping_attack.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/signature_wrapping_attack2.xml.base64",
        "saml-python3-saml/tests/data/responses/response4.xml.base64",
        "saml-python3-saml/tests/data/responses/response_with_ampersands.xml.base64",
        "saml-xspa-connect/authFrameworkAssertion.xml",
        "saml-xspa-connect/complete_saml.xml",
        "saml-xspa-connect/saml_missingValues.xml",
    ],
    STRANGER: [
        "saml-python3-saml/tests/data/responses/adfs_response.xml.base64",
    ],
    ENCRYPTED: [
        "saml-python3-saml/tests/data/responses/double_signed_encrypted_assertion.xml.base64",
        "saml-python3-saml/tests/data/responses/double_signed_encrypted_assertion2.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/encrypted_attrs.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/encrypted_nameID_without_EncMethod.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/encrypted_nameID_without_keyinfo.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/response_encrypted_attrs.xml.base64",
        "saml-python3-saml/tests/data/responses/response_encrypted_nameid.xml.base64",
        "saml-python3-saml/tests/data/responses/signed_encrypted_assertion.xml.base64",
        "saml-python3-saml/tests/data/responses/signed_encrypted_assertion2.xml.base64",
        "saml-python3-saml/tests/data/responses/signed_message_encrypted_assertion.xml.base64",
        "saml-python3-saml/tests/data/responses/signed_message_encrypted_assertion2.xml.base64",
        "saml-python3-saml/tests/data/responses/signed_message_response2.xml.base64",
        "saml-python3-saml/tests/data/responses/valid_encrypted_assertion.xml.base64",
        "saml-python3-saml/tests/data/responses/valid_encrypted_assertion_encrypted_nameid.xml.base64",
    ],
    FAILED: [
        "saml-python3-saml/tests/data/responses/invalids/no_id.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/no_status.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/no_status_code.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/not_after_failed.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/not_before_failed.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/status_code_responder.xml.base64",
        "saml-python3-saml/tests/data/responses/invalids/status_code_responer_and_msg.xml.base64",
    ],
    NO_ISSUER: [
        "saml-python3-saml/tests/data/responses/invalids/no_issuer_assertion.xml.base64",
    ],
    NO_METHOD: [
        "saml-python3-saml/tests/data/responses/invalids/no_key.xml.base64",
    ],
    NOT_XML: [
        "saml-python3-saml/tests/data/responses/response_with_ampersands.xml",
        "saml-python3-saml/tests/data/responses/unsigned_assertion.xml.base64",
        "saml-python3-saml/tests/data/responses/valid_unsigned_response.xml",
    ],
    NO_REFERENCE: [
        "saml-python3-saml/tests/data/responses/response_without_assertion_reference_uri.xml.base64",
        "saml-python3-saml/tests/data/responses/response_without_reference_uri.xml.base64",
    ],
    MISPLACED: [
        "saml-python3-saml/tests/data/responses/wrapped_response_2.xml.base64",
    ],
}


def text(name):
    """A file as it would be sent."""
    data = shared("vectors", *name.split("/")).read_bytes()
    return base64.b64decode(data) if name.endswith(".base64") else data


def desk_for(data, **changes):
    """A desk whose issuer is the one that the document names."""
    root = etree.fromstring(data, etree.XMLParser(recover=True, resolve_entities=False))
    named = None if root is None else root.findtext(f".//{SAML}Assertion/{SAML}Issuer")
    return Desk(issuer=named or "somebody", recipient="", **changes)


@pytest.mark.parametrize(
    ("name", "reason"),
    [pytest.param(name, reason, id=name) for reason, names in OUTCOMES.items() for name in names],
)
def test_document_of_another_project_is_refused(name, reason):
    data = text(name)
    with pytest.raises(AuthenticationFailed) as caught:
        desk_for(data).verify(data)
    assert caught.value.reason == reason


def test_every_document_of_the_other_projects_is_in_the_table():
    listed = {name for names in OUTCOMES.values() for name in names}
    root = shared("vectors")
    for folder in ("saml-pysaml2", "saml-python3-saml", "saml-xspa-connect"):
        files = {path for path in shared("vectors", folder).rglob("*") if path.is_file()}
        names = {str(path.relative_to(root)) for path in files if not {"metadata", "certs"} & set(path.parts)}
        assert names <= listed


def test_no_document_of_another_project_is_anybodys_here():
    for names in OUTCOMES.values():
        for name in names:
            try:
                assert Desk().verify(text(name)) is NOT_MINE
            except AuthenticationFailed:
                continue


def test_response_of_adfs_is_refused_under_its_own_key_too():
    """The one document with SHA-256 and 2048 bits was reformatted and its names replaced, after it was signed."""
    data = text(f"{RESPONSES}/adfs_response.xml.base64")
    kept = etree.fromstring(data).findtext(f".//{{{DSIG}}}X509Certificate")
    certificate = x509.load_der_x509_certificate(base64.b64decode(kept))
    desk = desk_for(data, keys=IssuerKeys((certificate,)), audience="example.com")
    desk.now = instant("2011-06-22T12:50:00Z")
    with pytest.raises(AuthenticationFailed, match="the signature is not by a key of the issuer"):
        desk.verify(data)


STUFF = ("http://stuff.com/endpoints/metadata.php", "http://stuff.com/endpoints/endpoints/acs.php")
PITBULK = tuple(f"https://pitbulk.no-ip.org/newonelogin/demo1/{page}" for page in ("metadata.php", "index.php?acs"))
AT_PITBULK = {"invalids/empty_nameid.xml.base64", "invalids/no_authnstatement.xml.base64"}
STATEMENTS = {
    "unsigned_response.xml.base64": None,
    "unsigned_response_with_miliseconds.xm.base64": None,
    "no_audience.xml.base64": "the assertion is not restricted to an audience",
    "invalids/invalid_audience.xml.base64": "the assertion is for another audience",
    "invalids/no_conditions.xml.base64": "the assertion has no conditions, or several",
    "invalids/no_nameid.xml.base64": "the subject has not one NameID",
    "invalids/empty_nameid.xml.base64": "the NameID is empty, or not text",
    "invalids/no_authnstatement.xml.base64": "the assertion states no authentication",
    "invalids/invalid_sessionindex.xml.base64": "the session has ended",
    "invalids/invalid_subjectconfirmation_nb.xml.base64": "the confirmation is not yet valid",
    "invalids/invalid_subjectconfirmation_noa.xml.base64": "the confirmation has expired",
    "invalids/invalid_subjectconfirmation_recipient.xml.base64": "the confirmation is for another recipient",
    "invalids/no_subjectconfirmation_data.xml.base64": "the confirmation is for another recipient",
    "invalids/no_subjectconfirmation_method.xml.base64": "the subject is not confirmed by bearer",
}


@pytest.mark.parametrize(("name", "reason"), STATEMENTS.items())
def test_statement_of_another_project_is_judged_as_if_it_had_been_signed(name, reason):
    assertion = received(text(f"{RESPONSES}/{name}")).assertion
    for signature in assertion.findall(f"{{{DSIG}}}Signature"):
        assertion.remove(signature)
    audience, recipient = PITBULK if name in AT_PITBULK else STUFF
    demands = Demands(
        issuer=issuer_of(assertion),
        audience=audience,
        recipient=recipient,
        skew=timedelta(minutes=1),
        longest=timedelta(days=365_000),
        moment=instant(assertion.get("IssueInstant")) + timedelta(days=800),
    )
    if reason is None:
        assert examined(assertion, demands).name_id == "someone@example.com"
        return
    with pytest.raises(AuthenticationFailed) as caught:
        examined(assertion, demands)
    assert caught.value.reason == reason


def test_attributes_of_nhin_are_read_as_xua_has_them():
    root = etree.fromstring(text("saml-xspa-connect/complete_saml.xml"))
    found = read(root, frozenset({SUBJECT_ID, ORGANIZATION, PURPOSE_OF_USE, ROLE}))
    assert found == {
        SUBJECT_ID: (Value("Interop IT Testcase"),),
        ORGANIZATION: (Value("2.16.840.1.113883.3.424"),),
        ROLE: (Value("46255001", "2.16.840.1.113883.6.96"),),
        PURPOSE_OF_USE: (Value("OPERATIONS", "2.16.840.1.113883.3.18.7.1"),),
    }


ONE_LOGIN = "https://app.onelogin.com/saml/metadata/383123"
WEAK = "an issuer's key is"
NO_IDP = "the issuer has no certificate"


@pytest.mark.parametrize(
    ("name", "issuer", "outcome"),
    [
        ("idp_metadata.xml", ONE_LOGIN, 1),
        ("idp_metadata2.xml", "urn:example:idp", 1),
        ("idp_metadata_different_sign_and_encrypt_cert.xml", ONE_LOGIN, 1),
        ("idp_metadata_same_sign_and_encrypt_cert.xml", ONE_LOGIN, 1),
        ("testshib-providers.xml", "https://idp.testshib.org/idp/shibboleth", 2),
        ("testshib-providers.xml", "https://sp.testshib.org/shibboleth-sp", NO_IDP),
        ("idp_metadata_multi_certs.xml", "https://idp.examle.com/saml/metadata", WEAK),
        ("idp_metadata_multi_signing_certs.xml", "https://idp.examle.com/saml/metadata", WEAK),
        ("idp_multiple_descriptors.xml", "https://foo.example.com/access/saml/idp.xml", "cannot be read"),
        ("expired_metadata_settings1.xml", "http://stuff.com/endpoints/metadata.php", NO_IDP),
        ("metadata_settings1.xml", "http://stuff.com/endpoints/metadata.php", NO_IDP),
        ("signed_metadata_settings2.xml", "http://pytoolkit.com:8000/metadata/", NO_IDP),
        ("noentity_metadata_settings1.xml", "http://stuff.com/endpoints/metadata.php", "exactly once"),
        ("unparsed_metadata.xml", "http://stuff.com/endpoints/metadata.php", "is not XML"),
    ],
)
def test_metadata_of_another_project_gives_its_signing_keys_or_is_refused(name, issuer, outcome):
    data = text(f"{METADATA}/{name}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of serial numbers that are not positive, in certificates of that time
        if isinstance(outcome, int):
            assert len(IssuerKeys.from_metadata(data, issuer).certificates) == outcome
            return
        with pytest.raises(ProviderMisconfigured, match=outcome):
            IssuerKeys.from_metadata(data, issuer)
