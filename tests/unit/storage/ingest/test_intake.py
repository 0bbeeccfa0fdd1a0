"""A signature that is made before it is asked for."""

from datetime import UTC, datetime

import pytest

from storage.errors import DataSetLimitExceeded
from storage.identifiers import new_object_id
from storage.ingest.intake import IntakeHere, IntakeTools
from tests.simulators.intakes import InPlace
from tests.simulators.object_store import PROVENANCE, data_set, declared, signer

MOMENT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)


class Signing:
    """A signer that remembers when it was asked; with ``failing``, one that raises this."""

    def __init__(self, failing=None):
        self.moments = []
        self._failing = failing

    def sign(self, inspection, syntax, moment):
        self.moments.append(moment)
        if self._failing:
            raise self._failing
        return signer().sign(inspection, syntax, moment)


@pytest.fixture
def world(tmp_path):
    made = InPlace(tmp_path)
    yield made
    made.close()


def received(world, signing):
    tools = IntakeTools(world.blobs, world.keyring, signing, clock=lambda: MOMENT)
    intake = IntakeHere(tools, declared(), new_object_id(), world.health)
    intake.write(data_set())
    return intake, intake.finish()


def test_what_was_signed_ahead_is_not_signed_again(world):
    signing = Signing()
    intake, whole = received(world, signing)
    intake.sign_ahead()
    intake.seal(whole, PROVENANCE)
    assert signing.moments == [MOMENT]


def test_what_was_not_signed_ahead_is_signed_when_it_is_sealed(world):
    signing = Signing()
    intake, whole = received(world, signing)
    assert not signing.moments
    intake.seal(whole, PROVENANCE)
    assert signing.moments == [MOMENT]


def test_what_cannot_be_signed_is_refused_when_it_is_sealed_and_leaves_nothing(world):
    intake, whole = received(world, Signing(failing=DataSetLimitExceeded("every MAC ID is taken")))
    intake.sign_ahead()
    assert world.staged()
    with pytest.raises(DataSetLimitExceeded):
        intake.seal(whole, PROVENANCE)
    assert not world.staged()


def test_a_fault_of_ours_while_it_is_signed_ahead_is_told_when_it_is_sealed(world):
    intake, whole = received(world, Signing(failing=RuntimeError("a fault of ours")))
    intake.sign_ahead()
    with pytest.raises(RuntimeError, match="a fault of ours"):
        intake.seal(whole, PROVENANCE)
    intake.discard()
    assert not world.staged()


def test_nothing_is_signed_that_was_not_received_whole(world):
    tools = IntakeTools(world.blobs, world.keyring, Signing(), clock=lambda: MOMENT)
    intake = IntakeHere(tools, declared(), new_object_id(), world.health)
    with pytest.raises(ValueError, match="received whole"):
        intake.sign_ahead()
    intake.discard()
