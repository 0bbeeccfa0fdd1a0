"""What becomes of findings: bounded alerts, whoever causes them; nothing told twice after a restart."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from archive.audit.detection.limiter import AlertLimits
from archive.audit.detection.rules import RepeatedFailures, TitleProbing, UnusualVolume
from archive.audit.detection.watch import Watch
from archive.audit.events import Actor, NodeRefused, Outcome, QueryPerformed, SecurityAlert, UserAuthenticated
from archive.errors import SettingsInvalid

BEGIN = datetime(2026, 3, 2, 8, tzinfo=UTC)


class Post:
    """A watch on clocks of its own."""

    def __init__(self, folder, **limits):
        self.folder, self.seconds, self.started, self.limits = folder, 0.0, 0.0, limits
        self.restart()

    def restart(self):
        self.started = self.seconds
        rules = [
            RepeatedFailures("people", per="person", failures=2),
            RepeatedFailures("sources", failures=4),
            TitleProbing("titles", titles=2, enabled=False),
            UnusualVolume("queries", of="queries", floor=3),
        ]
        self.watch = Watch(
            rules,
            AlertLimits(**self.limits),
            self.folder / "told.json",
            lambda: BEGIN + timedelta(seconds=self.seconds),
            lambda: self.seconds - self.started + 5,
        )

    def alerts(self):
        self.watch.tick()
        return [alert.description for alert in self.watch.take()]

    def guesses(self, name="alice", address="192.0.2.1", times=2):
        for _ in range(times):
            self.watch.observe(UserAuthenticated(Actor(address=address), Outcome.MINOR_FAILURE, claimed=name))

    def queries(self, person, times=4):
        for _ in range(times):
            self.watch.observe(QueryPerformed(Actor(person=person, address="198.51.100.7")))


@pytest.fixture
def post(tmp_path):
    return Post(tmp_path, per_source=3, per_hour=10)


def test_an_alert_names_the_rule_the_subject_the_figures_and_who_it_was(post):
    post.guesses()
    (alert,) = post.watch.take()
    assert isinstance(alert, SecurityAlert) and alert.outcome is Outcome.MINOR_FAILURE
    assert alert.description == "people: alice: 2 refusals within 0 s (limit 300 s)"
    assert alert.alert == "110132" and alert.actor.address == "192.0.2.1"
    assert post.watch.take() == []


def test_one_finding_is_told_once_an_hour_and_the_rest_as_a_number_when_it_is_over(post):
    post.guesses(times=3)
    assert len(post.alerts()) == 1
    post.guesses(times=30)
    assert [text.split(":")[0] for text in post.alerts()] == ["sources"]
    post.seconds += 3601
    (left_out,) = post.alerts()
    assert left_out.startswith("22 more findings of the last hour")
    post.guesses()
    assert len(post.alerts()) == 1
    post.seconds += 3601
    assert post.alerts() == []


def test_one_source_that_makes_up_names_raises_no_more_than_its_share(post):
    for number in range(1000):
        post.guesses(f"name{number}", times=3)
    assert len(post.alerts()) == 3


def test_rotating_sources_raise_no_more_than_the_share_of_all_strangers(post):
    for number in range(5000):
        post.guesses(f"name{number}", f"10.0.{number // 250}.{number % 250}", times=5)
    assert len(post.alerts()) == 10


def test_and_leave_room_for_the_alert_about_an_insider(post):
    for number in range(500):
        post.guesses(f"name{number}", f"10.0.{number // 250}.{number % 250}")
    post.alerts()
    post.queries("bob")
    assert post.alerts() == ["queries: bob: 4 queries in this hour; 0 are usual, 3 the limit"]


def test_a_rule_that_is_not_enabled_finds_nothing(post):
    for title in ("A", "B", "C"):
        refused = NodeRefused(Actor(ae_title=title, address="192.0.2.1"), Outcome.MINOR_FAILURE)
        post.watch.observe(refused)
    assert post.alerts() == []


def test_a_made_up_name_is_told_only_in_part(post):
    post.guesses("x" * 10_000)
    (text,) = post.alerts()
    assert len(text) < 200


def test_a_restart_tells_nothing_again_until_the_hour_is_over(post):
    post.guesses()
    assert len(post.alerts()) == 1
    for _ in range(5):
        post.seconds += 60
        post.restart()
        post.guesses()
        assert post.alerts() == []
    post.seconds += 3400
    post.restart()
    post.guesses()
    assert len(post.alerts()) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"ends": "x", "told": [], "counts": {}}', '{"ends": 1e400}'])
def test_a_file_of_the_last_hour_that_makes_no_sense_begins_a_new_hour(tmp_path, text):
    (tmp_path / "told.json").write_text(text)
    post = Post(tmp_path)
    post.guesses()
    assert len(post.alerts()) == 1
    assert json.loads((tmp_path / "told.json").read_text())["told"] == ["people alice"]


def test_where_the_file_cannot_be_written_alerts_are_raised_all_the_same(tmp_path):
    post = Post(tmp_path / "missing")
    post.guesses()
    assert len(post.alerts()) == 1


@pytest.mark.parametrize("values", [{"per_source": 0}, {"per_source": 5, "per_hour": 4}, {"per_hour": 1001}])
def test_limits_out_of_range_are_refused(values):
    with pytest.raises(SettingsInvalid, match=r"alerts\."):
        AlertLimits(**values)
