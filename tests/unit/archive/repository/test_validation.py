"""Which rule a message breaks, in words and with its clause."""

import re
import time

import pytest

from archive.audit import events
from archive.audit.events import Actor, StudyTouched
from archive.repository.findings import MAX_FINDINGS
from archive.repository.limits import Limits
from archive.repository.rules import RULES
from archive.repository.validation import examine, examine_document
from tests.simulators.audit_sender import syslog, xml_of
from tests.simulators.shared_material import shared

ALICE = Actor(person="alice", node="WS1", ae_title="WS1", address="127.0.0.1", association="a1")
STUDY = StudyTouched("1.2.3", "P1", "Doe^Jane", "A7", {"1.2.840.10008.5.1.4.1.1.2": 3})
STORED = xml_of(events.InstanceStored(ALICE, study=STUDY, sop_instance_uid="1.2.3.4"))
QUERY = xml_of(events.QueryPerformed(ALICE, sop_class_uid="1.2", transfer_syntax="1.2", identifier="AAAA"))
LOGIN = xml_of(events.UserAuthenticated(ALICE, identity_type=2))
OURS = [
    STORED,
    QUERY,
    LOGIN,
    xml_of(events.ApplicationStarted(Actor(os_user="root"))),
    xml_of(events.ApplicationStopped(Actor(os_user="root"))),
    xml_of(events.TransferBegun(ALICE, studies=(STUDY,), destination="WS1")),
    xml_of(events.InstancesTransferred(ALICE, studies=(STUDY,), destination="WS1")),
    xml_of(events.SecurityAlert(ALICE, description="study attributes differ")),
    xml_of(events.AuditLogUsed(Actor(os_user="root"))),
]


def breaches(xml):
    return [
        finding for finding in examine_document(xml.encode(), Limits()).findings if finding.weight.value == "breach"
    ]


@pytest.mark.parametrize("xml", OURS, ids=lambda xml: re.search('originalText="([^"]*)"', xml).group(1))
def test_our_own_messages_break_no_rule(xml):
    assert breaches(xml) == []
    assert examine(syslog(xml), Limits()).valid


def without(xml, pattern):
    changed = re.sub(pattern, "", xml, count=1)
    assert changed != xml
    return changed


def exchanged(xml, old, new):
    assert old in xml
    return xml.replace(old, new)


BROKEN = {
    "no event": (without(STORED, "<EventIdentification.*?</EventIdentification>"), "A.5.1.1", "is missing"),
    "a time without a zone": (exchanged(STORED, ".000+00:00", ""), "A.5.1.1", "with its zone"),
    "RFC 3881's code": (STORED.replace("csd-code", "code"), "A.5.1.1", "csd-code"),
    "another order": (
        exchanged(STORED, "</AuditMessage>", '<ActiveParticipant UserID="x" UserIsRequestor="false"/></AuditMessage>'),
        "A.5.1.1",
        "too late",
    ),
    "an unknown element": (exchanged(STORED, "</AuditMessage>", "<Extra/></AuditMessage>"), "A.5.1.1", "'Extra'"),
    "text between elements": (exchanged(STORED, "</AuditMessage>", "x</AuditMessage>"), "A.5.1.1", "text"),
    "name and query": (
        exchanged(QUERY, "<ParticipantObjectQuery>", "<ParticipantObjectName/><ParticipantObjectQuery>"),
        "A.5.1.1",
        "2 times",
    ),
    "a query that is no base64": (exchanged(QUERY, ">AAAA<", ">AAA<"), "A.5.1.1", "base64"),
    "an instance count in words": (
        exchanged(STORED, 'NumberOfInstances="3"', 'NumberOfInstances="x"'),
        "A.5.1.1",
        "number",
    ),
    "an outcome of its own": (
        exchanged(STORED, 'OutcomeIndicator="0"', 'OutcomeIndicator="1"'),
        "A.5.1.1",
        "0, 4, 8, 12",
    ),
    "two requestors": (STORED.replace('UserIsRequestor="false"', 'UserIsRequestor="true"'), "A.5.2", "requestor"),
    "an address that is none": (exchanged(STORED, '"127.0.0.1"', '"300.0.0.1"'), "A.5.2", "300.0.0.1"),
    "a transfer without a patient": (
        without(
            STORED, '<ParticipantObjectIdentification ParticipantObjectID="P1".*?</ParticipantObjectIdentification>'
        ),
        "A.5.3.7",
        "exactly 1 object Patient Number",
    ),
    "a transfer to nobody": (STORED.replace("110152", "110150"), "A.5.3.7", "Destination Role ID (110152)"),
    "a transfer that executes": (
        exchanged(STORED, 'ActionCode="C"', 'ActionCode="E"'),
        "A.5.3.7",
        "C or R or U, not E",
    ),
    "a query without its encoding": (without(QUERY, "<ParticipantObjectDetail[^>]*>"), "A.5.3.10", "TransferSyntax"),
    "a login from nowhere": (
        re.sub(' NetworkAccessPoint[A-Za-z]*="[^"]*"', "", LOGIN),
        "A.5.3.12",
        "NetworkAccessPointID",
    ),
    "a login without a type": (without(LOGIN, "<EventTypeCode[^>]*>"), "A.5.3.12", "110122, 110123, not absent"),
}


@pytest.mark.parametrize("xml, clause, words", BROKEN.values(), ids=BROKEN.keys())
def test_is_told_with_the_clause_that_it_breaks(xml, clause, words):
    found = breaches(xml)
    assert any(finding.clause == f"PS3.15 {clause}" and words in finding.says for finding in found), found


def test_every_event_of_a_5_3_has_its_rule():
    assert sorted(rule.clause for rule in RULES.values()) == sorted(f"A.5.3.{number}" for number in range(1, 16))


def test_no_number_of_remarks_hides_a_breach():
    nameless = '<ParticipantObjectIdentification ParticipantObjectID="x"><ParticipantObjectIDTypeCode csd-code="2" '
    nameless += 'codeSystemName="RFC-3881" originalText="x"/></ParticipantObjectIdentification>'
    verdict = examine_document(
        exchanged(STORED, "</AuditMessage>", nameless * 100 + "</AuditMessage>").encode(), Limits()
    )
    assert not verdict.valid and len(verdict.findings) == MAX_FINDINGS


def test_twenty_thousand_mistakes_take_no_longer_than_as_many_elements():
    mistakes = '<ActiveParticipant UserID="" UserIsRequestor="x"/>' * 19_000
    begun = time.process_time()
    verdict = examine_document(f"<AuditMessage>{mistakes}</AuditMessage>".encode(), Limits())
    assert len(verdict.findings) == MAX_FINDINGS
    assert time.process_time() - begun < 3


def test_messages_of_ihe_transactions_are_valid_and_the_one_from_before_csd_code_is_not():
    folder = shared("vectors", "audit-ipf")
    verdicts = {path.name: examine_document(path.read_bytes(), Limits()) for path in sorted(folder.glob("*.xml"))}
    assert len(verdicts) >= 20
    assert {name for name, verdict in verdicts.items() if not verdict.valid} == {"atna-record-1.xml"}
    assert any("csd-code" in finding.says for finding in verdicts["atna-record-1.xml"].findings)
