"""The circuit breaker: when a provider that does not answer is asked again."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from auth.identity.breaker import Breaker
from tests.simulators.clock import Clock


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def breaker(clock):
    return Breaker(failures=3, pause_seconds=1, longest_pause_seconds=5, clock=clock)


def fail(breaker, times=1):
    for _ in range(times):
        breaker.unavailable(breaker.begin())


def test_opens_after_so_many_unavailable_answers_in_a_row(breaker):
    fail(breaker, 2)
    assert not breaker.refuses
    fail(breaker)
    assert breaker.refuses
    assert breaker.begin() is None


def test_an_answer_between_them_begins_the_count_anew(breaker):
    fail(breaker, 2)
    breaker.answered(breaker.begin())
    fail(breaker, 2)
    assert not breaker.refuses


def test_one_probe_is_let_through_after_the_pause_and_closes_the_circuit(breaker, clock):
    fail(breaker, 3)
    clock.now += 0.999
    assert breaker.begin() is None
    clock.now += 0.001
    probe = breaker.begin()
    assert probe is not None
    assert breaker.begin() is None
    breaker.answered(probe)
    assert breaker.begin() is not None
    fail(breaker, 2)
    assert not breaker.refuses


def test_each_failed_probe_doubles_the_pause_up_to_the_longest(breaker, clock):
    fail(breaker, 3)
    for pause in (1, 2, 4, 5, 5):
        clock.now += pause - 0.001
        assert breaker.refuses
        clock.now += 0.001
        fail(breaker)
        assert breaker.refuses


def test_the_pause_is_short_again_after_an_answer(breaker, clock):
    fail(breaker, 3)
    clock.now += 1
    fail(breaker)
    clock.now += 2
    breaker.answered(breaker.begin())
    fail(breaker, 3)
    clock.now += 1
    assert not breaker.refuses


def test_a_probe_that_taught_nothing_leaves_its_place_to_the_next(breaker, clock):
    fail(breaker, 3)
    clock.now += 1
    breaker.undecided(breaker.begin())
    assert not breaker.refuses
    probe = breaker.begin()
    assert probe is not None
    assert breaker.begin() is None


def test_what_was_asked_before_the_circuit_opened_says_nothing_about_the_probe(breaker, clock):
    early = [breaker.begin() for _ in range(3)]
    fail(breaker, 3)
    clock.now += 1
    probe = breaker.begin()
    breaker.unavailable(early[0])
    breaker.undecided(early[1])
    assert breaker.begin() is None
    breaker.answered(early[2])
    assert breaker.begin() is None
    breaker.answered(probe)
    assert not breaker.refuses


@pytest.mark.parametrize(
    "numbers",
    [
        {"failures": 0},
        {"pause_seconds": 0},
        {"pause_seconds": -1},
        {"pause_seconds": 31},
        {"longest_pause_seconds": 0.5},
        {"pause_seconds": float("nan")},
    ],
)
def test_numbers_that_make_no_breaker_are_refused(numbers):
    with pytest.raises(ValueError, match="a breaker"):
        Breaker(**numbers)


class AnyHistory(RuleBasedStateMachine):
    """Attempts that begin, end and overlap in any order."""

    FAILURES, LONGEST = 3, 8.0

    def __init__(self):
        super().__init__()
        self.clock = Clock(1000.0)
        self.breaker = Breaker(
            failures=self.FAILURES, pause_seconds=1, longest_pause_seconds=self.LONGEST, clock=self.clock
        )
        self.out = []
        self.probe = None
        self.in_a_row = 0

    @rule(seconds=st.floats(0, 10))
    def time_passes(self, seconds):
        self.clock.now += seconds

    @rule()
    def begin(self):
        refused, half_open = self.breaker.refuses, self.in_a_row >= self.FAILURES
        attempt = self.breaker.begin()
        assert (attempt is None) == refused
        if attempt is not None:
            if half_open:
                assert self.probe is None
                self.probe = attempt
            self.out.append(attempt)

    def _taken(self, data):
        attempt = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        current = self.probe is None and self.in_a_row < self.FAILURES and attempt.epoch == self.epoch()
        probe = attempt is self.probe
        if probe:
            self.probe = None
        return attempt, current or probe, probe

    def epoch(self):
        return self.breaker._epoch

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def answered(self, data):
        attempt, heard, _ = self._taken(data)
        self.breaker.answered(attempt)
        if heard:
            self.in_a_row = 0

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def unavailable(self, data):
        attempt, heard, probe = self._taken(data)
        self.breaker.unavailable(attempt)
        if heard:
            self.in_a_row += 1
        if probe:
            assert self.breaker.refuses

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def undecided(self, data):
        self.breaker.undecided(self._taken(data)[0])

    @invariant()
    def closed_unless_so_many_failed_in_a_row(self):
        if self.in_a_row < self.FAILURES:
            assert not self.breaker.refuses

    @invariant()
    def after_the_longest_pause_only_a_probe_keeps_others_out(self):
        now = self.clock.now
        self.clock.now += self.LONGEST
        assert self.breaker.refuses == (self.probe is not None)
        self.clock.now = now


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
