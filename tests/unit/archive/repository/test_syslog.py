"""RFC 5424 as PS3.15 A.6 and ITI-20 use it."""

import time

import pytest

from archive.audit.forward.syslog import Header, frame
from archive.repository.findings import Weight
from archive.repository.frames import OctetCounting
from archive.repository.syslog import parse_syslog
from tests.simulators.audit_sender import HEADER


def said(data):
    return [finding.says for finding in parse_syslog(data).findings]


def test_a_message_as_ihe_wants_it_has_nothing_to_remark():
    message = parse_syslog(HEADER + b"<AuditMessage/>")
    assert (message.body, message.host, message.application, message.process) == (
        b"<AuditMessage/>",
        "host",
        "app",
        "17",
    )
    assert message.findings == ()


@pytest.mark.parametrize(
    "data, word",
    [
        (b"<13>1 - h a p IHE+RFC-3881 - <x/>", "PRI is 13"),
        (b"<85>1 - h a p OTHER - <x/>", "MSGID is OTHER"),
        (b"<85>1 - h a p DICOM+RFC3881 - \xef\xbb\xbf<x/>", "byte order mark"),
    ],
)
def test_what_is_discouraged_is_remarked_and_the_xml_is_read(data, word):
    (finding,) = parse_syslog(data).findings
    assert word in finding.says and finding.weight is Weight.REMARK
    assert parse_syslog(data).body == b"<x/>"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<AuditMessage/>",
        b"<34>Oct 11 22:14:15 host su: <AuditMessage/>",
        b"<999>1 - h a",
        b"<85>1 - \xff a p m - x",
    ],
)
def test_without_a_header_of_rfc_5424_it_is_told_so(data):
    assert "no syslog header" in said(data)[0] or "PRI" in said(data)[0]


def test_an_old_header_still_gives_up_its_xml():
    assert parse_syslog(b"<85>Oct 11 22:14:15 host app: <AuditMessage/>").body == b"<AuditMessage/>"


def test_structured_data_is_stepped_over():
    assert parse_syslog(b'<85>1 - h a p IHE+RFC-3881 [a@1 b="x\\]y" c=""][d@1] <x/>').body == b"<x/>"


def test_a_header_made_to_keep_a_parser_busy_does_not():
    begun = time.monotonic()
    parse_syslog(b"<85>1 - h a p m [a" + b' b="' * 200_000)
    parse_syslog(b"<85>1 - h a p m " + b"[a]" * 200_000)
    assert time.monotonic() - begun < 1


def test_what_our_own_forwarder_sends_has_nothing_to_remark():
    sent = Header("archive.example", 17, "IHE+RFC-3881").message("2026-01-01T10:00:00.000+00:00", "<AuditMessage/>")
    (received,) = OctetCounting(32_768).feed(frame(sent))
    assert parse_syslog(received).findings == () and parse_syslog(received).body == b"<AuditMessage/>"
