"""The audit message of PS3.15 A.5, rendered from a record of the trail.

Element order is significant in the schema (A.5.1): event, participants, source, objects. Every coded value carries
csd-code, codeSystemName and originalText; every object carries a name or a query, never both (A.5.1.1).
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree

from archive.audit.codes import CODES, Code, object_id, role
from archive.audit.trail_format import TrailRecord

_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot carry, escaped or not."""
_NUMERIC_ADDRESS: Final = "2"
_MACHINE_NAME: Final = "1"
_APPLICATION_SERVER: Final = "4"
_Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AuditSource:
    """The reporting system: its AE title and the host it runs on."""

    ae_title: str
    host: str


def render(record: TrailRecord, source: AuditSource) -> str:
    """The audit message of one record, as XML text without a declaration."""
    shape = CODES[record.kind]
    facts = record.facts
    event = _element(
        "EventIdentification",
        EventActionCode=shape.action,
        EventDateTime=record.time,
        EventOutcomeIndicator=facts.get("outcome", 0),
    )
    event.append(_coded("EventID", shape.event))
    event_type = shape.event_type(facts)
    if event_type is not None:
        event.append(_coded("EventTypeCode", event_type))
    if facts.get("reason"):
        description = ElementTree.SubElement(event, "EventOutcomeDescription")
        description.text = _clean(facts["reason"])

    message = ElementTree.Element("AuditMessage")
    message.append(event)
    message.extend(_participants(record.kind, facts, source))
    audit_source = _element("AuditSourceIdentification", AuditSourceID=source.ae_title)
    ElementTree.SubElement(audit_source, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    message.append(audit_source)
    message.extend(_objects(record.kind, facts, source))
    return ElementTree.tostring(message, encoding="unicode")


def _participants(kind: str, facts: _Facts, source: AuditSource) -> Iterator[ElementTree.Element]:
    actor = facts.get("actor", {})
    sending = kind in {"transfer-begun", "instances-transferred"}
    asking = kind == "query-performed"
    exchange = sending or asking or kind == "instance-stored"
    yield _archive(source, "destination" if asking or kind == "instance-stored" else "source" if sending else None)
    if exchange:
        yield _peer(actor, "destination" if sending else "source", requestor=actor.get("person") is None)
    elif actor.get("ae_title") or actor.get("node") or (actor.get("address") and not actor.get("person")):
        yield _peer(actor, None, requestor=actor.get("person") is None and kind != "user-authenticated")
    person = (
        actor.get("person") or actor.get("os_user") or (facts.get("claimed") if kind == "user-authenticated" else "")
    )
    if person or kind == "user-authenticated":
        yield _element(
            "ActiveParticipant",
            UserID=person or "unknown",
            UserIsRequestor="true",
            NetworkAccessPointID=actor.get("address") or (source.host if actor.get("os_user") else None),
            NetworkAccessPointTypeCode=(
                _NUMERIC_ADDRESS if actor.get("address") else _MACHINE_NAME if actor.get("os_user") else None
            ),
        )


def _archive(source: AuditSource, part: str | None) -> ElementTree.Element:
    participant = _element(
        "ActiveParticipant",
        UserID=source.host,
        AlternativeUserID=f"AETITLES={source.ae_title}",
        UserIsRequestor="false",
        NetworkAccessPointID=source.host,
        NetworkAccessPointTypeCode=_MACHINE_NAME,
    )
    participant.append(_coded("RoleIDCode", role(part)))
    return participant


def _peer(actor: _Facts, part: str | None, *, requestor: bool) -> ElementTree.Element:
    participant = _element(
        "ActiveParticipant",
        UserID=actor.get("node") or actor.get("ae_title") or actor.get("address") or "unknown",
        AlternativeUserID=f"AETITLES={actor['ae_title']}" if actor.get("ae_title") else None,
        UserIsRequestor="true" if requestor else "false",
        NetworkAccessPointID=actor.get("address"),
        NetworkAccessPointTypeCode=_NUMERIC_ADDRESS if actor.get("address") else None,
    )
    if part is not None:
        participant.append(_coded("RoleIDCode", role(part)))
    return participant


def _objects(kind: str, facts: _Facts, source: AuditSource) -> Iterator[ElementTree.Element]:
    studies = facts.get("studies") or ([facts["study"]] if facts.get("study") else [])
    for study in studies:
        yield _study(study, facts.get("sop_instance_uid"))
    if studies:
        yield _patient(studies[0])
    if kind == "query-performed":
        yield _query(facts)
    if kind in {"security-alert", "access-refused", "configuration-changed", "node-refused", "node-authenticated"}:
        yield _alerted(facts, source)
    if kind in {"audit-log-used", "trail-checkpointed"}:
        log = _object(f"urn:strongroom:{source.ae_title}:trail", "2", "13", object_id("URI"))
        _named(log, "Security Audit Log")
        if facts.get("checkpoint"):
            log.append(_detail("Checkpoint", facts["checkpoint"]))
        yield log


def _study(study: _Facts, instance: str | None) -> ElementTree.Element:
    element = _object(study.get("study_uid", ""), "2", "3", object_id("Study Instance UID"))
    _named(element, study.get("study_uid", ""))
    description = ElementTree.SubElement(element, "ParticipantObjectDescription")
    if study.get("accession_number"):
        description.append(_element("Accession", Number=study["accession_number"]))
    for sop_class, count in (study.get("sop_classes") or {}).items():
        counted = _element("SOPClass", UID=sop_class, NumberOfInstances=count)
        if instance:
            counted.append(_element("Instance", UID=instance))
        description.append(counted)
    return element


def _patient(study: _Facts) -> ElementTree.Element:
    element = _object(study.get("patient_id") or "unknown", "1", "1", object_id("Patient Number"))
    _named(element, study.get("patient_name") or "unknown")
    return element


def _query(facts: _Facts) -> ElementTree.Element:
    element = _object(facts.get("sop_class_uid", ""), "2", "3", object_id("SOP Class UID"))
    query = ElementTree.SubElement(element, "ParticipantObjectQuery")
    query.text = facts.get("identifier", "")
    element.append(_detail("TransferSyntax", facts.get("transfer_syntax", "")))
    return element


def _alerted(facts: _Facts, source: AuditSource) -> ElementTree.Element:
    node = facts.get("actor", {}).get("node") or source.ae_title
    element = _object(node, "2", "13", object_id("Node ID"))
    _named(element, node)
    said = [facts.get(name) for name in ("description", "action", "study_uid", "certificate", "reason")]
    element.append(
        _detail("Alert Description", "; ".join(_clean(text) for text in said if text) or "node authentication")
    )
    return element


def _object(identifier: str, type_code: str, role_code: str, id_type: Code) -> ElementTree.Element:
    element = _element(
        "ParticipantObjectIdentification",
        ParticipantObjectID=identifier,
        ParticipantObjectTypeCode=type_code,
        ParticipantObjectTypeCodeRole=role_code,
    )
    element.append(_coded("ParticipantObjectIDTypeCode", id_type))
    return element


def _named(element: ElementTree.Element, name: str) -> None:
    ElementTree.SubElement(element, "ParticipantObjectName").text = _clean(name)


def _detail(kind: str, value: str) -> ElementTree.Element:
    encoded = base64.b64encode(value.encode("utf-8", "replace")).decode("ascii")
    return _element("ParticipantObjectDetail", type=kind, value=encoded)


def _coded(name: str, code: Code) -> ElementTree.Element:
    return ElementTree.Element(
        name, {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning}
    )


def _element(name: str, **attributes: Any) -> ElementTree.Element:
    present = {key: _clean(str(value)) for key, value in attributes.items() if value is not None}
    return ElementTree.Element(name, present)


def _clean(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)
