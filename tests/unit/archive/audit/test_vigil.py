"""Between services and trail: recording comes first and never waits for a rule, an alert or whoever is warned."""

import threading
import time

import pytest

from archive.audit.coalescing import Coalescer, FloodLimits
from archive.audit.detection.limiter import AlertLimits
from archive.audit.detection.rules import RepeatedFailures
from archive.audit.detection.watch import Watch
from archive.audit.events import Actor, NodeAuthenticated, NodeRefused, Outcome
from archive.audit.vigil import Vigil
from archive.errors import AuditUnavailable
from tests.simulators.acceptor import wait_until
from tests.simulators.memory_archive import Trail

REFUSED = NodeRefused(Actor(address="192.0.2.1"), Outcome.MINOR_FAILURE, "unknown")
ADMITTED = NodeAuthenticated(Actor(node="CT1", address="192.0.2.2"))


class Warned:
    """Remembers what it was told."""

    def __init__(self):
        self.told, self.closed = [], False

    def tell(self, alert):
        self.told.append(alert)

    def close(self):
        self.closed = True


class Broken(RepeatedFailures):
    """A rule with a fault."""

    def observe(self, seen):
        raise ZeroDivisionError


@pytest.fixture
def trail():
    return Trail()


def vigil(trail, tmp_path, *warned, rule=None, window_seconds=60):
    watch = Watch([rule or RepeatedFailures("sources", failures=5)], AlertLimits(), tmp_path / "told.json")
    return Vigil(trail, Coalescer(trail, FloodLimits(window_seconds, each=3)), watch, warned)


def test_rules_see_what_is_only_counted_and_an_alert_is_recorded_and_told(trail, tmp_path):
    warned = Warned()
    watching = vigil(trail, tmp_path, warned)
    watching.begin()
    for _ in range(5):
        watching.record(REFUSED)
    wait_until(lambda: "security-alert" in trail.kinds(), "an alert")
    assert trail.kinds() == ["node-refused"] * 3 + ["security-alert"]
    wait_until(lambda: warned.told == trail.events[-1:], "told")
    watching.close()


def test_what_is_held_back_is_told_in_time_without_anything_more_coming(trail, tmp_path):
    watching = vigil(trail, tmp_path, window_seconds=1)
    watching.begin()
    for _ in range(4):
        watching.record(REFUSED)
    wait_until(lambda: len(trail.events) == 4, "told")
    assert trail.events[-1].repeated.count == 1
    watching.close()


def test_closing_tells_what_is_held_back_and_alerts_whether_it_has_begun_or_not(trail, tmp_path):
    warned = Warned()
    watching = vigil(trail, tmp_path, warned)
    for _ in range(5):
        watching.record(REFUSED)
    watching.close()
    watching.close()
    assert trail.kinds() == ["node-refused"] * 4 + ["security-alert"]
    assert warned.closed and not [thread for thread in threading.enumerate() if thread.name == "vigil"]


def test_a_trail_that_cannot_be_written_is_told_to_the_caller_and_ends_no_thread(trail, tmp_path):
    watching = vigil(trail, tmp_path, window_seconds=1)
    watching.begin()
    for _ in range(5):
        watching.record(REFUSED)
    trail.broken = True
    with pytest.raises(AuditUnavailable):
        watching.record(ADMITTED)
    time.sleep(1.2)
    trail.broken = False
    watching.record(ADMITTED)
    assert trail.events[-1] == ADMITTED
    watching.close()


def test_a_fault_in_a_rule_harms_nobody(trail, tmp_path):
    watching = vigil(trail, tmp_path, rule=Broken("b"))
    watching.record(REFUSED, ADMITTED)
    assert trail.events == [REFUSED, ADMITTED]
    watching.close()
