"""How often somebody may be wrong, and who is never held back by it."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from auth.errors import TooManyAttempts
from auth.identity.throttle import Limits, Throttle
from tests.simulators.clock import Clock

HERE, THERE = "192.0.2.1", "198.51.100.7"
DELAYS = [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]
"""Seconds from each failure in a row to the next attempt."""
OF_A_NAME, AT_ONCE, OF_AN_ADDRESS = (
    "^too many failures of this name from this address$",
    "^too many attempts at once for this name from this address$",
    "^too many failures from this address$",
)


@pytest.fixture
def clock():
    return Clock(5000.0)


@pytest.fixture
def throttle(clock):
    return Throttle(clock)


def fail(throttle, name="anna", source=HERE, times=1):
    for _ in range(times):
        throttle.admit(name, source)
        throttle.failed(name, source)


def fail_patiently(throttle, clock, times):
    """Fail so often; the next attempt is not waited for."""
    for number in range(times):
        clock.now += DELAYS[number - 1] if number else 0
        fail(throttle)


def refused(throttle, name="anna", source=HERE, reason=OF_A_NAME):
    with pytest.raises(TooManyAttempts, match=reason) as caught:
        throttle.admit(name, source)
    assert caught.value.claimed == (name if isinstance(name, str) else None)


def is_admitted(throttle, name, source):
    try:
        throttle.admit(name, source)
    except TooManyAttempts:
        return False
    return True


# A name at a source.


def test_who_mistypes_twice_notices_nothing(throttle):
    for _ in range(100):
        fail(throttle, times=2)
        throttle.admit("anna", HERE)
        throttle.succeeded("anna", HERE)


def test_the_delay_doubles_from_the_fifth_failure_up_to_a_minute(throttle, clock):
    for delay in DELAYS:
        fail(throttle)
        if delay:
            clock.now += delay - 0.001
            refused(throttle)
            clock.now += 0.001


def test_knocking_meanwhile_makes_no_difference(throttle, clock):
    fail_patiently(throttle, clock, 7)
    for _ in range(1000):
        refused(throttle)
    clock.now += 4
    throttle.admit("anna", HERE)


def test_a_success_ends_the_delay(throttle, clock):
    fail(throttle, times=5)
    clock.now += 1
    throttle.admit("anna", HERE)
    throttle.succeeded("anna", HERE)
    fail(throttle, times=4)
    throttle.admit("anna", HERE)


def test_a_quarter_of_an_hour_without_a_failure_is_forgotten(throttle, clock):
    for delay in DELAYS:
        fail(throttle)
        clock.now += delay
    clock.now += 900 - 60 - 0.001
    fail(throttle)
    refused(throttle)
    clock.now += 900
    fail(throttle, times=4)
    throttle.admit("anna", HERE)


def test_while_there_is_a_delay_attempts_at_one_time_are_one_guess(throttle, clock):
    fail_patiently(throttle, clock, 6)
    clock.now += 2
    throttle.admit("anna", HERE)
    for _ in range(50):
        refused(throttle)
    # Nobody could be asked: the attempt never ends, and the next is admitted a delay later.
    clock.now += 2
    throttle.admit("anna", HERE)


def test_a_thousand_guesses_begun_before_the_first_has_ended_are_thirty_two(throttle, clock):
    admitted = sum(is_admitted(throttle, "anna", HERE) for _ in range(1000))
    assert admitted == 32
    refused(throttle, reason=AT_ONCE)
    for _ in range(admitted):
        throttle.failed("anna", HERE)
    clock.now += 59.999
    refused(throttle)


def test_many_associations_of_one_person_at_a_time_are_no_guessing(throttle):
    for _ in range(20):
        for _ in range(32):
            throttle.admit("anna", HERE)
        for _ in range(32):
            throttle.succeeded("anna", HERE)


def test_attempts_that_never_end_are_given_up(throttle, clock):
    for _ in range(32):
        throttle.admit("anna", HERE)
    for _ in range(10):
        clock.now += 0.999
        refused(throttle, reason=AT_ONCE)
    clock.now += 0.02
    throttle.admit("anna", HERE)


@pytest.mark.parametrize("spelling", ["ANNA", "Anna ", " anna", "ａｎｎａ", "anna"])
def test_spellings_that_a_directory_takes_for_one_name_are_one(throttle, spelling):
    fail(throttle, times=5)
    refused(throttle, spelling)


@pytest.mark.parametrize("other", ["anne", "an na", "anna@EXAMPLE.ORG", "", "\ud800"])
def test_other_names_are_others(throttle, other):
    fail(throttle, times=5)
    throttle.admit(other, HERE)


# A source.


def test_a_source_is_refused_once_it_owes_a_hundred_failures_and_pays_one_off_in_two_seconds(throttle, clock):
    for number in range(100):
        fail(throttle, f"guess {number}")
    refused(throttle, "another", reason=OF_AN_ADDRESS)
    clock.now += 1.999
    refused(throttle, "another", reason=OF_AN_ADDRESS)
    clock.now += 0.002
    fail(throttle, "another")
    refused(throttle, "a third", reason=OF_AN_ADDRESS)
    clock.now += 200
    for number in range(100):
        fail(throttle, f"later guess {number}")


def test_people_known_at_an_address_are_not_shut_out_by_a_flood_from_it(throttle):
    throttle.admit("anna", HERE)
    throttle.succeeded("anna", HERE)
    for number in range(100):
        fail(throttle, f"guess {number}")
    refused(throttle, "bert", reason=OF_AN_ADDRESS)
    for _ in range(50):
        throttle.admit("anna", HERE)
        throttle.succeeded("anna", HERE)
    # Being known is leave to mistype, not to guess.
    fail(throttle, "anna", times=5)
    refused(throttle, "anna")


def test_one_name_alone_never_uses_up_its_address(throttle, clock):
    """The worst that one misconfigured machine can do: as many at once as it may, again and again."""
    for _ in range(2000):
        begun = 0
        while is_admitted(throttle, "anna", HERE):
            begun += 1
        for _ in range(begun):
            throttle.failed("anna", HERE)
        throttle.admit("bert", HERE)
        throttle.succeeded("bert", HERE)
        assert is_admitted(throttle, f"new {clock.now}", HERE)
        clock.now += 1


def test_bad_tokens_cost_the_budget_and_delay_nobody_else_s(throttle):
    fail(throttle, 4, times=50)
    throttle.admit(4, HERE)
    throttle.admit("type 4", HERE)
    fail(throttle, 5, times=50)
    refused(throttle, 4, reason=OF_AN_ADDRESS)
    refused(throttle, 5, reason=OF_AN_ADDRESS)


def test_a_workstation_with_an_old_token_does_not_shut_out_the_tokens_of_others_there(throttle):
    throttle.admit(5, HERE)
    throttle.succeeded(5, HERE)
    fail(throttle, 5, times=1000)
    throttle.admit(5, HERE)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:0DB8:0001:0002::1", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "192.0.2.1", False),
        ("not an address", "nor this", False),
    ],
)
def test_ipv6_sources_are_one_by_their_first_64_bits(throttle, one, other, same):
    fail(throttle, source=one, times=5)
    assert is_admitted(throttle, "anna", other) is not same


@pytest.mark.parametrize(
    "numbers",
    [
        {"free_failures": 0},
        {"attempts_at_once": 0},
        {"sources": 0},
        {"first_delay_seconds": 0},
        {"first_delay_seconds": 61},
        {"forget_seconds": 60},
        {"settle_seconds": 0},
        {"seconds_per_failure": 0},
        {"names": 129},
        {"source_failures": 42},
        {"attempts_at_once": 90},
        {"seconds_per_failure": 60, "names": 10**6},
    ],
)
def test_numbers_that_contradict_each_other_are_refused(numbers):
    with pytest.raises(ValueError, match="throttle"):
        Limits(**numbers)


@given(st.integers(0, 10**9))
def test_the_delay_never_exceeds_the_longest_and_never_shrinks(failures):
    limits = Limits()
    assert 0 <= limits.delay(failures) <= limits.delay(failures + 1) <= 60


# Whatever happens.

NAMES = ["anna", "bert", "ANNA", 4]
SOURCES = [HERE, THERE, "2001:db8::1", "2001:db8::2"]
TINY = Limits(
    free_failures=2,
    first_delay_seconds=1,
    longest_delay_seconds=8,
    forget_seconds=30,
    attempts_at_once=3,
    settle_seconds=5,
    source_failures=12,
    seconds_per_failure=2,
    names=16,
    sources=2,
    regulars=2,
)


class AnyHistory(RuleBasedStateMachine):
    """Attempts that begin and end in any order; beside it a throttle that is never asked while it would refuse."""

    def __init__(self):
        super().__init__()
        self.clock = Clock(5000.0)
        self.throttle = Throttle(self.clock, TINY)
        self.unasked = Throttle(self.clock, TINY)
        self.out = []

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 40.0]))
    def time_passes(self, seconds):
        self.clock.now += seconds

    @rule(name=st.sampled_from(NAMES), source=st.sampled_from(SOURCES), again=st.integers(1, 5))
    def attempt(self, name, source, again):
        for _ in range(again):
            if is_admitted(self.throttle, name, source):
                # What was refused in between has made no difference.
                self.unasked.admit(name, source)
                self.out.append((name, source))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["failed", "failed", "failed", "succeeded", None]))
    def end(self, data, how):
        name, source = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        for throttle in (self.throttle, self.unasked):
            if how:
                getattr(throttle, how)(name, source)

    @invariant()
    def memory_is_bounded(self):
        names, sources, regulars = self.throttle.kept
        assert (names <= 16, sources <= 2, regulars <= 2) == (True, True, True)

    @invariant()
    def a_source_that_never_failed_is_admitted(self):
        for name in ("anna", "bert", 4):
            self.throttle.admit(name, "203.0.113.9")
            self.unasked.admit(name, "203.0.113.9")
            self.throttle.succeeded(name, "203.0.113.9")
            self.unasked.succeeded(name, "203.0.113.9")

    def teardown(self):
        """Nobody is shut out for ever."""
        self.clock.now += 600
        for name in NAMES:
            for source in SOURCES:
                self.throttle.admit(name, source)
                self.throttle.succeeded(name, source)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


STEPS = st.tuples(
    st.sampled_from(["anna", "bert", 4]),
    st.sampled_from([f"192.0.2.{number}" for number in range(1, 6)]),
    st.sampled_from(["failed", "failed", "succeeded", None]),
    st.floats(0, 5),
)


@given(st.lists(STEPS, max_size=120))
@settings(deadline=None)
def test_whatever_other_sources_do_a_name_is_not_shut_out_at_its_own(steps):
    clock = Clock(5000.0)
    throttle, alone = Throttle(clock), Throttle(clock)
    for name, source, how, seconds in steps:
        clock.now += seconds
        if is_admitted(throttle, name, source) and how:
            getattr(throttle, how)(name, source)
        # At another source everything is as if the others were not.
        assert is_admitted(throttle, "anna", THERE) == is_admitted(alone, "anna", THERE)
        throttle.failed("anna", THERE)
        alone.failed("anna", THERE)


def test_threads_that_guess_at_once_get_no_more_guesses(throttle):
    ready = threading.Barrier(16)
    admitted = []

    def guess():
        ready.wait()
        for _ in range(100):
            if is_admitted(throttle, "anna", HERE):
                admitted.append(1)
                throttle.failed("anna", HERE)

    threads = [threading.Thread(target=guess) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Four are free, and each thread may have begun one more before the last of them was told.
    assert 5 <= len(admitted) <= 5 + 16
