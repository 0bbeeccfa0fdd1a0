"""Breaking the glass (THREATS D20): who may, what it opens, for how long, who is told, and that it ends by itself."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest

from archive.audit.events import AccessRefused, SecurityAlert
from archive.enforcement.attributes import resource_of
from archive.services.glass import GlassService, GlassWatch, end_what_is_over
from auth.errors import AccessDenied, RecordInvalid, RecordMissing
from auth.ports import UserRecord
from storage.instance import StudyFacts
from tests.simulators.memory_archive import World
from tests.simulators.predicate_oracle import selects
from tests.simulators.subjects import node, person

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY = StudyFacts(study_uid="1.2", labels=frozenset({"restricted"}))
QUARANTINED = replace(STUDY, labels=frozenset({"quarantine"}))
ER = node("radiologist", "emergency", name="ER1")
DOCTOR = person("radiologist", "emergency")


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


def alerts(world):
    return [(event.alert, event.description) for event in world.trail.events if isinstance(event, SecurityAlert)]


def service(world):
    return GlassService(world.overrides, world.pep, world.trail)


def reaches(world, session, facts=STUDY):
    try:
        return selects(world.pep.retrieve(session, FIND).scope, resource_of(facts))
    except AccessDenied:
        return False


def test_it_opens_every_study_but_the_quarantined_and_each_is_flagged(world):
    session = world.admit(ER, DOCTOR)
    assert not reaches(world, session)
    service(world).break_at(session, "unconscious, no time")
    ((alert, words),) = alerts(world)
    assert alert == "110127" and "unconscious, no time" in words and "alice" in words and "ER1" in words
    assert reaches(world, session) and not reaches(world, session, QUARANTINED)
    grant = world.pep.retrieve(session, FIND)
    assert world.pep.redecide(grant, STUDY) and world.pep.redecide(grant, STUDY)
    flagged = [event for event in world.trail.events if isinstance(event, SecurityAlert) and event.study_uid == "1.2"]
    assert len(flagged) == 1 and "emergency-images: reached behind broken glass" in flagged[0].description


def test_a_query_behind_broken_glass_is_flagged(world):
    session = world.admit(ER, DOCTOR)
    service(world).break_at(session, "why")
    world.pep.query(session, FIND)
    assert "Query permitted and flagged" in alerts(world)[-1][1]


@pytest.mark.parametrize(
    ("at", "who"),
    [
        (node("radiologist", name="ER1"), DOCTOR),
        (ER, person("radiologist")),
        (node("emergency", name="ER1"), person("researcher")),
    ],
)
def test_without_the_permit_of_person_and_node_nothing_breaks(world, at, who):
    session = world.admit(at, who)
    with pytest.raises(AccessDenied):
        service(world).break_at(session, "why")
    assert [type(event) for event in world.trail.events] == [AccessRefused]
    assert not world.overrides.all()


def test_it_is_bound_to_the_person_and_the_node(world):
    service(world).break_at(world.admit(ER, DOCTOR), "why")
    others = [(replace(ER, name="ER2", ae_titles=frozenset({"ER2"}), fingerprint="6f" * 32), DOCTOR)]
    others.append((ER, replace(DOCTOR, name="eve")))
    for at, who in others:
        assert not reaches(world, world.admit(at, who))


def test_it_ends_by_itself_on_a_live_association_and_the_end_is_told_once(world):
    session = world.admit(ER, DOCTOR)
    service(world).break_at(session, "why")
    grant = world.pep.retrieve(session, FIND)
    world.moment += timedelta(minutes=59, seconds=59)
    end_what_is_over(world.overrides, world.trail)
    assert world.pep.redecide(grant, STUDY)
    world.moment += timedelta(seconds=1)
    assert not world.pep.redecide(grant, STUDY) and not reaches(world, session)
    for _ in range(2):
        end_what_is_over(world.overrides, world.trail)
    assert [alert for alert, _ in alerts(world)].count("110138") == 1


def test_a_role_that_is_taken_away_ends_it_at_once(world):
    session = world.admit(ER, DOCTOR)
    service(world).break_at(session, "why")
    world.users.users["alice"] = UserRecord("alice", frozenset({"radiologist"}), {})
    assert not reaches(world, session)


def test_breaking_it_again_adds_nothing(world):
    session = world.admit(ER, DOCTOR)
    for _ in range(3):
        service(world).break_at(session, "why")
    assert len(world.overrides.all()) == 1 and len(alerts(world)) == 1


def test_nothing_breaks_that_cannot_be_told(world):
    session = world.admit(ER, DOCTOR)
    world.trail.broken = True
    with pytest.raises(Exception, match="disk full"):
        service(world).break_at(session, "why")
    world.trail.broken = False
    assert not reaches(world, session)


@pytest.mark.parametrize("minutes", [0, 61, -1])
def test_it_lasts_an_hour_at_most(world, minutes):
    with pytest.raises(RecordInvalid):
        world.overrides.prepared("alice", "ER1", "why", "alice", timedelta(minutes=minutes))


@pytest.mark.parametrize("reason", ["", "   ", "a\nb", "\u200b", "x" * 257])
def test_a_reason_is_words(world, reason):
    with pytest.raises(RecordInvalid):
        world.overrides.prepared("alice", "ER1", reason, "alice")


def test_it_waits_for_review_and_survives_a_restart(world):
    service(world).break_at(world.admit(ER, DOCTOR), "why")
    (override,) = world.overrides.all()
    with pytest.raises(RecordInvalid, match="still counts"):
        world.overrides.reviewed(override.id, "olga", "good")
    world.overrides.close(override.id)
    from archive.records.overrides import OverrideRecords

    again = OverrideRecords(world.records, clock=world.now)
    assert again.reviewed(override.id, "olga", "justified").note == "justified"
    assert again.active("alice", "ER1") is None
    with pytest.raises(RecordMissing):
        again.reviewed("nothing", "olga", "good")


def test_the_watch_tells_of_ends_while_associations_go_on(world):
    service(world).break_at(world.admit(ER, DOCTOR), "why")
    watch = GlassWatch(world.overrides, world.trail, pause_seconds=0.01)
    watch.start()
    world.trail.broken = True
    world.moment += timedelta(hours=1)
    time.sleep(0.05)
    world.trail.broken = False
    for _ in range(500):
        if "110138" in dict(alerts(world)):
            break
        time.sleep(0.01)
    watch.close()
    assert "110138" in dict(alerts(world))
