"""D16: forged, wrapped, stretched and stolen SAML assertions. None is accepted, each for what is wrong with it."""

import base64
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from archive.records.presented import PresentedRecords
from auth.errors import AuthenticationFailed, TokenReplayed
from auth.identity.chain import NOT_MINE
from auth.identity.saml.document import SUCCESS
from storage.index.engine import IndexEngine
from tests.simulators.records import node_identity
from tests.simulators.saml_documents import (
    AUDIENCE,
    DSIG,
    ENVELOPED,
    EXCLUSIVE,
    GOOD,
    MORE,
    RSA_SHA256,
    SHA1,
    Desk,
    Form,
    at,
    changed,
    good,
    handmade,
    issuer,
    key_info,
    moment,
    stranger,
    unsigned,
)

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def refused(data, reason, desk=None, node=None):
    with pytest.raises(AuthenticationFailed) as caught:
        (desk or Desk()).verify(data, node)
    assert caught.value.reason == reason
    assert not caught.value.claimed or caught.value.claimed == "alice@hospital"


def test_the_untouched_assertion_is_accepted_so_that_the_others_are_refused_for_what_is_wrong_with_them():
    for data in (
        good(),
        good(response=True),
        handmade(unsigned()),
        handmade(issuer().in_response(unsigned())),
        handmade(issuer().in_response(good())),
    ):
        assert Desk().verify(data).principal.name == "alice@hospital"


# What is refused before anything is verified.


def nested(depth):
    inside = "<a>" * depth + "</a>" * depth
    return unsigned().replace(b"</saml:Assertion>", inside.encode() + b"</saml:Assertion>")


def bomb():
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    return f'<!DOCTYPE l [<!ENTITY a0 "lol">{entities}]><l>&a9;</l>'.encode()


def xxe(encoding):
    head = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    return (head + good().decode().replace(">alice<", ">&x;<")).encode(encoding)


def utf_7():
    """A document type that only a reader of UTF-7 sees."""
    return b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE a+AD4-' + good()


def injected(old, new):
    """The signed bytes, changed afterwards."""
    data = good()
    assert old in data
    return data.replace(old, new, 1)


