"""A flood of refusals is counted, not copied: bounded records, nothing lost, and what succeeds is never held back."""

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive.audit.coalescing import MAX_REASONS, MAX_SOURCES, Coalescer, FloodLimits
from archive.audit.events import AccessRefused, Actor, NodeRefused, Outcome, QueryPerformed, UserAuthenticated
from archive.audit.sources import source_of
from archive.errors import SettingsInvalid

BEGIN = datetime(2026, 3, 1, 8, tzinfo=UTC)


class Flood:
    """A coalescer on a clock of its own, before a trail that remembers."""

    def __init__(self, **limits):
        self.seconds = 0.0
        self.events = []
        limits = FloodLimits(**{"window_seconds": 60, "each": 3, "in_all": 10, **limits})
        self.coalescer = Coalescer(self, limits, lambda: BEGIN + timedelta(seconds=self.seconds), lambda: self.seconds)

    def record(self, *events):
        self.events += events

    def happens(self, *events, after=0.0):
        self.seconds += after
        self.coalescer.record(*events)

    @property
    def counts(self):
        return [event.repeated.count if event.repeated else 1 for event in self.events]


def knock(address="192.0.2.1", reason="no node is registered with this certificate", **facts):
    return NodeRefused(Actor(address=address, **facts), Outcome.MINOR_FAILURE, reason, "CN=x")


def wrong(claimed="alice", address="192.0.2.1"):
    return UserAuthenticated(
        Actor(address=address), Outcome.MINOR_FAILURE, "not good", identity_type=2, claimed=claimed
    )


def test_a_single_refusal_is_one_record_as_it_is_before_record_returns():
    flood = Flood()
    flood.happens(knock())
    assert flood.events == [knock()]


def test_further_ones_become_one_record_at_the_windows_end_with_count_and_times():
    flood = Flood()
    for _ in range(1000):
        flood.happens(knock(), after=0.01)
    assert flood.counts == [1, 1, 1]
    flood.seconds = 61
    flood.coalescer.tick()
    assert flood.counts == [1, 1, 1, 997]
    last = flood.events[-1]
    assert (last.repeated.first, last.repeated.last) == (
        "2026-03-01T08:00:00.040+00:00",
        "2026-03-01T08:00:10.000+00:00",
    )
    assert last.reason.startswith("no node is registered with this certificate (997 more times from 2026-03-01T08")
    assert last.certificate == "CN=x" and last.actor == Actor(address="192.0.2.1") and last.outcome != Outcome.SUCCESS


def test_what_is_held_back_is_told_by_time_once_and_when_it_closes():
    flood = Flood()
    for _ in range(5):
        flood.happens(knock())
    for _ in range(3):
        flood.coalescer.tick()
    assert flood.counts == [1, 1, 1]
    flood.coalescer.close()
    flood.coalescer.close()
    flood.seconds = 200
    flood.coalescer.tick()
    assert flood.counts == [1, 1, 1, 2]


def test_the_next_window_begins_anew():
    flood = Flood()
    for _ in range(2):
        for _ in range(5):
            flood.happens(knock())
        flood.seconds += 60
    flood.coalescer.tick()
    assert flood.counts == [1, 1, 1, 2, 1, 1, 1, 2]


def test_what_succeeds_is_never_held_back_nor_is_a_failure_of_what_is_no_refusal():
    flood = Flood()
    success = UserAuthenticated(Actor(person="alice", address="192.0.2.1"), identity_type=2)
    failed = QueryPerformed(Actor(person="alice", address="192.0.2.1"), Outcome.MINOR_FAILURE, "not a query")
    for _ in range(100):
        flood.happens(success)
        flood.happens(failed)
    assert len(flood.events) == 200


def test_a_success_in_the_midst_of_a_flood_is_recorded_at_once():
    flood = Flood()
    for _ in range(100):
        flood.happens(knock())
    flood.happens(UserAuthenticated(Actor(person="alice", address="192.0.2.1")))
    assert flood.events[-1].outcome is Outcome.SUCCESS


def test_names_and_titles_that_a_peer_makes_up_do_not_make_records():
    flood = Flood()
    for number in range(500):
        flood.happens(wrong(claimed=f"name{number}"))
        flood.happens(knock(ae_title=f"TITLE{number}"))
    flood.coalescer.close()
    assert Counter(flood.counts) == {1: 6, 497: 2}
    told = {event.kind: event for event in flood.events if event.repeated}
    assert told["user-authenticated"].claimed == "" and told["node-refused"].actor.ae_title is None


