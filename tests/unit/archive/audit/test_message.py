"""Every event renders as a message of PS3.15 A.5 that the published grammar accepts."""

import base64
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.audit import events
from archive.audit.codes import CODES
from archive.audit.events import Actor, Outcome, StudyTouched
from archive.audit.message import AuditSource, render
from archive.audit.trail_format import TrailRecord
from tests.simulators.shared_material import shared

SOURCE = AuditSource("STRONGROOM", "archive.example")
ALICE = Actor(person="alice", node="WS1", ae_title="WS1", address="127.0.0.1", association="a1")
STUDY = StudyTouched("1.2.3", "P1", "Doe^Jane", "A7", {"1.2.840.10008.5.1.4.1.1.2": 3})
EVENTS = [
    events.ApplicationStarted(Actor(os_user="root")),
    events.ApplicationStopped(Actor(os_user="root")),
    events.NodeRefused(Actor(address="127.0.0.9"), Outcome.SERIOUS_FAILURE, "unknown authority", "CN=x"),
    events.NodeAuthenticated(Actor(node="CT1", ae_title="CT1", address="127.0.0.1")),
    events.UserAuthenticated(ALICE, identity_type=2),
    events.UserAuthenticated(Actor(node="WS1", address="127.0.0.1"), Outcome.SERIOUS_FAILURE, "wrong", 2, "mallory"),
    events.AccessRefused(ALICE, Outcome.SERIOUS_FAILURE, "no permit", "Retrieve", "1.2.3"),
    events.InstanceStored(ALICE, study=STUDY, sop_instance_uid="1.2.3.4"),
    events.QueryPerformed(ALICE, sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1", transfer_syntax="1.2", identifier="AAAA"),
    events.TransferBegun(ALICE, studies=(STUDY,), destination="WS1"),
    events.InstancesTransferred(ALICE, studies=(STUDY, STUDY), destination="WS1"),
    events.SecurityAlert(ALICE, description="study attributes differ", study_uid="1.2.3"),
    events.ConfigurationChanged(Actor(os_user="root"), alert="110137", description="user alice added"),
    events.AuditLogUsed(Actor(os_user="root")),
]


def message_of(event):
    return ElementTree.fromstring(
        render(TrailRecord(1, "2026-01-01T00:00:00.000+00:00", event.kind, event.facts()), SOURCE)
    )


def test_every_kind_of_event_has_codes_and_is_rendered_here():
    assert {event.kind for event in EVENTS} == set(CODES)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_the_message_has_the_order_and_the_duties_of_a_5_1(event):
    message = message_of(event)
    order = [child.tag for child in message]
    ranks = ["EventIdentification", "ActiveParticipant", "AuditSourceIdentification", "ParticipantObjectIdentification"]
    assert order == sorted(order, key=ranks.index) and order[0] == ranks[0]
    assert order.count("ActiveParticipant") >= 1 and order.count("AuditSourceIdentification") == 1
    participants = message.findall("ActiveParticipant")
    assert sum(participant.get("UserIsRequestor") == "true" for participant in participants) <= 1
    for coded in message.iter():
        if coded.get("csd-code") and coded.tag != "AuditSourceTypeCode":
            assert coded.get("codeSystemName") and coded.get("originalText")
    for found in message.findall("ParticipantObjectIdentification"):
        assert (found.find("ParticipantObjectName") is None) != (found.find("ParticipantObjectQuery") is None)


def test_the_person_is_named_in_every_event_that_has_one():
    for event in EVENTS:
        if event.actor.person:
            assert "alice" in [
                participant.get("UserID") for participant in message_of(event).findall("ActiveParticipant")
            ]


def test_a_query_carries_its_identifier_and_transfer_syntax():
    message = message_of(next(event for event in EVENTS if event.kind == "query-performed"))
    assert message.findtext(".//ParticipantObjectQuery") == "AAAA"
    assert base64.b64decode(message.find(".//ParticipantObjectDetail[@type='TransferSyntax']").get("value")) == b"1.2"


@given(st.text())
def test_any_text_in_a_name_stays_text(name):
    study = StudyTouched("1.2.3", name, name)
    message = message_of(events.InstanceStored(ALICE, study=study))
    assert len(message.findall("ParticipantObjectIdentification")) == 2


def made_optional(grammar, element):
    start = grammar.index("{", grammar.index(f"element {element} "))
    depth, end = 0, start
    while True:
        depth += {"{": 1, "}": -1}.get(grammar[end], 0)
        end += 1
        if depth == 0:
            return f"{grammar[:end]}*{grammar[end:].removeprefix('*')}"


def test_the_published_grammar_accepts_every_message(tmp_path):
    grammar = shared("schemas", "dcm4che", "audit-message.rnc")
    etree = pytest.importorskip("lxml.etree")
    plain = tmp_path / "audit.rnc"
    lines = grammar.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line.split("#")[0] for line in lines)
    # This copy demands a description of every object and a study in each; PS3.15 A.5.1.1 makes both optional.
    for element in ("ParticipantObjectDescription", "ParticipantObjectContainsStudy"):
        text = made_optional(text, element)
    plain.write_text(text, encoding="utf-8")
    # In a process of its own: the converter warns of its own age, and warnings are errors here.
    converted = subprocess.run([sys.executable, "-m", "rnc2rng", str(plain)], capture_output=True, check=True)
    relax_ng = etree.RelaxNG(etree.fromstring(converted.stdout))
    for event in EVENTS:
        document = etree.fromstring(ElementTree.tostring(message_of(event)))
        assert relax_ng.validate(document), (event.kind, relax_ng.error_log)