ID = b' ID="'
HOLE = b"</saml:Assertion>"
UNREADABLE = [
    ("nothing", lambda: b"", "larger than a User Identity item can be"),
    ("too-long", lambda: good() + b" " * 65_529, "larger than a User Identity item can be"),
    ("not-xml", lambda: b"alice", "not well-formed XML"),
    ("65529-bytes-of-nothing", lambda: b"<" * 65_529, "not well-formed XML"),
    ("random-bytes", lambda: bytes(range(256)), "not XML in UTF-8"),
    ("truncated-by-a-byte", lambda: good()[:-1], "not well-formed XML"),
    ("truncated-in-the-middle", lambda: good()[:1500], "not well-formed XML"),
    ("two-documents", lambda: good() + good(), "not well-formed XML"),
    ("nul-at-the-end", lambda: good() + b"\0", "not XML in UTF-8"),
    ("base64", lambda: base64.b64encode(good()), "not well-formed XML"),
    ("xxe-utf-8", lambda: xxe("utf-8"), "a document type is declared"),
    ("xxe-utf-16", lambda: xxe("utf-16"), "not XML in UTF-8"),
    ("xxe-utf-16-without-a-mark", lambda: xxe("utf-16-le"), "not XML in UTF-8"),
    ("xxe-utf-7", utf_7, "not XML in UTF-8"),
    ("utf-8-that-says-utf-16", lambda: b'<?xml version="1.0" encoding="UTF-16"?>' + good(), "not XML in UTF-8"),
    ("latin-1", lambda: good().decode().encode("latin-1"), "not XML in UTF-8"),
    ("xml-1.1", lambda: b'<?xml version="1.1"?>' + good(), "a processing instruction is inside"),
    ("empty-document-type", lambda: b"<!DOCTYPE a>" + good(), "a document type is declared"),
    ("entity-bomb", bomb, "a document type is declared"),
    ("undeclared-entity", lambda: injected(b">alice<", b">&alice;<"), "not well-formed XML"),
    ("comment-in-the-name", lambda: injected(b">alice<", b">ali<!---->ce<"), "a comment is inside"),
    (
        "comment-signed",
        lambda: handmade(unsigned("mallory").replace(b">mallory<", b">alice<!---->.mallory<")),
        "a comment is inside",
    ),
    (
        "cdata-in-the-name",
        lambda: injected(b">alice<", b"><![CDATA[alice]]><"),
        "a CDATA section or declaration is inside",
    ),
    ("processing-instruction", lambda: injected(b">alice<", b">ali<?x y?>ce<"), "a processing instruction is inside"),
    ("processing-instruction-before", lambda: b"<?x y?>" + good(), "a processing instruction is inside"),
    ("deep", lambda: nested(40), "elements are nested more than 32 deep"),
    ("very-deep", lambda: nested(8000), "not well-formed XML"),
    ("many-elements", lambda: injected(HOLE, b"<a/>" * 2000 + HOLE), "more than 1024 elements"),
    (
        "many-attributes",
        lambda: injected(b"<saml:Subject>", b"<saml:Subject %s>" % b" ".join(b'a%d=""' % n for n in range(99))),
        "an element has more than 32 attributes",
    ),
    (
        "huge-attribute",
        lambda: injected(b"<saml:Subject>", b'<saml:Subject a="%s">' % (b"a" * 20_000)),
        "a text is longer than 16384 characters",
    ),
    ("huge-text", lambda: injected(b">alice<", b">%s<" % (b"a" * 20_000)), "a text is longer than 16384 characters"),
    (
        "huge-namespace",
        lambda: injected(HOLE, b'<p:a xmlns:p="%s"/>' % (b"u" * 4000) + HOLE),
        "a name is longer than 256 characters",
    ),
    ("another-root", lambda: b"<a>" + good() + b"</a>", "neither a SAML 2.0 assertion nor a SAML 2.0 response"),
    (
        "saml-1.1",
        lambda: good().replace(b"SAML:2.0:assertion", b"SAML:1.0:assertion"),
        "neither a SAML 2.0 assertion nor a SAML 2.0 response",
    ),
    ("response-without-assertion", lambda: issuer().in_response(b""), "no assertion is inside"),
    ("two-assertions", lambda: issuer().in_response(good() + good()), "more than one assertion is inside"),
    (
        "two-assertions-in-a-signed-response",
        lambda: handmade(issuer().in_response(unsigned() + unsigned("mallory"))),
        "more than one assertion is inside",
    ),
    (
        "response-in-a-response",
        lambda: issuer().in_response(good(response=True)),
        "the assertion is not where it belongs",
    ),
    (
        "encrypted-assertion",
        lambda: issuer().in_response(b"<saml:EncryptedAssertion/>"),
        "a part is encrypted",
    ),
    (
        "encrypted-name",
        lambda: changed("<saml:SubjectConfirmation ", "<saml:EncryptedID/><saml:SubjectConfirmation "),
        "a part is encrypted",
    ),
    (
        "status-not-success",
        lambda: good(response=True).replace(b"status:Success", b"status:Responder"),
        "the response does not say Success",
    ),
    (
        "status-success-below-a-failure",
        lambda: good(response=True).replace(
            b'status:Success"/>',
            b'status:Responder"><samlp:StatusCode Value="%s"/></samlp:StatusCode>' % SUCCESS.encode(),
        ),
        "the response does not say Success",
    ),
    (
        "response-of-saml-1",
        lambda: good(response=True).replace(b'Version="2.0"', b'Version="1.1"', 1),
        "the response is not of version 2.0",
    ),
    (
        "two-signatures",
        lambda: handmade(good()),
        "more than one signature of one element",
    ),
    (
        "signature-somewhere-else",
        lambda: injected(b"<saml:Subject>", b'<saml:Subject><ds:Signature xmlns:ds="%s"/>' % DSIG.encode()),
        "a signature is not where it belongs",
    ),
    (
        "id-twice",
        lambda: injected(b"<saml:Subject>", b'<saml:Subject ID="%s">' % its_id()),
        "an identifier is used twice",
    ),
    (
        "Id-twice",
        lambda: injected(b"<saml:Subject>", b'<saml:Subject Id="%s">' % its_id()),
        "an identifier is used twice",
    ),
    (
        "lower-id-twice",
        lambda: injected(b"<saml:Subject>", b'<saml:Subject id="%s">' % its_id()),
        "an identifier is used twice",
    ),
    (
        "xml-id-twice",
        lambda: injected(b"<saml:Subject>", b'<saml:Subject xml:id="%s">' % its_id()),
        "an identifier is used twice",
    ),
    ("second-id", lambda: injected(ID, b' xml:id="_other" ID="'), "an element has more than one identifier"),
]


