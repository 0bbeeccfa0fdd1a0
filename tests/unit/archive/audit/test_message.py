"""Every event renders as the message that the tables of PS3.15 A.5.3 ask for, valid by our schema and the published."""

import base64
import json
from dataclasses import fields
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive.audit import events
from archive.audit.codes import CODES
from archive.audit.events import Actor, Alert, Outcome, Repeated, StudyTouched
from archive.audit.message import AuditSource, render
from archive.audit.trail_format import TrailRecord
from archive.repository.limits import Limits
from archive.repository.validation import examine_document
from tests.simulators import audit_schemas

SOURCE = AuditSource("STRONGROOM", "archive.example")
CT = "1.2.840.10008.5.1.4.1.1.2"
ALICE = Actor(
    person="alice",
    node="WS1",
    ae_title="WS1",
    address="127.0.0.1",
    association="a1",
    display_name="Alice Liddell",
    roles=("radiologist",),
    organization="St. Mary",
)
EMERGENCY = Actor(person="alice", node="WS1", purpose_of_use="EMERGENCY")
MACHINE = Actor(node="CT1", ae_title="CT1", address="127.0.0.1")
ROOT = Actor(os_user="root")
STUDY = StudyTouched("1.2.3", "P1", "Doe^Jane", "A7", {CT: 3})
EVENTS = [
    events.ApplicationStarted(ROOT, reason="policies abc"),
    events.ApplicationStopped(ROOT),
    events.RecordingStarted(ROOT),
    events.RecordingStopped(ROOT),
    events.NetworkEntered(ROOT),
    events.NetworkLeft(ROOT),
    events.NodeRefused(Actor(address="127.0.0.9"), Outcome.SERIOUS_FAILURE, "unknown authority", "CN=x"),
    events.NodeAuthenticated(MACHINE),
    events.UserAuthenticated(ALICE, identity_type=2),
    events.UserAuthenticated(Actor(node="WS1", address="127.0.0.1"), Outcome.SERIOUS_FAILURE, "wrong", 2, "mallory"),
    events.UserAuthenticated(Actor(), Outcome.SERIOUS_FAILURE, "none offered"),
    events.AccessRefused(ALICE, Outcome.SERIOUS_FAILURE, "no permit", "Retrieve", "1.2.3"),
    events.InstanceStored(ALICE, study=STUDY, sop_instance_uid="1.2.3.4"),
    events.InstanceStored(MACHINE, study=STUDY, sop_instance_uid="1.2.3.4", already_kept=True),
    events.InstanceStored(MACHINE, Outcome.MINOR_FAILURE, "broken off", StudyTouched("", "", sop_classes={CT: 1}), "1"),
    events.InstanceStored(MACHINE, Outcome.MINOR_FAILURE, "no SOP Class UID"),
    events.QueryPerformed(ALICE, sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1", transfer_syntax="1.2", identifier="AAAA"),
    events.QueryPerformed(MACHINE, Outcome.MINOR_FAILURE, "no level", "1.2.840.10008.5.1.4.1.2.2.3", "1.2", ""),
    events.TransferBegun(ALICE, studies=(STUDY,), destination="WS1"),
    events.TransferBegun(ALICE, Outcome.SUCCESS, "", (STUDY,), "PACS2", "PACS2", "pacs2.example"),
    events.InstancesTransferred(ALICE, studies=(STUDY, STUDY), destination="WS1"),
    events.StudyDeleted(ALICE, reason="Rejected for Patient Safety Reasons", study=STUDY),
    events.StudyDeleted(Actor(os_user="olga"), reason="2 objects erased", study=StudyTouched("1.2.3", "")),
    events.InstancesDeleted(MACHINE, study=STUDY),
    events.InstancesDeleted(Actor(), study=STUDY),
    events.InstancesTransferred(ALICE, Outcome.SUCCESS, "", (STUDY,), "PACS2", "PACS2", "192.0.2.7"),
    events.CommitmentAnswered(MACHINE, studies=(STUDY,)),
    events.CommitmentAnswered(MACHINE, Outcome.MINOR_FAILURE, "2 objects were not committed"),
    events.InstancesTransferred(MACHINE, Outcome.MINOR_FAILURE, "cancelled", (STUDY,), "CT1"),
    events.SecurityAlert(ALICE, description="study attributes differ", study_uid="1.2.3"),
    events.ConfigurationChanged(ROOT, alert="110137", description="user alice added"),
    events.ConfigurationChanged(ROOT, alert="110135", description="study 1.2.3 labelled x", study_uid="1.2.3"),
    events.AuditLogUsed(ROOT),
    events.TrailCheckpointed(Actor(), checkpoint="{}"),
]
IDS = [f"{number}-{event.kind}" for number, event in enumerate(EVENTS)]


def text_of(event):
    facts = json.loads(json.dumps(event.facts()))
    return render(TrailRecord(1, "2026-01-01T00:00:00.000+00:00", event.kind, facts), SOURCE)


def message_of(event):
    return ElementTree.fromstring(text_of(event))


def participants(event):
    return message_of(event).findall("ActiveParticipant")


def of_kind(kind):
    return next(event for event in EVENTS if event.kind == kind)


def test_every_kind_of_event_has_codes_and_is_rendered_here():
    assert {event.kind for event in EVENTS} == set(CODES)


@pytest.mark.parametrize("event", EVENTS, ids=IDS)
def test_the_message_follows_its_table_of_a_5_3(event):
    assert audit_schemas.own().faults(text_of(event)) == []


@pytest.mark.parametrize("event", EVENTS, ids=IDS)
def test_the_published_schema_of_2017c_accepts_it(event):
    assert audit_schemas.published_xsd("ipf", "dicom2017c.xsd").faults(text_of(event)) == []


@pytest.mark.parametrize("event", EVENTS, ids=IDS)
def test_the_published_grammar_accepts_it_but_for_what_it_demands_alone(event):
    """docs/audit-messages.md: a description of every object, and a study in each, which A.5.1.1 makes optional."""
    alone = ("ParticipantObjectDescription", "ParticipantObjectContainsStudy")
    grammar = audit_schemas.published_grammar("dcm4che", "audit-message.rnc", optional=alone)
    assert grammar.faults(text_of(event)) == []


@pytest.mark.parametrize("event", EVENTS, ids=IDS)
def test_the_published_xml_schema_breaks_over_those_demands_only(event):
    faults = audit_schemas.published_xsd("dcm4che", "audit-message.xsd").faults(text_of(event))
    demanded = ("ParticipantObjectDescription )", "ParticipantObjectContainsStudy )")
    others = [one for one in faults if "Missing child" not in one or not any(name in one for name in demanded)]
    assert others == []


@pytest.mark.parametrize("event", EVENTS, ids=IDS)
def test_the_repository_that_judges_others_finds_nothing_to_remark_on(event):
    assert examine_document(text_of(event).encode(), Limits()).findings == ()


@pytest.mark.parametrize("event", EVENTS, ids=IDS)
def test_at_most_one_participant_is_the_requestor_and_in_an_alert_nobody(event):
    requestors = [one for one in participants(event) if one.get("UserIsRequestor") == "true"]
    alert = message_of(event).find("EventIdentification/EventID").get("csd-code") == "110113"
    assert len(requestors) <= (0 if alert else 1)


def test_the_person_is_named_in_every_event_that_has_one():
    for event in EVENTS:
        if event.actor.person:
            assert "alice" in [participant.get("UserID") for participant in participants(event)], event.kind


def test_a_person_has_a_name_an_organization_and_roles():
    alice = next(one for one in participants(of_kind("query-performed")) if one.get("UserID") == "alice")
    assert alice.get("UserName") == "Alice Liddell (St. Mary)"
    (role,) = alice.findall("RoleIDCode")
    assert (role.get("csd-code"), role.get("codeSystemName")) == ("radiologist", "99STRONGROOM")


def test_a_purpose_of_use_is_told_where_ihe_looks_for_it():
    event = events.QueryPerformed(EMERGENCY, sop_class_uid="1.2", transfer_syntax="1.2", identifier="AAAA")
    assert message_of(event).find("EventIdentification/PurposeOfUse").get("csd-code") == "EMERGENCY"
    assert audit_schemas.own().faults(text_of(event)) == []
    assert audit_schemas.published_xsd("ipf", "dicom2017c.xsd").faults(text_of(event)) == []


def test_a_query_carries_its_identifier_and_transfer_syntax():
    message = message_of(of_kind("query-performed"))
    assert message.findtext(".//ParticipantObjectQuery") == "AAAA"
    assert base64.b64decode(message.find(".//ParticipantObjectDetail[@type='TransferSyntax']").get("value")) == b"1.2"


@pytest.mark.parametrize(
    ("event", "action"),
    [
        (events.InstanceStored(MACHINE, study=STUDY), "C"),
        (events.InstanceStored(MACHINE, study=STUDY, already_kept=True), "R"),
        (events.InstancesTransferred(MACHINE, studies=(STUDY,)), "R"),
    ],
    ids=["received", "received again", "sent"],
)
def test_the_action_of_a_transfer_says_who_lacked_what(event, action):
    assert message_of(event).find("EventIdentification").get("EventActionCode") == action


def test_a_transfer_names_its_studies_by_accession_number_and_its_patient_once():
    message = message_of(of_kind("instances-transferred"))
    assert [one.get("Number") for one in message.iter("Accession")] == ["A7", "A7"]
    patients = message.findall("ParticipantObjectIdentification[@ParticipantObjectTypeCode='1']")
    assert [(one.get("ParticipantObjectID"), one.findtext("ParticipantObjectName")) for one in patients] == [
        ("P1", "Doe^Jane")
    ]


def test_what_broke_off_before_it_named_a_study_says_so_and_names_the_object():
    event = EVENTS[IDS.index("14-instance-stored")]
    study, patient = message_of(event).findall("ParticipantObjectIdentification")
    assert study.get("ParticipantObjectID") == patient.get("ParticipantObjectID") == "unknown"
    assert study.find(".//SOPClass").get("UID") == CT and study.find(".//Instance").get("UID") == "1"


def test_an_alert_about_a_study_names_it_as_a_uri():
    subject = message_of(of_kind("access-refused")).find("ParticipantObjectIdentification")
    assert subject.get("ParticipantObjectID") == "urn:oid:1.2.3"
    assert base64.b64decode(subject.find("ParticipantObjectDetail").get("value")) == b"Retrieve; no permit"


HOSTILE = st.text(st.characters(), max_size=40) | st.sampled_from(["]]>", "<a b='", "\x00\x1b", "\ud800", "&lt;\n\t"])
ACTORS = st.builds(
    Actor,
    **{one.name: st.none() | HOSTILE for one in fields(Actor) if one.name != "roles"},
    roles=st.tuples(HOSTILE) | st.just(()),
)
STUDIES = st.builds(
    StudyTouched, HOSTILE, HOSTILE, HOSTILE, HOSTILE, st.dictionaries(HOSTILE, st.integers(1, 65_535), max_size=3)
)
FACTS = {
    "actor": ACTORS,
    "outcome": st.sampled_from(Outcome),
    "alert": st.sampled_from([alert.value for alert in Alert]),
    "repeated": st.none() | st.builds(Repeated, st.integers(2, 10**6), HOSTILE, HOSTILE, st.integers(1, 256)),
    "identity_type": st.integers(0, 255),
    "study": st.none() | STUDIES,
    "studies": st.lists(STUDIES, min_size=1, max_size=3).map(tuple),
    "already_kept": st.booleans(),
    "identifier": st.binary(max_size=100).map(lambda data: base64.b64encode(data).decode()),
}
KINDS = [type(event) for event in {event.kind: event for event in EVENTS}.values()]
MANDATORY = {"sop_class_uid": HOSTILE.filter(bool), "transfer_syntax": HOSTILE}


def anything_of(kind):
    known = FACTS | MANDATORY
    return st.builds(kind, **{one.name: known.get(one.name, HOSTILE) for one in fields(kind)})


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(KINDS).flatmap(anything_of))
def test_any_event_with_hostile_texts_renders_to_a_valid_message(event):
    assert audit_schemas.own().faults(text_of(event)) == []


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cn"]), min_size=1))
def test_a_name_that_xml_can_carry_comes_out_as_it_went_in(name):
    message = message_of(events.InstanceStored(ALICE, study=StudyTouched("1.2.3", "P1", name)))
    assert message.findall("ParticipantObjectIdentification")[-1].findtext("ParticipantObjectName") == name


def test_an_identifier_of_100_kilobytes_is_carried_whole():
    identifier = base64.b64encode(bytes(range(256)) * 400).decode()
    event = events.QueryPerformed(ALICE, sop_class_uid="1.2", transfer_syntax="1.2", identifier=identifier)
    assert audit_schemas.own().faults(text_of(event)) == []
    assert message_of(event).findtext(".//ParticipantObjectQuery") == identifier


def test_a_destination_that_did_not_ask_itself_is_a_participant_of_its_own():
    moved = events.TransferBegun(ALICE, Outcome.SUCCESS, "", (STUDY,), "PACS2", "PACS2", "pacs2.example")
    archive, destination, asking, person = participants(moved)
    assert (destination.get("UserID"), destination.get("NetworkAccessPointTypeCode")) == ("PACS2", "1")
    assert destination.find("RoleIDCode").get("csd-code") == "110152"
    assert (asking.get("UserID"), asking.find("RoleIDCode")) == ("WS1", None)
    assert person.get("UserIsRequestor") == "true" and archive.find("RoleIDCode").get("csd-code") == "110153"
