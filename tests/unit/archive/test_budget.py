"""The budgets of connections: who has to go, who is refused, and that nobody is counted twice."""

import socket
import threading
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from archive.budget import PENALISED_WEIGHT, Budget, Place, Room, Stage
from tests.simulators.acceptor import PATIENCE


def budget(half_open: int = 3, associations: int = 2, *, per_source: int = 100, penalised=frozenset()) -> Budget:
    rooms = {
        Stage.HALF_OPEN: Room(half_open, per_source, "half_open", "half_open_per_source"),
        Stage.ASSOCIATING: Room(half_open, per_source, "associating", "associating_per_source"),
        Stage.ESTABLISHED: Room(associations, per_source, "associations", "associations_per_source"),
    }
    return Budget(rooms, lambda source: source in penalised)


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
        assert held.associate(lone)
        for _ in range(20):
            assert held.associate(held.enter(connection, "crowd"))
        assert held.establish(lone)


def test_a_source_that_has_its_share_loses_its_own_oldest_while_there_is_room_for_others():
    held = budget(half_open=10, per_source=2)
    with socket.socket() as connection:
        first, second, third = (held.enter(connection, "greedy") for _ in range(3))
        assert first.evicted == "half_open_per_source (2)"
        assert not second.evicted
        assert not held.enter(connection, "other").evicted
        assert held.associate(second) and held.associate(third)
        assert held.associate(held.enter(connection, "greedy"))
        assert second.evicted == "associating_per_source (2)"


def test_a_penalised_source_makes_room_before_one_that_holds_more():
    held = budget(half_open=PENALISED_WEIGHT + 1, penalised={"bad"})
    with socket.socket() as connection:
        good = [held.enter(connection, "good") for _ in range(PENALISED_WEIGHT - 1)]
        bad = [held.enter(connection, "bad") for _ in range(2)]
        held.enter(connection, "new")
        assert bad[0].evicted == f"half_open ({PENALISED_WEIGHT + 1})"
        assert not any(place.evicted for place in (*good, bad[1]))


def test_an_eviction_shuts_the_connection_down():
    held = budget(half_open=1)
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket() as other:
        place = held.enter(ours, "a")
        held.enter(other, "b")
        theirs.settimeout(PATIENCE)
        assert theirs.recv(1) == b""
        assert place.evicted
        assert not held.associate(place), "a place that was lost leads nowhere"
        assert not held.establish(place)


def test_associations_are_counted_apart_and_never_evicted():
    held = budget(half_open=3, associations=2)
    with socket.socket() as connection:
        places = [held.enter(connection, "a") for _ in range(3)]
        assert [held.establish(place) for place in places] == [True, True, False]
        assert held.counts == (1, 0, 2)
        assert places[2].refused == "associations (2)"
        held.leave(places[0])
        assert held.establish(held.enter(connection, "a"))
        for place in places:
            held.leave(place)
            held.leave(place)
        assert held.counts == (0, 0, 1)


def test_one_source_does_not_take_the_places_of_all_others():
    held = budget(8, 8, per_source=2)
    with socket.socket() as connection:
        greedy = [held.enter(connection, "greedy") for _ in range(2)]
        assert [held.establish(place) for place in greedy] == [True, True]
        third = held.enter(connection, "greedy")
        assert not held.establish(third)
        assert third.refused == "associations_per_source (2)"
        assert held.establish(held.enter(connection, "other"))
        held.leave(greedy[0])
        assert held.establish(held.enter(connection, "greedy"))


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


def test_cutting_ends_a_connection_that_still_has_its_place_and_no_other():
    held = budget()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        place = held.enter(ours, "a")
        held.leave(place)
        held.cut(place)
        theirs.sendall(b"x")
        assert ours.recv(1) == b"x", "whoever has the descriptor now is left alone"
        again = held.enter(ours, "a")
        held.cut(again)
        theirs.settimeout(PATIENCE)
        assert theirs.recv(1) == b""


def test_waiting_ends_when_the_last_one_leaves():
    held = budget()
    with socket.socket() as connection:
        place = held.enter(connection, "a")
        assert not held.wait_until_empty(0.01)
        threading.Timer(0.02, held.leave, (place,)).start()
        assert held.wait_until_empty(PATIENCE)