def its_id():
    return b"_same"


@pytest.mark.parametrize(("make", "reason"), [pytest.param(make, reason, id=name) for name, make, reason in UNREADABLE])
def test_document_is_refused_before_anything_is_verified(make, reason):
    data = make()
    if its_id() in data:
        data = data.replace(good_id(data), its_id())
    refused(data, reason)


def good_id(data):
    return data.partition(ID)[2].partition(b'"')[0]


# Signatures.


def public_key():
    return issuer().certificate.public_bytes(Encoding.PEM)


def subject_key():
    return issuer().certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def formed(**changes):
    return lambda: handmade(unsigned(), Form(**changes))


def without_signature_value():
    data = good()
    start, end = data.index(b"<ds:SignatureValue>"), data.index(b"</ds:SignatureValue>")
    return data[:start] + b"<ds:SignatureValue>" + data[end:]


def flipped(tag):
    data = bytearray(good())
    position = data.index(b"<ds:%s>" % tag) + len(tag) + 15
    data[position] = ord("A") if data[position] != ord("A") else ord("B")
    return bytes(data)


def grafted():
    """Mallory's assertion with the signature of Alice's, and its identifier."""
    alice = good()
    signature_of_alice = alice[alice.index(b"<ds:Signature") : alice.index(b"</ds:Signature>") + 15]
    evil = unsigned("mallory").replace(b"</saml:Issuer>", b"</saml:Issuer>" + signature_of_alice)
    return evil.replace(good_id(evil), good_id(alice))


