"""Penalties: who is penalised, for how long, and that nobody's memory grows with the number of sources."""

from hypothesis import given
from hypothesis import strategies as st

from archive.penalties import MAX_SOURCES, Penalties
from tests.simulators.clock import Clock


def penalties(failures: int = 3, seconds: float = 60.0) -> tuple[Penalties, Clock[float]]:
    clock = Clock(100.0)
    return Penalties(failures, seconds, clock), clock


def test_a_source_is_penalised_from_so_many_failures_on_and_no_other_is():
    known, _ = penalties(failures=3)
    for expected in (False, False, True):
        known.failed("bad")
        assert known.penalised("bad") is expected
    assert not known.penalised("good")


def test_failures_are_forgotten_with_time():
    known, clock = penalties(failures=3, seconds=60)
    for _ in range(3):
        known.failed("bad")
    clock.now += 19
    assert known.penalised("bad")
    clock.now += 2
    assert not known.penalised("bad")


def test_failures_far_apart_never_add_up():
    known, clock = penalties(failures=3, seconds=60)
    for _ in range(100):
        known.failed("clumsy")
        clock.now += 21
        assert not known.penalised("clumsy")


def test_however_often_a_source_fails_its_penalty_ends_within_the_time():
    known, clock = penalties(failures=3, seconds=60)
    for _ in range(10_000):
        known.failed("bad")
    clock.now += 60
    assert not known.penalised("bad")


def test_a_peer_that_is_let_in_clears_its_source():
    known, _ = penalties(failures=1)
    known.failed("shared")
    assert known.penalised("shared")
    known.succeeded("shared")
    assert not known.penalised("shared")


@given(st.lists(st.sampled_from(["fail", "succeed", "wait"]), max_size=30))
def test_a_source_that_does_not_fail_is_never_penalised(steps):
    known, clock = penalties(failures=1)
    for step in steps:
        if step == "fail":
            known.failed("bad")
        elif step == "succeed":
            known.succeeded("good")
        else:
            clock.now += 1
        assert not known.penalised("good")


def test_the_memory_of_sources_is_bounded():
    known, _ = penalties(failures=1)
    for number in range(MAX_SOURCES + 100):
        known.failed(str(number))
    assert len(known._scores) == MAX_SOURCES
    assert known.penalised(str(MAX_SOURCES + 99))
