"""Each kind of rule: what it finds, what it does not, and that no peer can make it remember without bound."""

import math
import time
from collections import deque
from datetime import UTC, datetime, timedelta

import pytest

from archive.audit.detection.habits import SUBJECTS
from archive.audit.detection.rules import (
    OutOfHours,
    RepeatedFailures,
    TitleProbing,
    UnusualDestination,
    UnusualVolume,
)
from archive.audit.detection.rules_of_time import ClockJump, Silence
from archive.audit.detection.seen import Moment, Seen
from archive.audit.events import (
    Actor,
    NodeAuthenticated,
    NodeRefused,
    Outcome,
    QueryPerformed,
    StudyTouched,
    TransferBegun,
    UserAuthenticated,
)
from archive.errors import SettingsInvalid

BEGIN = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR, DAY = 3600.0, 86_400.0


class Story:
    """Events past one rule, on clocks of its own."""

    def __init__(self, rule):
        self.rule = rule
        self.seconds = 0.0
        self.set_by = 0.0
        """How far the wall clock was set."""

    @property
    def moment(self):
        return Moment(BEGIN + timedelta(seconds=self.seconds + self.set_by), self.seconds)

    def sees(self, event, after=1.0):
        self.seconds += after
        return list(self.rule.observe(Seen.of(event, self.moment)))

    def waits(self, seconds):
        self.seconds += seconds
        return list(self.rule.tick(self.moment))


def refused_login(claimed="alice", address="192.0.2.1"):
    return UserAuthenticated(Actor(address=address), Outcome.MINOR_FAILURE, "not good", claimed=claimed)


def refused_node(title=None, address="192.0.2.1"):
    return NodeRefused(Actor(ae_title=title, address=address), Outcome.MINOR_FAILURE, "unknown")


def login(person="alice", address="192.0.2.1"):
    return UserAuthenticated(Actor(person=person, node="WS1", address=address))


def fetched(instances, person="alice", destination="WS1"):
    study = StudyTouched("1.2", "P1", sop_classes={"1.2.840.10008.5.1.4.1.1.2": instances})
    return TransferBegun(Actor(person=person, node="WS1"), studies=(study,), destination=destination)


def queried(person="alice"):
    return QueryPerformed(Actor(person=person, node="WS1"))


# -- repeated failures ----------------------------------------------------------------------------------------------


def test_so_many_failures_of_a_name_are_found_wherever_they_come_from():
    story = Story(RepeatedFailures("r", per="person", failures=3, within_seconds=60))
    assert not story.sees(refused_login(address="192.0.2.1"))
    assert not story.sees(refused_login(address="192.0.2.2"))
    (finding,) = story.sees(refused_login(address="192.0.2.3"))
    assert finding.subject == "alice" and "3 refusals within 2 s" in finding.figures and not finding.verified
    assert not story.sees(refused_login()), "counting begins anew"


def test_failures_that_are_far_apart_are_not_found():
    story = Story(RepeatedFailures("r", failures=3, within_seconds=60))
    assert not [finding for _ in range(20) for finding in story.sees(refused_login(), after=31)]


def test_failures_of_all_kinds_from_one_ipv6_network_count_as_one_source():
    story = Story(RepeatedFailures("r", failures=3))
    story.sees(refused_login(address="2001:db8::1"))
    story.sees(refused_node(address="2001:db8::2"))
    (finding,) = story.sees(refused_login(claimed="bob", address="2001:db8::3"))
    assert finding.subject == "2001:db8::/64"


def test_a_success_is_no_failure():
    story = Story(RepeatedFailures("r", failures=2))
    assert not [finding for _ in range(20) for finding in story.sees(login())]


# -- title probing --------------------------------------------------------------------------------------------------


def test_a_source_that_tries_titles_is_found_and_one_that_repeats_its_own_is_not():
    story = Story(TitleProbing("r", titles=3))
    assert not [finding for _ in range(20) for finding in story.sees(refused_node("CT1"))]
    assert not story.sees(refused_node("CT2"))
    (finding,) = story.sees(refused_node("CT3"))
    assert finding.subject == "192.0.2.1"


def test_titles_tried_long_ago_do_not_count():
    story = Story(TitleProbing("r", titles=3, within_seconds=100))
    assert not [finding for number in range(20) for finding in story.sees(refused_node(f"CT{number}"), after=60)]