INCLUSIVE = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
XPATH = f'<ds:XPath xmlns:ds="{DSIG}">not(ancestor-or-self::node()[local-name()="Subject"])</ds:XPath>'
FORGED = [
    ("unsigned", unsigned, "the assertion is not signed"),
    ("unsigned-in-a-response", lambda: issuer().in_response(unsigned()), "the assertion is not signed"),
    ("wrong-key", lambda: stranger().sign(unsigned()), "the signature is not by a key of the issuer"),
    (
        "wrong-key-in-a-response",
        lambda: stranger().sign(issuer().in_response(unsigned())),
        "the signature is not by a key of the issuer",
    ),
    (
        "response-by-a-stranger-around-a-good-assertion",
        lambda: stranger().sign(good(response=True)),
        "the signature is not by a key of the issuer",
    ),
    (
        "good-response-around-a-stranger's-assertion",
        lambda: handmade(issuer().in_response(stranger().sign(unsigned()))),
        "the signature is not by a key of the issuer",
    ),
    (
        "attacker's-certificate-in-KeyInfo",
        lambda: handmade(unsigned(), Form(key_info=key_info(stranger())), stranger),
        "the signature is not by a key of the issuer",
    ),
    (
        "issuer's-certificate-in-KeyInfo-of-another",
        lambda: handmade(unsigned(), Form(key_info=key_info(issuer())), stranger),
        "the signature is not by a key of the issuer",
    ),
    ("tampered-name", lambda: injected(b">alice<", b">mallory<"), "what was signed has been changed"),
    ("tampered-role", lambda: injected(b'code="1062', b'code="9062'), "what was signed has been changed"),
    (
        "tampered-end",
        lambda: injected(at(5 * MINUTE).encode(), at(9 * MINUTE).encode()),
        "what was signed has been changed",
    ),
    (
        "added-attribute",
        lambda: injected(HOLE, b"<saml:AttributeStatement/>" + HOLE),
        "what was signed has been changed",
    ),
    ("tampered-digest", lambda: flipped(b"DigestValue"), "the signature is not by a key of the issuer"),
    ("tampered-signature", lambda: flipped(b"SignatureValue"), "the signature is not by a key of the issuer"),
    ("empty-signature", without_signature_value, "the signature cannot be verified (TypeError)"),
    ("signature-of-another-assertion", grafted, "what was signed has been changed"),
    (
        "tampered-signed-response",
        lambda: handmade(issuer().in_response(unsigned())).replace(b">alice<", b">mallory<"),
        "what was signed has been changed",
    ),
    ("rsa-sha1", formed(method=f"{DSIG}rsa-sha1"), "the signature method is not taken"),
    ("rsa-md5", formed(method=f"{MORE}rsa-md5"), "the signature method is not taken"),
    ("sha1-digest", formed(digest=SHA1), "the digest method is not taken"),
    ("md5-digest", formed(digest=f"{MORE}md5"), "the digest method is not taken"),
    (
        "hmac-keyed-with-the-certificate",
        lambda: handmade(unsigned(), Form(method=f"{MORE}hmac-sha256", secret=public_key())),
        "the signature method is not taken",
    ),
    (
        "hmac-keyed-with-the-public-key",
        lambda: handmade(unsigned(), Form(method=f"{DSIG}hmac-sha1", secret=subject_key())),
        "the signature method is not taken",
    ),
    (
        "algorithm-swapped-for-a-weaker-one",
        lambda: injected(RSA_SHA256.encode(), f"{DSIG}rsa-sha1".encode()),
        "the signature method is not taken",
    ),
    (
        "algorithm-swapped-for-ecdsa",
        lambda: injected(RSA_SHA256.encode(), f"{MORE}ecdsa-sha256".encode()),
        "the signature is not by a key of the issuer",
    ),
    (
        "algorithm-swapped-for-a-stronger-one",
        lambda: injected(RSA_SHA256.encode(), f"{MORE}rsa-sha512".encode()),
        "the signature is not by a key of the issuer",
    ),
    (
        "truncated-output",
        formed(method_inside=f'<ds:HMACOutputLength xmlns:ds="{DSIG}">1</ds:HMACOutputLength>'),
        "the signature method is not taken",
    ),
    ("inclusive-canonicalization", formed(canonicalization=INCLUSIVE), "the canonicalization is not taken"),
    ("c14n-with-comments", formed(canonicalization=f"{EXCLUSIVE}WithComments"), "the canonicalization is not taken"),
    (
        "transform-with-comments",
        formed(transforms=(ENVELOPED, f"{EXCLUSIVE}WithComments")),
        "the transforms are not taken",
    ),
    (
        "xslt",
        formed(transforms=(ENVELOPED, "http://www.w3.org/TR/1999/REC-xslt-19991116", EXCLUSIVE)),
        "the transforms are not taken",
    ),
    (
        "xpath",
        formed(transforms=(ENVELOPED, "http://www.w3.org/TR/1999/REC-xpath-19991116", EXCLUSIVE)),
        "the transforms are not taken",
    ),
    ("xpath-inside-a-transform", formed(transform_inside=XPATH), "the transforms are not taken"),
    ("base64", formed(transforms=(ENVELOPED, f"{DSIG}base64", EXCLUSIVE)), "the transforms are not taken"),
    ("no-transform", formed(transforms=()), "the transforms are not taken"),
    ("enveloped-alone", formed(transforms=(ENVELOPED,)), "the transforms are not taken"),
    ("two-references", formed(references=2), "the signature has not one reference"),
    ("no-reference", formed(references=0), "the signature has not one reference"),
    ("reference-to-another-id", formed(uri="#_other"), "the signature refers to something else"),
    ("reference-to-the-document", formed(uri=""), "the signature refers to something else"),
    ("reference-by-xpointer", formed(uri="#xpointer(/)"), "the signature refers to something else"),
    ("reference-to-a-file", formed(uri="file:///etc/passwd"), "the signature refers to something else"),
    ("reference-to-a-server", formed(uri="http://127.0.0.1:1/a"), "the signature refers to something else"),
    ("an-object", formed(key_info="<ds:Object/>"), "the signature has parts that are not taken"),
    (
        "a-manifest",
        lambda: injected(b"<ds:Reference ", b"<ds:Manifest/><ds:Reference "),
        "the signature has parts that are not taken",
    ),
]


