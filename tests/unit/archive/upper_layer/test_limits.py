"""Every bound is named, positive, and large enough for the standard's own minimum."""

import dataclasses

import pytest

from archive.upper_layer.limits import Limits


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_every_default_is_a_bound(name):
    value = getattr(Limits(), name)
    assert 0 < value < float("inf")
    assert isinstance(value, float) == name.endswith("_seconds"), "time in seconds is a float, a count is not"


def test_limits_cannot_be_changed_underway():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().pdu_bytes = 1  # type: ignore[misc]


def test_all_presentation_contexts_of_the_standard_fit():
    assert Limits().presentation_contexts == 128


def test_one_association_stays_far_below_eight_mebibytes():
    limits = Limits()
    assert limits.pdu_bytes + limits.associate_pdu_bytes + limits.command_bytes + limits.identifier_bytes < 8 * 2**20
