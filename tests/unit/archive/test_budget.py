"""The budgets of connections: who has to go, and that nobody is counted twice."""

import socket
import threading
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from archive.budget import Budget, Place
from tests.simulators.acceptor import PATIENCE


def budget(half_open: int = 3, associations: int = 2) -> Budget:
    return Budget(half_open, associations)


@given(st.lists(st.sampled_from("abc"), max_size=20))
@settings(max_examples=50)
def test_the_oldest_of_the_largest_source_goes_and_never_more_than_that(sources):
    held = budget(half_open=4)
    places: list[Place] = []
    with socket.socket() as connection:
        for source in sources:
            before = [place for place in places if not place.evicted]
            places.append(held.enter(connection, source))
            gone = [place for place in before if place.evicted]
            assert len(gone) == (1 if len(before) == 4 else 0)
            for place in gone:
                counts = Counter(each.source for each in before)
                assert counts[place.source] == max(counts.values())
                assert place is next(each for each in before if each.source == place.source)
            assert held.counts[0] == min(len(places), 4)


def test_a_lone_source_keeps_its_place_however_many_others_open():
    held = budget(half_open=3)
    with socket.socket() as connection:
        lone = held.enter(connection, "lone")
        for _ in range(20):
            held.enter(connection, "crowd")
        assert held.establish(lone)


def test_an_eviction_shuts_the_connection_down():
    held = budget(half_open=1)
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket() as other:
        place = held.enter(ours, "a")
        held.enter(other, "b")
        theirs.settimeout(PATIENCE)
        assert theirs.recv(1) == b""
        assert place.evicted
        assert not held.establish(place), "a place that was lost leads nowhere"


def test_associations_are_counted_apart_and_bounded():
    held = budget(half_open=3, associations=2)
    with socket.socket() as connection:
        places = [held.enter(connection, "a") for _ in range(3)]
        assert [held.establish(place) for place in places] == [True, True, False]
        assert held.counts == (1, 2)
        held.leave(places[0])
        assert held.establish(places[2])
        for place in places:
            held.leave(place)
            held.leave(place)
        assert held.counts == (0, 0)


def test_hanging_up_ends_the_half_open_and_only_if_asked_the_associations():
    held = budget()
    pairs = [socket.socketpair() for _ in range(2)]
    half_open, established = (held.enter(ours, "a") for ours, _ in pairs)
    held.establish(established)
    try:
        for _, theirs in pairs:
            theirs.settimeout(PATIENCE)
        held.hang_up(established=False)
        assert pairs[0][1].recv(1) == b""
        pairs[1][0].sendall(b"x")
        assert pairs[1][1].recv(1) == b"x"
        held.hang_up(established=True)
        assert pairs[1][1].recv(1) == b""
        assert not half_open.evicted
    finally:
        for pair in pairs:
            for end in pair:
                end.close()


def test_waiting_ends_when_the_last_one_leaves():
    held = budget()
    with socket.socket() as connection:
        place = held.enter(connection, "a")
        assert not held.wait_until_empty(0.01)
        threading.Timer(0.02, held.leave, (place,)).start()
        assert held.wait_until_empty(PATIENCE)


def test_one_source_does_not_take_the_places_of_all_others():
    held = Budget(8, 8, established_per_source=2)
    with socket.socket() as connection:
        greedy = [held.enter(connection, "greedy") for _ in range(3)]
        assert [held.establish(place) for place in greedy] == [True, True, False]
        assert held.establish(held.enter(connection, "other"))
        held.leave(greedy[0])
        assert held.establish(greedy[2])
