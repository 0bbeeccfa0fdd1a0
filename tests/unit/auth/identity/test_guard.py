"""A provider outside the process may hang, break or lie: its caller goes on, refused, and nobody else notices."""

import threading
import time

import pytest

from auth.credential import JsonWebToken, Secret, UsernamePasscode
from auth.errors import AuthenticationFailed, ProviderUnavailable, TokenReplayed
from auth.identity.breaker import Breaker
from auth.identity.chain import NOT_MINE, Chain, Vouched
from auth.identity.guard import QUEUE_SHARE, Guarded
from auth.principal import Principal
from tests.simulators.clock import Clock
from tests.simulators.records import node_identity

ANNA = Principal("anna", frozenset({"radiologist"}))
NODE = node_identity()
CREDENTIAL = UsernamePasscode("anna", Secret(b"hunter2"))
LONG = 20.0
"""Seconds that nothing here comes near to, unless it is broken."""


class Outside:
    """A provider that does what it is told: raises, answers, or hangs until `go_on`."""

    name = "hospital"
    identity_types = frozenset({2})

    def __init__(self, answer=Vouched(ANNA), *, hangs=False):  # noqa: B008 - frozen
        self.answer = answer
        self.go_on = threading.Event()
        self.asked = 0
        self.threads = set()
        if not hangs:
            self.go_on.set()

    def _do(self):
        self.asked += 1
        self.threads.add(threading.current_thread())
        self.go_on.wait(LONG)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    def verify(self, credential, node):
        return self._do()

    def still(self, principal):
        return self._do()


@pytest.fixture
def guard():
    """Makes guards; afterwards nothing of theirs may still run."""
    made = []

    def make(provider, *, deadline_seconds=LONG, concurrent=4, breaker=None):
        guarded = Guarded(
            provider,
            deadline_seconds=deadline_seconds,
            concurrent=concurrent,
            breaker=breaker or Breaker(failures=1000),
        )
        made.append((guarded, provider))
        return guarded

    yield make
    for guarded, provider in made:
        provider.go_on.set()
        guarded.close()
        for thread in provider.threads:
            thread.join(LONG)
            assert not thread.is_alive()


def verify(guarded, credential=CREDENTIAL):
    return guarded.verify(credential, NODE)


