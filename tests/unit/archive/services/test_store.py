"""Storing: what is kept, what is refused, that a refusal is told exactly once and leaves nothing behind."""

import shutil

import pytest

from archive.audit.events import AccessRefused, InstanceStored, Outcome, SecurityAlert
from archive.errors import AuditUnavailable
from archive.services.store import StoreService
from auth.errors import AccessDenied
from storage.errors import DataSetMismatch, InstanceConflict, MalformedDataSet, OutOfSpace, StoreReadOnly
from storage.instance import GivenLabels
from tests.simulators.memory_archive import POLICIES, NoNotes, World, declared, encoded, image
from tests.simulators.subjects import node


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def service(world):
    return StoreService(world.repository, world.pep, world.trail, world.masked, NoNotes())


@pytest.fixture
def modality(world):
    return world.admit(node("modality", name="CT1"))


def store(service, session, dataset, data=None, announced=None):
    incoming = service.begin(session, announced or declared(dataset))
    incoming.write(encoded(dataset) if data is None else data)
    return incoming.finish()


def untouched(world):
    return not world.repository.objects and world.repository.open_intakes == 0


def test_an_object_is_kept_with_who_sent_it(world, service, modality):
    receipt = store(service, modality, image())
    assert receipt.key.sop_instance_uid == "1.2.1.1.1"
    (provenance,) = world.repository.provenance
    assert provenance["actor"] == {
        "node": "CT1",
        "ae_title": "CT1",
        "address": "127.0.0.1",
        "association": "c0ffee",
    }
    assert provenance["study"] == {
        "study_uid": "1.2.1",
        "patient_id": "P1",
        "patient_name": "NAME^1",
        "accession_number": "A1",
    }
    # The commit itself tells the audit of what was stored.
    assert world.trail.events == [] and world.repository.open_intakes == 0


def test_the_same_object_again_is_told_as_already_kept(world, service, modality):
    store(service, modality, image())
    store(service, modality, image())
    (event,) = world.trail.events
    assert isinstance(event, InstanceStored) and event.already_kept and event.outcome is Outcome.SUCCESS
    assert len(world.repository.objects) == 1


def test_an_instance_that_disagrees_with_its_study_is_kept_and_raises_an_alert(world, service, modality):
    store(service, modality, image())
    store(service, modality, image(number=2, ReferringPhysicianName="HOUSE^GREGORY"))
    (event,) = world.trail.events
    assert isinstance(event, SecurityAlert) and "referring_physician" in event.description
    assert event.study_uid == "1.2.1"


RULES = """
@id("er") @label("emergency") permit (principal, action == Action::"Label", resource is Object)
when { resource has protocol && resource.protocol == "POLYTRAUMA" };
@id("late") @label("late") @objects("every") permit (principal == Node::"CT1", action == Action::"Label", resource)
when { resource has study_date && resource.study_date + 9223372036854775000 > 0 };
"""


@pytest.fixture
def ruled(tmp_path):
    """An archive with two label rules, of which the second fails on every object that has a study date."""
    (tmp_path / "policies").mkdir()
    for path in POLICIES.glob("*.cedar*"):
        shutil.copy(path, tmp_path / "policies")
    (tmp_path / "policies" / "rules.cedar").write_text(RULES)
    world = World(tmp_path, tmp_path / "policies")
    yield world
    world.close()


def test_an_object_is_committed_with_the_labels_that_the_rules_give(ruled):
    service = StoreService(ruled.repository, ruled.pep, ruled.trail, ruled.masked, NoNotes())
    modality = ruled.admit(node("modality", name="CT1"))
    store(service, modality, image(ProtocolName="POLYTRAUMA", StudyDate=None))
    store(service, modality, image(study=2, StudyDate=None))
    assert ruled.repository.given == [GivenLabels(frozenset({"emergency"})), GivenLabels()]
    assert ruled.trail.events == []


