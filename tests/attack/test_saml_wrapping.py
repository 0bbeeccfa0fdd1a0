"""D16: signature wrapping against every layer of the defence: with all, and with one after the other taken away.

The signed assertion about Alice is somewhere in each document; what nobody signed is about Mallory.
"""

import pytest
from lxml import etree

from auth.errors import AuthenticationFailed
from auth.identity.saml import document, signature
from auth.identity.saml.metadata import IssuerKeys
from tests.simulators import saml_wrapping
from tests.simulators.saml_documents import Desk, issuer, moment

SHAPE_REASONS = {
    "neither a SAML 2.0 assertion nor a SAML 2.0 response",
    "more than one assertion is inside",
    "the assertion is not where it belongs",
    "an identifier is used twice",
}
SIGNATURE_REASONS = {
    "the assertion is not signed",
    "the signature has parts that are not taken",
    "the signature refers to something else",
    "what was signed has been changed",
    "the signature cannot be verified (InvalidInput)",  # the reference names two elements
}
LIBRARY_REASONS = {
    "the assertion is not signed",
    "the signature is of another element",
    "what was signed has been changed",
    "the signature cannot be verified (InvalidInput)",
    "the signature cannot be verified (DocumentInvalid)",
}


WRAPPED = [
    pytest.param(form, shape, same_id, id=f"{form.__name__}-XSW{shape}{'-same-id' if same_id else ''}")
    for form in (saml_wrapping.bare, saml_wrapping.in_response)
    for shape in saml_wrapping.SHAPES
    for same_id in (False, True)
]


def nothing(*_):
    return None


@pytest.mark.parametrize(("form", "shape", "same_id"), WRAPPED)
def test_wrapped_assertion_is_refused_by_its_shape(form, shape, same_id):
    with pytest.raises(AuthenticationFailed) as caught:
        Desk().verify(form(shape, same_id=same_id))
    assert caught.value.reason in SHAPE_REASONS


@pytest.mark.parametrize(("form", "shape", "same_id"), WRAPPED)
def test_wrapped_assertion_is_refused_by_its_signature_where_nobody_checks_the_shape(form, shape, same_id, monkeypatch):
    monkeypatch.setattr(document, "check_shape", nothing)
    outcome(form(shape, same_id=same_id), SIGNATURE_REASONS)


@pytest.mark.parametrize(("form", "shape", "same_id"), WRAPPED)
def test_wrapped_assertion_never_speaks_where_only_the_signed_bytes_are_left(form, shape, same_id, monkeypatch):
    monkeypatch.setattr(document, "check_shape", nothing)
    monkeypatch.setattr(signature, "check_profile", lambda *_: signature.SignatureMethod.RSA_SHA256)
    outcome(form(shape, same_id=same_id), LIBRARY_REASONS)


def outcome(data, reasons):
    """Refused for one of the reasons; or Alice, whose assertion stands signed inside; never Mallory."""
    try:
        assert Desk().verify(data).principal.name == "alice@hospital"
    except AuthenticationFailed as error:
        assert error.reason in reasons


@pytest.mark.parametrize(("form", "shape", "same_id"), WRAPPED)
def test_every_element_of_a_wrapped_document_is_refused_as_signed_or_is_what_was_signed(form, shape, same_id):
    root = etree.fromstring(form(shape, same_id=same_id))
    for element in root.iter(document.ASSERTION, document.RESPONSE):
        try:
            covered = signature.signed(element, IssuerKeys((issuer().certificate,)).at(moment()))
        except AuthenticationFailed as error:
            assert error.reason in SIGNATURE_REASONS
        else:
            assert [name.text for name in covered.iter(f"{saml_wrapping.SAML}NameID")] == ["alice"]