def eventually(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def in_background(guarded, count=1):
    """Begins to verify in threads; a list that fills with what came of each."""
    told = []

    def run():
        try:
            told.append(verify(guarded))
        except AuthenticationFailed as error:
            told.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, told


# What the provider says is passed on.


@pytest.mark.parametrize("answer", [Vouched(ANNA), Vouched(ANNA, b"ticket"), NOT_MINE])
def test_an_answer_is_passed_on(guard, answer):
    assert verify(guard(Outside(answer))) is answer


@pytest.mark.parametrize("answer", [ANNA, None])
def test_whether_a_person_still_holds_is_passed_on(guard, answer):
    assert guard(Outside(answer)).still(ANNA) is answer


@pytest.mark.parametrize(
    "error", [AuthenticationFailed("wrong passcode"), TokenReplayed("x"), ProviderUnavailable("x")]
)
def test_a_refusal_is_passed_on_with_its_reason(guard, error):
    guarded = guard(Outside(error))
    for ask in (lambda: verify(guarded), lambda: guarded.still(ANNA)):
        with pytest.raises(type(error)) as caught:
            ask()
        assert caught.value is error


def test_a_guarded_provider_has_the_name_and_the_types_of_its_own(guard):
    guarded = guard(Outside())
    assert (guarded.name, guarded.identity_types) == ("hospital", frozenset({2}))
    assert Chain([guarded]).verify(CREDENTIAL, NODE, claimed="anna") == (Vouched(ANNA), "hospital")


# Everything else is a refusal.


class RustPanic(BaseException):
    """As those that the bindings of Rust libraries raise."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("hunter2"),
        OSError("hunter2"),
        TimeoutError("hunter2"),
        NotImplementedError("hunter2"),
        MemoryError("hunter2"),
        SystemExit("hunter2"),
        KeyboardInterrupt("hunter2"),
        GeneratorExit("hunter2"),
        StopIteration("hunter2"),
        RustPanic("hunter2"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_provider_raises_is_a_refusal_that_does_not_quote_it(guard, error):
    guarded = guard(Outside(error))
    for ask in (lambda: verify(guarded), lambda: guarded.still(ANNA)):
        with pytest.raises(AuthenticationFailed) as caught:
            ask()
        assert caught.value.reason == f"hospital failed ({type(error).__name__})"
        assert caught.value.claimed == "anna"
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize(
    "nonsense", [None, True, 1, "anna", ANNA, (ANNA, "hospital"), Vouched(None), Vouched("anna"), Vouched, object()]
)
def test_nonsense_is_not_a_person(guard, nonsense):
    with pytest.raises(AuthenticationFailed, match=r"^hospital gave no answer that there is$"):
        verify(guard(Outside(nonsense)))


@pytest.mark.parametrize("nonsense", [True, "anna", NOT_MINE, Vouched(ANNA), (ANNA,)])
def test_nonsense_is_not_somebody_who_still_holds(guard, nonsense):
    with pytest.raises(AuthenticationFailed, match=r"^hospital gave no answer that there is$"):
        guard(Outside(nonsense)).still(ANNA)


def test_a_provider_that_does_not_answer_is_unavailable_at_the_deadline(guard):
    guarded = guard(Outside(hangs=True), deadline_seconds=0.05)
    for ask in (lambda: verify(guarded), lambda: guarded.still(ANNA)):
        begun = time.monotonic()
        with pytest.raises(ProviderUnavailable, match=r"^hospital did not answer in time$"):
            ask()
        assert 0.05 <= time.monotonic() - begun < LONG / 2


def test_an_answer_after_the_deadline_is_nobody_s(guard):
    outside = Outside(hangs=True)
    guarded = guard(outside, deadline_seconds=0.05, concurrent=1)
    with pytest.raises(ProviderUnavailable):
        verify(guarded)
    outside.answer = NOT_MINE
    outside.go_on.set()
    eventually(lambda: guarded.under_way == 0)
    outside.answer = Vouched(ANNA)
    assert verify(guarded) == Vouched(ANNA)


def test_the_name_is_told_for_the_audit_and_a_token_has_none(guard):
    guarded = guard(Outside(hangs=True), deadline_seconds=0.05)
    for credential, claimed in ((CREDENTIAL, "anna"), (JsonWebToken(Secret(b"e30.e30.")), None)):
        with pytest.raises(ProviderUnavailable) as caught:
            verify(guarded, credential)
        assert caught.value.claimed == claimed


# The bulkhead.


def test_a_hung_call_keeps_its_place_until_it_ends(guard):
    outside = Outside(hangs=True)
    guarded = guard(outside, deadline_seconds=0.1, concurrent=2)
    threads, told = in_background(guarded, 2)
    for thread in threads:
        thread.join()
    assert [str(error) for error in told] == ["hospital did not answer in time"] * 2
    assert guarded.under_way == 2
    for _ in range(10):
        with pytest.raises(ProviderUnavailable, match=r"^hospital is busy$"):
            verify(guarded)
    assert (outside.asked, guarded.under_way) == (2, 2)
    outside.go_on.set()
    eventually(lambda: guarded.under_way == 0)
    assert verify(guarded) == Vouched(ANNA)


def test_fifty_hanging_logins_cost_as_many_threads_as_there_are_places(guard):
    outside = Outside(hangs=True)
    guarded = guard(outside, deadline_seconds=0.5, concurrent=4)
    threads, told = in_background(guarded, 50)
    for thread in threads:
        thread.join()
    assert all(isinstance(error, ProviderUnavailable) for error in told)
    reasons = [error.reason for error in told]
    assert (reasons.count("hospital did not answer in time"), reasons.count("hospital is busy")) == (4, 46)
    assert len(outside.threads) == guarded.under_way == 4


def test_another_provider_answers_while_one_is_silent(guard):
    silent = guard(Outside(hangs=True), deadline_seconds=1)
    lively = guard(Outside())
    threads, _ = in_background(silent, 50)
    for _ in range(20):
        assert verify(lively) == Vouched(ANNA)
    for thread in threads:
        thread.join()


def test_a_login_waits_a_small_part_of_the_deadline_for_a_place(guard):
    outside = Outside(hangs=True)
    guarded = guard(outside, concurrent=1)
    threads, told = in_background(guarded, 2)
    eventually(lambda: guarded.under_way == 1)
    # A deadline of 20 s is 2 s in the queue: the second gets the place that the first leaves.
    time.sleep(0.05)
    outside.go_on.set()
    for thread in threads:
        thread.join()
    assert told == [Vouched(ANNA)] * 2
    assert QUEUE_SHARE <= 0.1


def test_a_thread_that_cannot_be_had_is_a_refusal_and_costs_no_place(guard, monkeypatch):
    guarded = guard(Outside(), concurrent=1)

    def cannot(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", cannot)
        for _ in range(3):
            with pytest.raises(ProviderUnavailable, match=r"^hospital cannot be asked: no thread$"):
                verify(guarded)
    assert verify(guarded) == Vouched(ANNA)


# The breaker.


def test_a_provider_that_keeps_not_answering_is_not_asked_until_the_pause_is_over(guard):
    clock = Clock(0.0)
    outside = Outside(ProviderUnavailable("no route"))
    guarded = guard(outside, breaker=Breaker(failures=2, clock=clock))
    for _ in range(2):
        with pytest.raises(ProviderUnavailable, match=r"^no route$"):
            verify(guarded)
    for _ in range(5):
        with pytest.raises(
            ProviderUnavailable, match=r"^hospital has not been answering, and is not asked for a while$"
        ):
            verify(guarded)
    assert outside.asked == 2
    clock.now += 1
    outside.answer = Vouched(ANNA)
    assert verify(guarded) == Vouched(ANNA)
    assert verify(guarded) == Vouched(ANNA)


def test_silence_opens_the_circuit_and_being_busy_does_not(guard):
    outside = Outside(hangs=True)
    breaker = Breaker(failures=3, pause_seconds=30)
    guarded = guard(outside, deadline_seconds=0.2, concurrent=2, breaker=breaker)
    threads, _ = in_background(guarded, 30)
    for thread in threads:
        thread.join()
    assert not breaker.refuses
    outside.go_on.set()
    eventually(lambda: guarded.under_way == 0)
    outside.go_on.clear()
    with pytest.raises(ProviderUnavailable, match="in time"):
        verify(guarded)
    assert breaker.refuses


@pytest.mark.parametrize(
    "answer", [NOT_MINE, AuthenticationFailed("wrong passcode"), TokenReplayed("x"), Vouched(ANNA)]
)
def test_a_refused_credential_is_an_answer_and_closes_the_circuit(guard, answer):
    clock = Clock(0.0)
    breaker = Breaker(failures=1, clock=clock)
    outside = Outside(ProviderUnavailable("no route"))
    guarded = guard(outside, breaker=breaker)
    with pytest.raises(ProviderUnavailable):
        verify(guarded)
    clock.now += 1
    outside.answer = answer
    for _ in range(3):
        try:
            assert verify(guarded) is answer
        except AuthenticationFailed as error:
            assert error is answer
    assert outside.asked == 4


@pytest.mark.parametrize("answer", [ValueError("crafted"), "nonsense"])
def test_a_credential_made_to_break_the_provider_neither_opens_nor_closes_the_circuit(guard, answer):
    clock = Clock(0.0)
    breaker = Breaker(failures=2, clock=clock)
    outside = Outside(answer)
    guarded = guard(outside, breaker=breaker)
    for _ in range(5):
        with pytest.raises(AuthenticationFailed):
            verify(guarded)
    assert outside.asked == 5
    outside.answer = ProviderUnavailable("no route")
    for _ in range(2):
        with pytest.raises(ProviderUnavailable, match="no route"):
            verify(guarded)
    clock.now += 1
    outside.answer = answer
    with pytest.raises(AuthenticationFailed, match=r"^hospital (failed|gave)"):
        verify(guarded)
    outside.answer = ProviderUnavailable("no route")
    with pytest.raises(ProviderUnavailable, match="no route"):
        verify(guarded)
    clock.now += 1
    with pytest.raises(ProviderUnavailable, match="not asked"):
        verify(guarded)


def test_those_who_wait_for_a_place_are_told_at_once_when_the_circuit_opens(guard):
    outside = Outside(ProviderUnavailable("no route"), hangs=True)
    guarded = guard(outside, deadline_seconds=600, concurrent=1, breaker=Breaker(failures=1, pause_seconds=30))
    threads, told = in_background(guarded, 20)
    eventually(lambda: guarded.under_way == 1)
    begun = time.monotonic()
    outside.go_on.set()
    for thread in threads:
        thread.join()
    # They would have waited a minute.
    assert time.monotonic() - begun < LONG
    assert outside.asked == 1
    assert all(isinstance(error, ProviderUnavailable) for error in told)


# The end.


def test_a_closed_guard_asks_nobody(guard):
    outside = Outside()
    guarded = guard(outside)
    guarded.close()
    guarded.close()
    for ask in (lambda: verify(guarded), lambda: guarded.still(ANNA)):
        with pytest.raises(ProviderUnavailable, match=r"^hospital is closed$"):
            ask()
    assert outside.asked == 0


def test_closing_refuses_those_who_wait_and_lets_those_under_way_finish(guard):
    outside = Outside(hangs=True)
    guarded = guard(outside, deadline_seconds=600, concurrent=1)
    threads, told = in_background(guarded, 4)
    eventually(lambda: guarded.under_way == 1)
    closing = threading.Thread(target=guarded.close)
    closing.start()
    eventually(lambda: len(told) == 3)
    assert [error.reason for error in told] == ["hospital is closed"] * 3
    outside.go_on.set()
    closing.join(LONG)
    assert not closing.is_alive()
    for thread in threads:
        thread.join()
    assert told[3] == Vouched(ANNA)


def test_closing_waits_no_longer_than_the_deadline_for_a_call_that_hangs(guard):
    guarded = guard(Outside(hangs=True), deadline_seconds=0.1)
    threads, _ = in_background(guarded)
    eventually(lambda: guarded.under_way == 1)
    begun = time.monotonic()
    guarded.close()
    assert time.monotonic() - begun < LONG / 2
    threads[0].join()


def test_no_thread_is_left_when_nobody_asks(guard):
    outside = Outside()
    guarded = guard(outside)
    for _ in range(10):
        verify(guarded)
    assert all(thread.daemon for thread in outside.threads)
    eventually(lambda: not any(thread.is_alive() for thread in outside.threads))


@pytest.mark.parametrize("numbers", [{"deadline_seconds": 0}, {"deadline_seconds": -1}, {"concurrent": 0}])
def test_numbers_that_make_no_guard_are_refused(guard, numbers):
    with pytest.raises(ValueError, match="a guarded provider"):
        guard(Outside(), **numbers)
