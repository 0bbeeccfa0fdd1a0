"""The audit message of PS3.15 A.5 (edition 2020c), rendered from a record of the trail.

Element order is significant in the schema (A.5.1): event, participants, source, objects. Every object carries a name or
a query, never both (A.5.1.1). ``config/schemas/audit-message.rnc`` says what comes out of here, and
docs/audit-messages.md which story causes which message.
"""

from collections.abc import Iterator
from typing import Any, Final
from xml.etree.ElementTree import Element, SubElement, tostring

from archive.audit.codes import (
    CODES,
    LOCAL_SCHEME,
    NODE_ID,
    PATIENT_NUMBER,
    SOP_CLASS_UID,
    STUDY_INSTANCE_UID,
    URI,
    Cast,
    Code,
    EventShape,
)
from archive.audit.markup import coded, detail, element, text_in
from archive.audit.participants import UNKNOWN, AuditSource, participants
from archive.audit.trail_format import TrailRecord

__all__ = ["AuditSource", "render"]

_APPLICATION_SERVER: Final = "4"
_PERSON, _SYSTEM_OBJECT = "1", "2"
_PATIENT, _REPORT, _SECURITY_RESOURCE = "1", "3", "13"
_Facts = dict[str, Any]


def render(record: TrailRecord, source: AuditSource) -> str:
    """The audit message of one record, as XML text without a declaration."""
    shape, facts = CODES[record.kind], record.facts
    message = Element("AuditMessage")
    message.append(_event(shape, facts, record.time))
    message.extend(participants(shape.cast, facts, source))
    audit_source = element("AuditSourceIdentification", AuditSourceID=source.ae_title)
    SubElement(audit_source, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    message.append(audit_source)
    message.extend(_objects(record.kind, shape, facts, source))
    return tostring(message, encoding="unicode")


def _event(shape: EventShape, facts: _Facts, time: str) -> Element:
    event = element(
        "EventIdentification",
        EventActionCode=shape.action_of(facts),
        EventDateTime=time,
        EventOutcomeIndicator=facts.get("outcome", 0),
    )
    event.append(coded("EventID", shape.event))
    event_type = shape.event_type(facts)
    if event_type is not None:
        event.append(coded("EventTypeCode", event_type))
    said = (facts.get("reason"), _labelled(facts), _whereabouts(shape, facts), _repeated(facts))
    described = [text for text in said if text]
    if described:
        text_in(event, "EventOutcomeDescription", "; ".join(described))
    purpose = facts.get("actor", {}).get("purpose_of_use")
    if purpose:
        # Of IHE (ITI-20), where receivers look for it; DICOM has no place of its own.
        event.append(coded("PurposeOfUse", Code(purpose, purpose, LOCAL_SCHEME)))
    return event


def _whereabouts(shape: EventShape, facts: _Facts) -> str | None:
    """The peer that a login came from: the table has no participant for it (A.5.3.12)."""
    node = facts.get("actor", {}).get("node")
    return f"at node {node}" if shape.cast is Cast.LOGIN and node else None


def _labelled(facts: _Facts) -> str | None:
    """Labels that a study was given with an object."""
    return f"the study is labelled {', '.join(facts['labels'])}" if facts.get("labels") else None


def _repeated(facts: _Facts) -> str | None:
    """Of a record that stands for many: how many, from when to when."""
    many = facts.get("repeated")
    if not many:
        return None
    return f"{many['count']} times from {many['first']} to {many['last']}, sources: {many['sources']}"


def _objects(kind: str, shape: EventShape, facts: _Facts, source: AuditSource) -> Iterator[Element]:
    if kind == "query-performed":
        yield _query(facts)
    elif shape.cast is Cast.LOG:
        log = _object(f"urn:strongroom:{source.ae_title}:trail", _SYSTEM_OBJECT, _SECURITY_RESOURCE, URI)
        text_in(log, "ParticipantObjectName", "Security Audit Log")
        if facts.get("checkpoint"):
            log.append(detail("Checkpoint", facts["checkpoint"]))
        yield log
    elif shape.cast is Cast.ALERT:
        yield _alerted(facts, source)
    elif shape.cast in (Cast.SENDING, Cast.RECEIVING, Cast.ACCESS, Cast.DELETING):
        # Transfers, accesses and deletions: their studies, then the one patient.
        studies = facts.get("studies") or [facts.get("study") or {}]
        for study in studies:
            yield _study(study, facts.get("sop_instance_uid"))
        yield _patient(studies[0])


def _study(study: _Facts, instance: str | None) -> Element:
    found = _object(study.get("study_uid") or UNKNOWN, _SYSTEM_OBJECT, _REPORT, STUDY_INSTANCE_UID)
    text_in(found, "ParticipantObjectName", study.get("study_uid") or UNKNOWN)
    description = Element("ParticipantObjectDescription")
    if study.get("accession_number"):
        description.append(element("Accession", Number=study["accession_number"]))
    for sop_class, count in (study.get("sop_classes") or {}).items():
        counted = element("SOPClass", UID=sop_class, NumberOfInstances=count)
        if instance:
            counted.append(element("Instance", UID=instance))
        description.append(counted)
    if len(description):
        found.append(description)
    return found


def _patient(study: _Facts) -> Element:
    found = _object(study.get("patient_id") or UNKNOWN, _PERSON, _PATIENT, PATIENT_NUMBER)
    text_in(found, "ParticipantObjectName", study.get("patient_name") or UNKNOWN)
    return found


def _query(facts: _Facts) -> Element:
    found = _object(facts.get("sop_class_uid", ""), _SYSTEM_OBJECT, _REPORT, SOP_CLASS_UID)
    text_in(found, "ParticipantObjectQuery", facts.get("identifier", ""))
    found.append(detail("TransferSyntax", facts.get("transfer_syntax", "")))
    return found


def _alerted(facts: _Facts, source: AuditSource) -> Element:
    """What an alert is about: a study where one is known, else the peer, else the archive itself (A.5.3.11)."""
    actor = facts.get("actor", {})
    if facts.get("study_uid"):
        subject, kind = f"urn:oid:{facts['study_uid']}", URI
    else:
        subject = actor.get("node") or actor.get("ae_title") or actor.get("address") or source.ae_title
        kind = NODE_ID
    found = _object(subject, _SYSTEM_OBJECT, _SECURITY_RESOURCE, kind)
    text_in(found, "ParticipantObjectName", subject)
    said = [facts.get(name) for name in ("description", "action", "certificate", "reason")]
    found.append(detail("Alert Description", "; ".join(text for text in said if text) or "as its type says"))
    return found


def _object(identifier: str, type_code: str, role_code: str, id_type: Code) -> Element:
    found = element(
        "ParticipantObjectIdentification",
        ParticipantObjectID=identifier,
        ParticipantObjectTypeCode=type_code,
        ParticipantObjectTypeCodeRole=role_code,
    )
    found.append(coded("ParticipantObjectIDTypeCode", id_type))
    return found