@pytest.mark.parametrize(("make", "reason"), [pytest.param(make, reason, id=name) for name, make, reason in FORGED])
def test_forged_signature_is_refused(make, reason):
    refused(make(), reason)


def test_signature_by_a_key_that_the_issuer_gave_up_is_refused():
    later = moment() + timedelta(days=60)
    desk = Desk()
    desk.now = later
    refused(issuer().assertion("alice", GOOD, now=later), "no certificate of the issuer is valid now", desk)


def test_key_info_of_the_attacker_in_a_good_assertion_changes_nothing():
    data = handmade(unsigned(), Form(key_info=key_info(stranger())))
    assert Desk().verify(data).principal.name == "alice@hospital"


# What the issuer really signed, and is still not good here and now.

CONFIRMATION = '<saml:SubjectConfirmationData NotOnOrAfter="'
END_OF_CONDITIONS = "</saml:Conditions>"
RESTRICTION = f"<saml:AudienceRestriction><saml:Audience>{AUDIENCE}</saml:Audience></saml:AudienceRestriction>"
OTHERS = "<saml:AudienceRestriction><saml:Audience>urn:x</saml:Audience></saml:AudienceRestriction>"


def wishing(**changes):
    return lambda: handmade(unsigned(wishes=replace(GOOD, **changes)))


def without(begin, end):
    """Signed without what stands from ``begin`` to ``end``."""

    def make():
        data = unsigned().decode()
        start = data.index(begin)
        return handmade((data[:start] + data[data.index(end, start) + len(end) :]).encode())

    return make


def saying(old, new):
    return lambda: changed(old, new)


