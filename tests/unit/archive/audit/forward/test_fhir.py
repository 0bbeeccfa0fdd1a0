"""An audit message and the AuditEvent that says the same."""

import base64

import pytest

from archive.audit.events import Actor, InstanceStored, Outcome, QueryPerformed, StudyTouched, UserAuthenticated
from archive.audit.forward.fhir import audit_event
from archive.audit.message import AuditSource, render
from archive.audit.trail_format import TrailRecord

SOURCE = AuditSource("STRONGROOM", "archive.example")
WHO = Actor(person="alice@hospital", node="CT-1", ae_title="CT1", address="10.1.2.3")
DCM = "http://dicom.nema.org/resources/ontology/DCM"
STUDY = StudyTouched("1.2.3", "P1", "Müller^Jürg", "A7", {"1.2.840.10008.5.1.4.1.1.2": 4})
EVENTS = [
    InstanceStored(WHO, study=STUDY, sop_instance_uid="1.2.3.4"),
    QueryPerformed(
        WHO, sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1", transfer_syntax="1.2.840.10008.1.2", identifier="AAEC"
    ),
    UserAuthenticated(WHO, Outcome.MINOR_FAILURE, reason="wrong passcode", identity_type=2, claimed="bob"),
]


def translated(event):
    record = TrailRecord(1, "2026-01-01T10:00:00.000+01:00", event.kind, event.facts())
    return audit_event(render(record, SOURCE))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_what_r4_demands_of_every_audit_event_is_there(event):
    resource = translated(event)
    assert resource["resourceType"] == "AuditEvent"
    assert resource["recorded"] == "2026-01-01T10:00:00.000+01:00"
    assert resource["type"]["system"] == DCM and resource["action"] in "CRUDE"
    assert resource["outcome"] == str(event.outcome.value)
    assert resource["source"]["observer"]["identifier"]["value"] == "STRONGROOM"
    assert resource["agent"] and all(isinstance(agent["requestor"], bool) for agent in resource["agent"])
    # Invariant sev-1: a name or a query, not both.
    assert all(("name" in entity) + ("query" in entity) <= 1 for entity in resource.get("entity", ()))


def test_patient_and_study_are_entities_of_their_own():
    entities = {entity["role"]["code"]: entity for entity in translated(EVENTS[0])["entity"]}
    assert entities["1"]["what"]["identifier"]["value"] == "P1"
    assert entities["3"]["what"]["identifier"] | {"type": 0} == {
        "type": 0,
        "system": "urn:dicom:uid",
        "value": "urn:oid:1.2.3",
    }
    details = {detail["type"]: detail["valueString"] for detail in entities["3"]["detail"]}
    assert details["Accession Number"] == "A7" and details["SOP Instance UID"] == "1.2.3.4"


def test_the_identifier_of_a_query_stays_as_it_was_asked():
    (entity,) = [entity for entity in translated(EVENTS[1])["entity"] if "query" in entity]
    assert base64.b64decode(entity["query"]) == b"\x00\x01\x02"


def test_the_person_who_asked_is_named_and_the_reason_of_a_failure_too():
    resource = translated(EVENTS[2])
    assert "wrong passcode" in resource["outcomeDesc"]
    assert [agent["who"]["identifier"]["value"] for agent in resource["agent"] if agent["requestor"]]