# -- volume ---------------------------------------------------------------------------------------------------------


def test_up_to_the_floor_nothing_is_unusual_and_beyond_it_is_once_an_hour():
    story = Story(UnusualVolume("r", floor=1000))
    assert not story.sees(fetched(1000))
    (finding,) = story.sees(fetched(1))
    assert finding.subject == "alice" and finding.verified
    assert finding.figures == "1001 objects fetched in this hour; 0 are usual, 1000 the limit"
    assert not story.sees(fetched(5000))
    assert story.sees(fetched(1001), after=HOUR)


def test_whoever_fetches_much_every_hour_is_compared_with_that():
    story = Story(UnusualVolume("r", floor=1000, factor=3))
    story.sees(fetched(900))
    for _ in range(20):
        assert not story.sees(fetched(900), after=HOUR)
    assert not story.sees(fetched(2700), after=HOUR)
    (finding,) = story.sees(fetched(1))
    assert "900 are usual, 2700 the limit" in finding.figures


def test_one_excess_does_not_become_the_habit():
    story = Story(UnusualVolume("r", floor=100, factor=2))
    for amount in (90, 90, 90, 90, 100_000, 90, 90, 90, 90):
        story.sees(fetched(amount), after=HOUR)
    assert story.sees(fetched(201), after=HOUR)


def test_one_persons_habit_is_not_anothers():
    story = Story(UnusualVolume("r", floor=100, factor=2))
    for _ in range(10):
        story.sees(fetched(1000, person="alice"), after=HOUR)
    assert not story.sees(fetched(1000, person="alice"), after=HOUR)
    assert story.sees(fetched(101, person="bob"))


def test_queries_are_counted_by_number():
    story = Story(UnusualVolume("r", of="queries", floor=50))
    found = [finding for _ in range(51) for finding in story.sees(queried())]
    assert len(found) == 1 and "51 queries in this hour" in found[0].figures


# -- destinations ---------------------------------------------------------------------------------------------------


def test_a_destination_never_used_is_found_once_somebody_is_known():
    story = Story(UnusualDestination("r", transfers=3))
    assert not story.sees(fetched(1, destination="WS1"))
    assert not story.sees(fetched(1, destination="WS2")), "nothing is usual yet"
    assert not story.sees(fetched(1, destination="WS1"))
    (finding,) = story.sees(fetched(1, destination="EVIL"))
    assert finding.figures == "EVIL, never used before in 3 transfers to 2 others"
    assert not story.sees(fetched(1, destination="EVIL")), "it is known now"


# -- out of hours ---------------------------------------------------------------------------------------------------


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("window", "day", "hour", "unusual"),
    [
        pytest.param({}, 2, 8, False, id="monday-morning"),
        pytest.param({}, 2, 19, True, id="monday-at-the-end"),
        pytest.param({}, 2, 3, True, id="monday-night"),
        pytest.param({}, 1, 12, True, id="sunday"),
        pytest.param({"begins": "22:00", "ends": "06:00"}, 2, 23, False, id="night-shift"),
        pytest.param({"begins": "22:00", "ends": "06:00"}, 3, 5, False, id="night-shift-after-midnight"),
        pytest.param({"begins": "22:00", "ends": "06:00"}, 2, 5, True, id="after-sunday-night"),
        pytest.param({"begins": "22:00", "ends": "06:00"}, 7, 5, False, id="after-friday-night"),
        pytest.param({"people": ("alice",)}, 1, 3, False, id="somebody-who-works-at-any-time"),
    ],
)
@pytest.mark.usefixtures("utc")
def test_a_login_outside_of_the_hours_is_found(window, day, hour, unusual):
    rule = OutOfHours("r", **window)
    moment = Moment(datetime(2026, 3, day, hour, tzinfo=UTC), 0.0)
    assert bool(list(rule.observe(Seen.of(login(), moment)))) is unusual


# -- the clock ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("moved", "found"), [(-1, 0), (-3, 1), (-DAY, 1), (50, 0), (61, 1), (DAY, 1)])
def test_a_clock_that_was_set_is_found_once(moved, found):
    story = Story(ClockJump("r"))
    assert not story.waits(1)
    story.set_by = moved
    findings = story.waits(1) + story.waits(1)
    assert len(findings) == found
    assert all(f"by {moved:+.1f} s" in finding.figures for finding in findings)


