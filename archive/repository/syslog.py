"""One syslog message (RFC 5424 6) as audit wants it (PS3.15 A.6; IHE ITI-20 3.20.4.1.2): header, then XML in UTF-8."""

import re
from dataclasses import dataclass
from typing import Final

from archive.repository.findings import Finding, Weight

# Possessive throughout: whatever a sender writes is looked at once.
_HEADER: Final = re.compile(
    rb"<(?P<priority>0|[1-9]\d{0,2})>(?P<version>[1-9]\d{0,2}) "
    rb"(?P<time>-|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)) "
    rb"(?P<host>[\x21-\x7e]{1,255}+) (?P<application>[\x21-\x7e]{1,48}+) (?P<process>[\x21-\x7e]{1,128}+) "
    rb"(?P<message_id>[\x21-\x7e]{1,32}+) "
    rb'(?P<data>-|(?:\[[!#-<>-\\^-~]{1,32}+(?: [!#-<>-\\^-~]{1,32}+="(?:[^"\\\]]|\\.)*+")*+\])++)(?: |$)',
    re.DOTALL,
)
_PRIORITIES: Final = ("84", "85")
"""Facility 10 (security), severity 4 (warning) or 5 (notice)."""
_MESSAGE_IDS: Final = ("IHE+RFC-3881", "DICOM+RFC3881")
_BOM: Final = b"\xef\xbb\xbf"
_XML_BEGINS: Final = re.compile(rb"<\?xml|<AuditMessage")


@dataclass(frozen=True, slots=True)
class SyslogMessage:
    """The parts of a syslog message; empty where its header is none."""

    body: bytes
    """The audit message, without a byte order mark."""
    time: str = ""
    host: str = ""
    application: str = ""
    process: str = ""
    message_id: str = ""
    findings: tuple[Finding, ...] = ()


def parse_syslog(data: bytes) -> SyslogMessage:
    """Take a syslog message apart. Nothing is refused: what is wrong is told in ``findings``."""
    header = _HEADER.match(data)
    if header is None:
        found = _XML_BEGINS.search(data)
        says = "the message has no syslog header of version 1: <PRI>1 TIME HOST APP-NAME PROCID MSGID STRUCTURED-DATA"
        return SyslogMessage(data[found.start() :] if found else b"", findings=(Finding("RFC 5424 6", says),))
    field = {name: value.decode("ascii") for name, value in header.groupdict().items() if name != "data"}
    body = data[header.end() :]
    return SyslogMessage(
        body.removeprefix(_BOM),
        field["time"],
        field["host"],
        field["application"],
        field["process"],
        field["message_id"],
        tuple(_findings(field, marked=body.startswith(_BOM))),
    )


def _findings(field: dict[str, str], *, marked: bool) -> list[Finding]:
    found = []
    if field["version"] != "1":
        found.append(Finding("RFC 5424 6.2.2", f"VERSION is {field['version']}, not 1"))
    if field["priority"] not in _PRIORITIES:
        says = f"PRI is {field['priority']}: facility 10 with severity 5 or 4 makes 85 or 84"
        found.append(Finding("PS3.15 A.6", says, weight=Weight.REMARK))
    if field["message_id"] not in _MESSAGE_IDS:
        says = f"MSGID is {field['message_id']}, not IHE+RFC-3881"
        found.append(Finding("ITI-20 3.20.4.1.2.1", says, weight=Weight.REMARK))
    if marked:
        says = "a byte order mark before the XML is allowed and discouraged"
        found.append(Finding("ITI-20 3.20.4.1.2.1", says, weight=Weight.REMARK))
    return found
