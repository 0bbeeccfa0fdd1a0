"""Type 4 and bytes that no issuer made: refused by us, in our words, or exactly what the issuer signed."""

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from auth.errors import AuthenticationFailed
from auth.identity.chain import NOT_MINE
from tests.simulators.saml_documents import Desk, good, handmade, issuer, unsigned


@cache
def documents():
    return good(), good(response=True), handmade(issuer().in_response(unsigned()))


@cache
def person():
    return Desk().verify(documents()[0])


@cache
def tags():
    lines = documents()[0].decode().replace(">", ">\n").replace("<", "\n<").split("\n")
    return sorted(set(lines) - {""})


def harmless(data):
    """Refused, not ours, or what was signed, to the last attribute. Any other exception fails the test."""
    try:
        outcome = Desk().verify(data)
    except AuthenticationFailed:
        return
    if outcome is not NOT_MINE:
        assert (outcome.principal, outcome.valid_until) == (person().principal, person().valid_until)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data):
    try:
        Desk().verify(data)
    except AuthenticationFailed:
        return
    raise AssertionError("nobody signed this")


@settings(max_examples=300, deadline=None)
@given(st.deferred(lambda: st.sampled_from(documents())), st.data())
def test_one_byte_changed_never_changes_who_it_is(document, data):
    position = data.draw(st.integers(0, len(document) - 1))
    byte = data.draw(st.integers(0, 255))
    harmless(document[:position] + bytes([byte]) + document[position + 1 :])


@settings(max_examples=200, deadline=None)
@given(st.deferred(lambda: st.sampled_from(documents())), st.deferred(lambda: st.sampled_from(documents())), st.data())
def test_pieces_put_together_never_make_somebody(first, second, data):
    begin, end = sorted(data.draw(st.tuples(st.integers(0, len(first)), st.integers(0, len(first)))))
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(second)), st.integers(0, len(second)))))
    harmless(first[:begin] + second[start:stop] + first[end:])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.deferred(lambda: st.sampled_from(tags())), max_size=30), st.data())
def test_elements_of_the_document_inserted_anywhere_never_make_somebody(pieces, data):
    parts = documents()[0].decode().split("<")
    position = data.draw(st.integers(0, len(parts) - 1))
    harmless(("<".join(parts[:position]) + "".join(pieces) + "<" + "<".join(parts[position:])).encode())