STATED = [
    ("expired", wishing(begins=-9 * MINUTE, ends=-2 * MINUTE), "the assertion has expired"),
    ("expired-by-a-second-more-than-the-skew", wishing(begins=-9 * MINUTE, ends=-MINUTE), "the assertion has expired"),
    ("not-yet-valid", wishing(begins=2 * MINUTE), "the assertion is not yet valid"),
    ("not-yet-valid-by-a-second", wishing(begins=MINUTE + SECOND), "the assertion is not yet valid"),
    ("ends-before-it-begins", wishing(begins=30 * SECOND, ends=-30 * SECOND), "the conditions end before they begin"),
    ("valid-for-years", wishing(ends=timedelta(days=365)), "the assertion is valid for too long"),
    (
        "valid-until-the-end-of-time",
        saying(f'NotOnOrAfter="{at(5 * MINUTE)}">', 'NotOnOrAfter="9999-12-31T23:59:59Z">'),
        "the assertion is valid for too long",
    ),
    ("no-conditions", without("<saml:Conditions", END_OF_CONDITIONS), "the assertion has no conditions, or several"),
    (
        "two-conditions",
        saying(END_OF_CONDITIONS, f"{END_OF_CONDITIONS}<saml:Conditions/>"),
        "the assertion has no conditions, or several",
    ),
    ("conditions-without-an-end", saying(f' NotOnOrAfter="{at(5 * MINUTE)}">', ">"), "the conditions have no end"),
    (
        "local-time",
        saying(f'NotOnOrAfter="{at(5 * MINUTE)}">', f'NotOnOrAfter="{at(5 * MINUTE)[:-1]}">'),
        "NotOnOrAfter is not a time in UTC",
    ),
    (
        "no-time",
        saying(f'NotOnOrAfter="{at(5 * MINUTE)}">', 'NotOnOrAfter="tomorrow">'),
        "NotOnOrAfter is not a time in UTC",
    ),
    (
        "issued-in-the-future",
        saying(f'IssueInstant="{at(0 * MINUTE)}"', f'IssueInstant="{at(2 * MINUTE)}"'),
        "the assertion is from the future, or not dated",
    ),
    ("not-dated", saying(f' IssueInstant="{at(0 * MINUTE)}"', ""), "the assertion is from the future, or not dated"),
    ("no-audience", wishing(audience=""), "the assertion is not restricted to an audience"),
    ("wrong-audience", wishing(audience="urn:dicom:ae:OTHER"), "the assertion is for another audience"),
    ("audience-in-other-letters", wishing(audience=AUDIENCE.lower()), "the assertion is for another audience"),
    ("audience-with-more-behind-it", wishing(audience=f"{AUDIENCE}2"), "the assertion is for another audience"),
    (
        "two-restrictions-of-which-one-is-another's",
        saying(RESTRICTION, RESTRICTION + OTHERS),
        "the assertion is for another audience",
    ),
    ("empty-restriction", saying(RESTRICTION, "<saml:AudienceRestriction/>"), "the assertion is for another audience"),
    (
        "unknown-condition",
        saying(END_OF_CONDITIONS, f"<saml:Condition/>{END_OF_CONDITIONS}"),
        "a condition is not understood",
    ),
    ("wrong-recipient", wishing(recipient="urn:dicom:ae:OTHER"), "the confirmation is for another recipient"),
    ("no-recipient", wishing(recipient=""), "the confirmation is for another recipient"),
    ("confirmation-without-data", without(CONFIRMATION, "/>"), "the confirmation is for another recipient"),
    (
        "confirmation-expired",
        saying(f"{CONFIRMATION}{at(5 * MINUTE)}", f"{CONFIRMATION}{at(-MINUTE)}"),
        "the confirmation has expired",
    ),
    (
        "confirmation-not-yet-valid",
        saying(CONFIRMATION, f'<saml:SubjectConfirmationData NotBefore="{at(2 * MINUTE)}" NotOnOrAfter="'),
        "the confirmation is not yet valid",
    ),
    (
        "no-confirmation",
        without("<saml:SubjectConfirmation ", "</saml:SubjectConfirmation>"),
        "the subject has no confirmation",
    ),
    ("holder-of-key", saying("cm:bearer", "cm:holder-of-key"), "the subject is not confirmed by bearer"),
    ("sender-vouches", saying("cm:bearer", "cm:sender-vouches"), "the subject is not confirmed by bearer"),
    ("no-subject", without("<saml:Subject>", "</saml:Subject>"), "the assertion has no subject, or several"),
    (
        "two-subjects",
        saying("</saml:Subject>", "</saml:Subject><saml:Subject/>"),
        "the assertion has no subject, or several",
    ),
    ("no-name", without("<saml:NameID", "</saml:NameID>"), "the subject has not one NameID"),
    (
        "two-names",
        saying("</saml:NameID>", "</saml:NameID><saml:NameID>mallory</saml:NameID>"),
        "the subject has not one NameID",
    ),
    ("base-id", saying("</saml:NameID>", "</saml:NameID><saml:BaseID/>"), "the subject has not one NameID"),
    ("element-in-the-name", saying(">alice<", "><b>alice</b><"), "the NameID is empty, or not text"),
    ("empty-name", saying(">alice<", "><"), "the NameID is empty, or not text"),
    (
        "transient-name",
        saying("1.1:nameid-format:unspecified", "2.0:nameid-format:transient"),
        "the assertion does not say who the subject is, for good",
    ),
    (
        "no-authentication",
        without("<saml:AuthnStatement", "</saml:AuthnStatement>"),
        "the assertion states no authentication",
    ),
    (
        "authentication-in-the-future",
        saying(f'AuthnInstant="{at(0 * MINUTE)}"', f'AuthnInstant="{at(2 * MINUTE)}"'),
        "the authentication is from the future, or not dated",
    ),
    (
        "authentication-without-context",
        without("<saml:AuthnContext>", "</saml:AuthnContext>"),
        "the authentication has no context",
    ),
    ("session-over", wishing(session_ends=-SECOND), "the session has ended"),
    ("session-over-now", wishing(session_ends=0 * SECOND), "the session has ended"),
    ("version-1.1", saying('Version="2.0"', 'Version="1.1"'), "the assertion is not of version 2.0"),
    ("no-version", saying(' Version="2.0"', ""), "the assertion is not of version 2.0"),
    ("improper-id", saying(' ID="_', ' ID="0'), "the assertion has no proper ID"),
    (
        "unknown-statement",
        saying("</saml:Assertion>", "<saml:Statement/></saml:Assertion>"),
        "the assertion has a part that is not understood",
    ),
    (
        "two-issuers",
        saying("</saml:Issuer>", "</saml:Issuer><saml:Issuer>x</saml:Issuer>"),
        "the assertion names no issuer",
    ),
    (
        "two-purposes",
        saying(
            'code="TREATMENT"',
            'code="A"/></saml:AttributeValue><saml:AttributeValue><P xmlns="urn:hl7-org:v3" code="B"',
        ),
        "the attribute `purpose_of_use` has several values",
    ),
    (
        "attribute-of-another-form",
        saying("Alice Ärztin", "<b>Alice</b>"),
        "an attribute's value is neither text nor an HL7 code",
    ),
    (
        "attribute-with-a-hidden-character",
        saying("Alice Ärztin", "Alice\u202eAdmin"),
        "an attribute is refused: attribute `display_name` has 1 to 256 characters that can be seen",
    ),
]


