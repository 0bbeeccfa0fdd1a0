"""What the ledger commits is told to the trail, in the commit and again after a crash."""

from dataclasses import replace

from archive.audit.events import Actor, UserAuthenticated
from archive.audit.journal import TrailJournal
from archive.audit.log import AuditLog
from archive.audit.trail import AuditTrail, read_trail
from storage.ports import LedgerEntry
from tests.simulators.subjects import node, person, session

KEY = bytes(32)
STORED = LedgerEntry(
    7,
    "stored",
    "2026-01-01T00:00:00.000+00:00",
    {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "sop_instance_uid": "1.2.3.4"},
    {"actor": {"person": "alice"}, "study": {"study_uid": "1.2.3", "patient_id": "P1"}},
)
LABELLED = LedgerEntry(8, "labelled", STORED.time, {}, {"actor": {"os_user": "root"}, "description": "label research"})


def test_a_stored_object_is_told_with_its_person_study_and_ledger_position(tmp_path):
    trail = AuditTrail(tmp_path, KEY)
    journal = TrailJournal(trail)
    journal.committed([STORED, LABELLED])
    assert journal.position() == 8
    stored, labelled = read_trail(tmp_path, KEY)
    assert (stored.kind, stored.ledger, stored.facts["actor"]["person"]) == ("instance-stored", 7, "alice")
    assert stored.facts["study"]["sop_classes"] == {"1.2.840.10008.5.1.4.1.1.2": 1}
    assert (labelled.kind, labelled.facts["description"]) == ("configuration-changed", "label research")
    trail.close()


def test_what_is_told_at_start_up_is_marked_recovered(tmp_path):
    trail = AuditTrail(tmp_path, KEY)
    TrailJournal(trail).recovered([STORED])
    assert next(read_trail(tmp_path, KEY)).recovered
    trail.close()


def test_a_typed_event_is_on_disk_when_record_returns(tmp_path):
    trail = AuditTrail(tmp_path, KEY)
    AuditLog(trail).record(UserAuthenticated(Actor(person="alice"), identity_type=2))
    (record,) = read_trail(tmp_path, KEY)
    assert record.facts == {"actor": {"person": "alice"}, "outcome": 0, "identity_type": 2}
    trail.close()


def test_a_label_is_told_with_its_study_and_a_change_that_failed_as_a_failure(tmp_path):
    trail = AuditTrail(tmp_path, KEY)
    labelled = replace(LABELLED, facts={"study_uid": "1.2.3", "label": "research"})
    failed = replace(LABELLED, sequence=9, event="authority", facts={"change": "user-added", "failed": True})
    TrailJournal(trail).committed([labelled, failed])
    good, bad = read_trail(tmp_path, KEY)
    assert (good.facts["study_uid"], good.facts["outcome"]) == ("1.2.3", 0)
    assert bad.facts["outcome"] == 4 and "study_uid" not in bad.facts
    trail.close()


def test_a_person_is_told_with_what_whoever_vouched_said():
    alice = person("radiologist", display_name="Alice", organization="St. Mary", purpose_of_use="TREATMENT")
    facts = Actor.of(session(node(), alice)).facts()
    assert facts["roles"] == ("radiologist",) and facts["purpose_of_use"] == "TREATMENT"
    assert (facts["display_name"], facts["organization"]) == ("Alice", "St. Mary")
    assert "roles" not in Actor.of(session(node())).facts()