def test_a_clock_set_back_by_small_steps_is_found_too():
    story = Story(ClockJump("r"))
    story.waits(1)
    found = []
    for _ in range(20):
        story.set_by -= 0.5
        found += story.waits(10)
    assert len(found) >= 3


def test_a_clock_that_is_slewed_is_not_found():
    story = Story(ClockJump("r"))
    story.waits(1)
    for _ in range(2000):
        story.set_by -= 60 * 400e-6
        assert not story.waits(60)


def test_no_event_comes_between_a_jump_and_its_finding():
    story = Story(ClockJump("r"))
    story.waits(1)
    story.set_by = -DAY
    assert story.sees(login())


# -- silence --------------------------------------------------------------------------------------------------------


def test_a_node_that_comes_every_day_and_then_does_not_is_found_once_until_it_is_heard_again():
    story = Story(Silence("r", silent_seconds=DAY, factor=2, usual_seconds=7 * DAY))
    for _ in range(9):
        story.sees(NodeAuthenticated(Actor(node="CT1")), after=DAY)
        assert not story.waits(1)
    assert not story.waits(1.5 * DAY)
    (finding,) = story.waits(DAY)
    assert finding.subject == "CT1" and "not heard for 2160" in finding.figures
    assert not story.waits(DAY)
    story.sees(NodeAuthenticated(Actor(node="CT1")))
    assert not story.waits(1)


def test_a_node_that_came_once_is_not_missed_nor_is_one_that_stays_away_as_long_as_ever():
    story = Story(Silence("r", silent_seconds=HOUR, factor=2, usual_seconds=DAY))
    story.sees(NodeAuthenticated(Actor(node="ONCE")))
    assert not story.waits(100 * DAY)
    for gap in (DAY, 6 * DAY, DAY):
        story.sees(NodeAuthenticated(Actor(node="RARE")), after=gap)
    assert not story.waits(10 * DAY)


def test_a_refused_peer_is_not_the_node_that_it_says():
    story = Story(Silence("r", silent_seconds=HOUR, factor=1, usual_seconds=0))
    story.sees(NodeAuthenticated(Actor(node="CT1")))
    story.sees(NodeRefused(Actor(node="CT1"), Outcome.MINOR_FAILURE, "expired"), after=2 * HOUR)
    assert story.waits(1)


# -- whatever a peer sends ------------------------------------------------------------------------------------------


def test_what_is_remembered_is_bounded_whoever_comes():
    failures = Story(RepeatedFailures("r", per="person", failures=10))
    titles = Story(TitleProbing("r", titles=100))
    for number in range(SUBJECTS + 500):
        failures.sees(refused_login(claimed=f"name{number}"))
        titles.sees(refused_node("X", address=f"10.0.{number // 250}.{number % 250}"))
    for number in range(1000):
        titles.sees(refused_node(f"T{number}"), after=0)
    assert len(failures.rule._times.items()) == len(titles.rule._tried.items()) == SUBJECTS
    assert all(isinstance(times, deque) and len(times) <= 10 for _, times in failures.rule._times.items())
    assert all(len(tried) < 100 for _, tried in titles.rule._tried.items())


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: RepeatedFailures("r", per="title"), "per"),
        (lambda: RepeatedFailures("r", failures=1), "failures"),
        (lambda: RepeatedFailures("r", within_seconds=math.nan), "within_seconds"),
        (lambda: TitleProbing("r", titles=101), "titles"),
        (lambda: UnusualVolume("r", of="stores"), "of"),
        (lambda: UnusualVolume("r", factor=0.5), "factor"),
        (lambda: UnusualVolume("r", floor=0), "floor"),
        (lambda: UnusualDestination("r", transfers=0), "transfers"),
        (lambda: OutOfHours("r", begins="7"), "begins"),
        (lambda: OutOfHours("r", ends="24:00"), "ends"),
        (lambda: OutOfHours("r", days=(0,)), "days"),
        (lambda: ClockJump("r", backward_seconds=0), "backward_seconds"),
        (lambda: Silence("r", factor=0), "factor"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_its_key(make, key):
    with pytest.raises(SettingsInvalid, match=f"rule 'r': {key} "):
        make()