@pytest.mark.parametrize(("make", "reason"), [pytest.param(make, reason, id=name) for name, make, reason in STATED])
def test_assertion_of_the_issuer_that_is_not_good_here_and_now_is_refused(make, reason):
    refused(make(), reason)


@pytest.mark.parametrize(
    "name",
    ["alice\n", " alice", "alice ", "ali\tce", "ali\u200bce", "ali\u202ece", "alice!", "a" * 300, "\u00a0"],
    ids=["newline", "space-before", "space-behind", "tab", "zero-width", "right-to-left", "mark", "long", "no-break"],
)
def test_name_that_is_more_or_less_than_a_name_is_refused(name):
    with pytest.raises(AuthenticationFailed, match=r"^the subject is refused: a name "):
        Desk().verify(handmade(unsigned(name)))


@pytest.mark.parametrize("name", ["alice@hospital", "alice@", "@", "root@other@hospital", "@hospital"])
def test_name_with_an_at_sign_stays_inside_its_realm(name):
    """The realm is what follows the last `@`: nobody becomes somebody of another realm, nor `alice` of this one."""
    assert Desk().verify(handmade(unsigned(name))).principal.name == f"{name}@hospital" != "alice@hospital"


def test_assertion_of_another_issuer_is_not_ours_and_is_never_ours_once_signed():
    data = changed(issuer().issuer, "https://idp.example/other")
    assert Desk().verify(data) is NOT_MINE
    refused(
        issuer().in_response(good()).replace(issuer().issuer.encode(), b"https://idp.example/other", 1),
        "the response is by another issuer",
    )


