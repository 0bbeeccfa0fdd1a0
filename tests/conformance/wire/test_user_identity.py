"""User identity negotiation (PS3.7 D.3.3.7)."""

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification

from tests.simulators.conformance_peer import who

ECHO = (Verification, [ImplicitVRLittleEndian])


@pytest.fixture
def person(peer):
    """Name and passcode of somebody whom the archive knows."""
    if not peer.user:
        pytest.skip("nobody named a person whom the archive knows: CONFORMANCE_USER")
    return peer.user, peer.passcode


def test_an_identity_that_was_verified_is_answered_where_that_was_asked(peer, person):
    with peer.associated(ECHO, user=False, items=[who(*person)]) as made:
        assert made.is_established and made.acceptor.user_identity is not None


def test_no_answer_comes_to_an_identity_where_none_was_asked(peer, person):
    with peer.associated(ECHO, user=False, items=[who(*person, wants_response=False)]) as made:
        assert made.is_established and made.acceptor.user_identity is None


def test_a_wrong_passcode_is_rejected(peer, person):
    name, passcode = person
    with peer.associated(ECHO, user=False, items=[who(name, passcode + "x")]) as made:
        assert made.is_rejected


def test_an_identity_of_nobody_is_not_answered_as_if_it_were_good(peer):
    with peer.associated(ECHO, user=False, items=[who("nobody-of-here", "guess")]) as made:
        assert made.is_rejected or (made.is_established and made.acceptor.user_identity is None)
