"""RFC 5425 4.3: octet counting, and nothing that is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.repository.frames import FrameBroken, OctetCounting
from tests.simulators.audit_sender import framed


def fed(data, pieces=1, most=1000):
    frames = OctetCounting(most)
    return [message for start in range(0, len(data), pieces) for message in frames.feed(data[start : start + pieces])]


@given(st.lists(st.binary(min_size=1, max_size=300)), st.integers(1, 64))
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages, pieces):
    assert fed(framed(*messages), pieces) == messages


@given(st.binary(max_size=400), st.integers(1, 64))
def test_any_octets_are_messages_or_refused_and_never_held_beyond_the_limit(data, pieces):
    frames = OctetCounting(100)
    try:
        for start in range(0, len(data), pieces):
            for message in frames.feed(data[start : start + pieces]):
                assert 1 <= len(message) <= 100
            assert len(frames._held) <= 100 + 4
    except FrameBroken:
        pass


@pytest.mark.parametrize("data", [b"0 ", b"007 x", b" 5 x", b"-1 x", b"+5 x", b"<85>1 ", b"5x", b"\xd9\xa1 ", b"1e3 x"])
def test_what_is_no_count_is_refused_at_once(data):
    with pytest.raises(FrameBroken, match=r"5425 4\.3"):
        fed(data)


@pytest.mark.parametrize("data", [b"1001 ", b"99999", b"4294967296", b"1" * 50])
def test_a_count_above_the_limit_is_refused_before_any_of_it_is_held(data):
    with pytest.raises(FrameBroken):
        fed(data)


def test_complete_frames_before_a_broken_one_come_out():
    taken = []
    with pytest.raises(FrameBroken):
        taken.extend(OctetCounting(10).feed(b"1 a2 bb0 "))
    assert taken == [b"a", b"bb"]
