"""A crowd at the door does not hold up whoever is inside, nor does it stand in another provider's way."""

import threading

import pytest

from auth.credential import JsonWebToken, Secret
from auth.errors import ProviderUnavailable
from auth.identity.apart import Apart
from auth.identity.breaker import Breaker
from auth.identity.chain import NOT_MINE, Vouched
from auth.identity.guard import Guarded
from auth.principal import Principal
from tests.simulators.records import node_identity

ALICE = Principal("alice@idp", frozenset({"radiologist"}))


class Slow:
    """Verifies nobody until it is let; knows at once who is still there."""

    name = "idp"
    identity_types = frozenset({5})

    def __init__(self):
        self.let = threading.Event()

    def verify(self, credential, node):
        self.let.wait(30)
        return Vouched(ALICE)

    def still(self, principal):
        return principal

    def is_mine(self, credential):
        return credential.token.reveal() == b"mine"


@pytest.fixture
def slow():
    provider = Slow()
    yield provider
    provider.let.set()


def guarded(provider):
    return Guarded(provider, deadline_seconds=0.3, concurrent=1, breaker=Breaker())


def token(text):
    return JsonWebToken(Secret(text))


def test_people_inside_are_answered_while_every_place_at_the_door_hangs(slow):
    apart = Apart(guarded(slow), guarded(slow))
    for _ in range(3):
        with pytest.raises(ProviderUnavailable):
            apart.verify(token(b"mine"), node_identity())
    assert apart.still(ALICE) == ALICE


def test_another_issuers_token_passes_a_dead_issuer_by(slow):
    apart = Apart(guarded(slow), slow, router=slow)
    with pytest.raises(ProviderUnavailable):
        apart.verify(token(b"mine"), node_identity())
    assert apart.verify(token(b"somebody else's"), node_identity()) is NOT_MINE