def test_an_object_on_which_a_rule_fails_is_committed_quarantined_and_told(ruled):
    service = StoreService(ruled.repository, ruled.pep, ruled.trail, ruled.masked, NoNotes())
    store(service, ruled.admit(node("modality", name="CT1")), image(ProtocolName="POLYTRAUMA"))
    assert ruled.repository.given == [GivenLabels(frozenset({"emergency"}), frozenset({"quarantine"}))]
    (event,) = ruled.trail.events
    assert isinstance(event, SecurityAlert) and event.study_uid == "1.2.1"
    assert event.description.startswith("the label rule late could not be evaluated, so its study is labelled")


def test_an_object_that_came_before_its_rule_failed_is_quarantined_by_a_record_of_its_own(ruled):
    service = StoreService(ruled.repository, ruled.pep, ruled.trail, ruled.masked, NoNotes())
    ruled.keep(image())
    store(service, ruled.admit(node("modality", name="CT1")), image())
    ((event, facts),) = ruled.repository.recorded
    assert (event, facts) == ("labelled", {"study_uid": "1.2.1", "label": "quarantine"})
    assert [type(event) for event in ruled.trail.events] == [InstanceStored, SecurityAlert]


def test_a_denied_object_is_told_once_and_leaves_nothing(world, service):
    session = world.admit(node("service", name="ECHO"))
    with pytest.raises(AccessDenied):
        store(service, session, image())
    (event,) = world.trail.events
    assert isinstance(event, AccessRefused) and event.action == "Store"
    assert untouched(world)


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"\x08\x00\x16\x00??\xff\xff\x00\x00", MalformedDataSet), (b"", DataSetMismatch)],
)
def test_a_bad_data_set_is_told_once_and_leaves_nothing(world, service, modality, data, error):
    with pytest.raises(error):
        store(service, modality, image(), data=data)
    (event,) = world.trail.events
    assert isinstance(event, InstanceStored) and event.outcome is Outcome.MINOR_FAILURE
    assert untouched(world)


def test_an_object_other_than_announced_is_refused(world, service, modality):
    with pytest.raises(DataSetMismatch):
        store(service, modality, image(), announced=declared(image(number=2)))
    assert world.trail.kinds() == ["instance-stored"] and untouched(world)


@pytest.mark.parametrize("step", ["begin", "write", "finish", "seal", "commit"])
def test_a_failing_store_is_told_once_as_serious_and_leaves_nothing(world, service, modality, step):
    world.repository.fails[step] = OutOfSpace("no room")
    with pytest.raises(OutOfSpace):
        store(service, modality, image())
    (event,) = world.trail.events
    assert isinstance(event, InstanceStored)
    assert (event.outcome, event.reason) == (Outcome.SERIOUS_FAILURE, "no room")
    assert untouched(world)


def test_a_refusal_after_the_data_set_was_read_names_the_study(world, service, modality):
    world.repository.fails["commit"] = InstanceConflict("another object is kept")
    with pytest.raises(InstanceConflict):
        store(service, modality, image())
    (event,) = world.trail.events
    assert event.study.study_uid == "1.2.1" and event.outcome is Outcome.MINOR_FAILURE


def test_an_unforeseen_error_is_told_without_its_text_and_leaves_nothing(world, service, modality):
    world.repository.fails["seal"] = RuntimeError("NAME^1 in a traceback")
    with pytest.raises(RuntimeError):
        store(service, modality, image())
    (event,) = world.trail.events
    assert event.reason == "internal failure (RuntimeError)" and untouched(world)


def test_a_refusal_that_cannot_be_told_is_an_error_of_the_audit(world, service, modality):
    world.repository.fails["commit"] = StoreReadOnly("a sync failed")
    world.trail.broken = True
    with pytest.raises(AuditUnavailable):
        store(service, modality, image())
    assert untouched(world)


def test_an_abandoned_object_is_told_once_and_leaves_nothing(world, service, modality):
    incoming = service.begin(modality, declared(image()))
    incoming.write(b"\x08\x00")
    incoming.abandon()
    incoming.abandon()
    assert world.trail.kinds() == ["instance-stored"] and untouched(world)


def test_nothing_is_told_of_abandoning_what_has_ended(world, service, modality):
    incoming = service.begin(modality, declared(image()))
    incoming.write(encoded(image()))
    incoming.finish()
    incoming.abandon()
    assert world.trail.events == []