def test_a_reason_that_differs_only_in_numbers_and_quotations_is_one_reason():
    flood = Flood()
    for number in range(50):
        flood.happens(knock(reason=f"wait {number}.5 s before 'TRY{number}'"))
    assert flood.counts == [1, 1, 1]


def test_the_first_of_another_kind_or_reason_is_recorded_at_once_in_any_flood():
    flood = Flood()
    for number in range(1000):
        flood.happens(knock(address=f"10.0.{number // 250}.{number % 250}"))
    before = len(flood.events)
    flood.happens(wrong())
    flood.happens(knock(reason="the called AE title is not ours"))
    assert len(flood.events) == before + 2


def test_no_record_speaks_of_two_people_as_one():
    flood = Flood()
    for person in ("alice", "bob"):
        actor = Actor(person=person, node="WS1", address="192.0.2.1")
        for number in range(10):
            refused = AccessRefused(actor, Outcome.MINOR_FAILURE, "no", action="query", study_uid=f"1.{number}")
            flood.happens(refused)
    flood.coalescer.close()
    told = [(event.actor.person, event.repeated.count, event.study_uid) for event in flood.events if event.repeated]
    assert told == [("alice", 7, ""), ("bob", 7, "")]


@pytest.mark.parametrize(
    "addresses",
    [
        pytest.param([f"10.1.{a}.{b}" for a in range(40) for b in range(250)], id="ipv4"),
        pytest.param([f"2001:db8:{a:x}::{b:x}" for a in range(100) for b in range(100)], id="ipv6"),
    ],
)
def test_rotating_sources_share_the_records_of_their_kind(addresses):
    flood = Flood()
    for address in addresses:
        flood.happens(knock(address))
    flood.coalescer.close()
    assert len(flood.events) <= 2 * 10 + 2
    assert sum(flood.counts) == len(addresses)
    everybody = flood.events[-1]
    assert everybody.actor.address is None
    assert everybody.repeated.sources >= 90 or "or more sources" in everybody.reason


def test_more_reasons_than_are_told_apart_count_as_one():
    flood = Flood()
    reasons = ["".join(letters) for letters in itertools.product("abcdefghij", repeat=3)]
    for reason in reasons:
        flood.happens(knock(reason=reason))
    flood.coalescer.close()
    assert len(flood.events) == MAX_REASONS + 1
    assert sum(flood.counts) == len(reasons)


def test_memory_is_bounded_by_the_limits_and_not_by_who_comes():
    flood = Flood()
    for number in range(20_000):
        flood.happens(
            knock(f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::1", reason=f"reason {chr(97 + number % 20)}")
        )
    window = flood.coalescer._window
    buckets = [*window._sources.values(), *window._elsewhere.values()]
    assert len(buckets) <= 10 + 2 * 20
    assert all(len(bucket.sources) <= MAX_SOURCES for bucket in buckets)


EVENTS = st.one_of(
    st.builds(knock, st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]), st.sampled_from("abc")),
    st.builds(wrong, st.sampled_from(["alice", "bob"]), st.sampled_from(["192.0.2.1", "192.0.2.9"])),
    st.just(QueryPerformed(Actor(person="alice"))),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(EVENTS, st.sampled_from([0.0, 1.0, 70.0])), max_size=60), st.integers(1, 4), st.integers(0, 4)
)
def test_every_event_is_in_exactly_one_record_of_its_kind(story, each, more):
    flood = Flood(each=each, in_all=each + more)
    for event, after in story:
        flood.happens(event, after=after)
    flood.coalescer.close()
    told = Counter()
    for event, count in zip(flood.events, flood.counts, strict=True):
        told[event.kind] += count
    assert told == Counter(event.kind for event, _ in story)
    assert {event for event, _ in story if event.outcome is Outcome.SUCCESS} <= set(flood.events)


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("nonsense", "nonsense"),
        (None, ""),
    ],
)
def test_a_source_is_what_one_customer_has(address, source):
    assert source_of(address) == source


@pytest.mark.parametrize(
    "values",
    [{"window_seconds": 0}, {"each": 0}, {"each": 5, "in_all": 4}, {"in_all": 10_001}, {"window_seconds": 3601}],
)
def test_limits_out_of_range_are_refused(values):
    with pytest.raises(SettingsInvalid, match=r"flood\."):
        FloodLimits(**values)