def test_signed_issuer_decides_where_the_route_was_another(monkeypatch):
    """Seen with the routing disabled: the statement is judged by what was signed."""
    monkeypatch.setattr("auth.identity.saml.provider.issuer_of", lambda _: issuer().issuer)
    refused(changed(issuer().issuer, "https://idp.example/other"), "the assertion is by another issuer")


def test_response_to_another_destination_is_refused():
    data = good(response=True).replace(b"<samlp:Response ", b'<samlp:Response Destination="urn:other" ')
    refused(data, "the response is for another destination")


# Theft and repetition.

ELSEWHERE = "the assertion was presented by another node"
SPENT = "the assertion is for one use, and had it"
THIEF = node_identity("CT2")


def replayed(data, reason, desk, node=None):
    with pytest.raises(TokenReplayed) as caught:
        desk.verify(data, node)
    assert (caught.value.reason, caught.value.claimed) == (reason, "alice@hospital")


def test_assertion_replayed_by_another_node_is_refused_and_stays_good_for_the_first():
    desk, data = Desk(), good()
    desk.verify(data)
    replayed(data, ELSEWHERE, desk, THIEF)
    assert desk.verify(data).principal.name == "alice@hospital"


def test_assertion_replayed_in_another_wrapper_is_the_same_assertion():
    desk, data = Desk(), good()
    desk.verify(data)
    replayed(issuer().in_response(data), ELSEWHERE, desk, THIEF)
    replayed(b"\n" + data + b"\n", ELSEWHERE, desk, THIEF)


def test_one_time_assertion_used_twice_is_refused():
    desk, data = Desk(), good(wishes=replace(GOOD, one_time_use=True))
    desk.verify(data)
    replayed(data, SPENT, desk)


def test_assertion_used_twice_is_refused_where_the_settings_say_single_use():
    desk, data = Desk(single_use=True), good()
    desk.verify(data)
    replayed(data, SPENT, desk)


def test_assertion_presented_before_is_known_after_its_end_as_long_as_it_would_be_taken():
    desk, data = Desk(single_use=True), good()
    desk.verify(data)
    desk.now += timedelta(minutes=6) - SECOND
    replayed(data, SPENT, desk)
    desk.now += SECOND
    refused(data, "the assertion has expired", desk)


def test_refused_assertion_is_not_noted_as_presented():
    """Otherwise whoever saw it could spend it by presenting it badly."""
    desk, data = Desk(), good(wishes=replace(GOOD, one_time_use=True))
    refused(data.replace(b">alice<", b">malice<"), "what was signed has been changed", desk, THIEF)
    assert desk.verify(data).principal.name == "alice@hospital"


@contextmanager
def desk_of(folder):
    """A desk that keeps what was presented on disk."""
    with closing(IndexEngine.open(folder / "records", prepare=None)) as engine:
        yield Desk(presented=PresentedRecords(engine))


def test_assertion_replayed_across_a_restart_is_refused(tmp_path):
    data = good(wishes=replace(GOOD, one_time_use=True))
    with desk_of(tmp_path) as desk:
        desk.verify(data)
    with desk_of(tmp_path) as desk:
        replayed(data, SPENT, desk)
        replayed(data, ELSEWHERE, desk, THIEF)


# The edges of the clock's skew: taken, to the second.


@pytest.mark.parametrize(
    "changes",
    [
        {"begins": MINUTE},
        {"begins": -9 * MINUTE, "ends": -MINUTE + SECOND},
        {"session_ends": SECOND},
        {"ends": timedelta(hours=24)},
    ],
    ids=["begins-in-a-minute", "ended-less-than-a-minute-ago", "session-ends-in-a-second", "ends-in-a-day"],
)
def test_assertion_just_inside_its_limits_is_accepted(changes):
    assert Desk().verify(wishing(**changes)()).principal.name == "alice@hospital"


def test_one_of_several_audiences_of_one_restriction_is_enough():
    data = changed("<saml:Audience>", "<saml:Audience>urn:x</saml:Audience><saml:Audience>")
    assert Desk().verify(data).principal.name == "alice@hospital"
