"""An audit message as a FHIR R4 AuditEvent, the resource that IHE BALP and the FHIR feed of ITI-20 speak of. Pure.

FHIR maps every element of AuditEvent to one of the audit message of PS3.15 A.5; so the message is translated, not the
record, and both say the same of every event.
"""

import base64
import binascii
from typing import Any, Final
from xml.etree import ElementTree

_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_SYSTEMS: Final = {"DCM": _DCM, "RFC-3881": "urn:ietf:rfc:3881"}
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem/"
_STUDY, _SOP_CLASS = "110180", "110181"
_Json = dict[str, Any]


def audit_event(xml: str) -> _Json:
    """The AuditEvent of one message of `archive.audit.message`."""
    message = ElementTree.fromstring(xml)  # noqa: S314  (our own, rendered a moment ago)
    event = _child(message, "EventIdentification")
    source = _child(message, "AuditSourceIdentification")
    return _present(
        {
            "resourceType": "AuditEvent",
            "type": _coding(_child(event, "EventID")),
            "subtype": [_coding(code) for code in event.findall("EventTypeCode")],
            "action": event.get("EventActionCode"),
            "recorded": event.get("EventDateTime"),
            "outcome": event.get("EventOutcomeIndicator"),
            "outcomeDesc": event.findtext("EventOutcomeDescription"),
            "purposeOfEvent": [_concept(code) for code in event.findall("PurposeOfUse")],
            "agent": [_agent(participant) for participant in message.findall("ActiveParticipant")],
            "source": _source(source),
            "entity": [_entity(element) for element in message.findall("ParticipantObjectIdentification")],
        }
    )


def _agent(participant: ElementTree.Element) -> _Json:
    roles = participant.findall("RoleIDCode")
    network = {
        "address": participant.get("NetworkAccessPointID"),
        "type": participant.get("NetworkAccessPointTypeCode"),
    }
    return _present(
        {
            "type": _concept(roles[0]) if roles else None,
            "role": [_concept(role) for role in roles[1:]],
            "who": {"identifier": {"value": participant.get("UserID")}},
            "altId": participant.get("AlternativeUserID"),
            "name": participant.get("UserName"),
            "requestor": participant.get("UserIsRequestor") == "true",
            "network": _present(network),
        }
    )


def _source(source: ElementTree.Element) -> _Json:
    types = (element.get("csd-code") for element in source.findall("AuditSourceTypeCode"))
    return _present(
        {
            "site": source.get("AuditEnterpriseSiteID"),
            "observer": {"identifier": {"value": source.get("AuditSourceID")}},
            "type": [{"system": f"{_TERMINOLOGY}security-source-type", "code": code} for code in types],
        }
    )


def _entity(element: ElementTree.Element) -> _Json:
    return _present(
        {
            "what": {"identifier": _identifier(element)},
            "type": _numbered("audit-entity-type", element.get("ParticipantObjectTypeCode")),
            "role": _numbered("object-role", element.get("ParticipantObjectTypeCodeRole")),
            "lifecycle": _numbered("dicom-audit-lifecycle", element.get("ParticipantObjectDataLifeCycle")),
            "name": element.findtext("ParticipantObjectName"),
            "query": element.findtext("ParticipantObjectQuery"),
            "detail": [*map(_detail, element.findall("ParticipantObjectDetail")), *_described(element)],
        }
    )


def _identifier(element: ElementTree.Element) -> _Json:
    kind = _child(element, "ParticipantObjectIDTypeCode")
    value = element.get("ParticipantObjectID", "")
    identifier: _Json = {"type": _concept(kind), "value": value}
    if kind.get("csd-code") in (_STUDY, _SOP_CLASS) and value:
        identifier |= {"system": "urn:dicom:uid", "value": f"urn:oid:{value}"}
    return _present(identifier)


def _detail(element: ElementTree.Element) -> _Json:
    value = element.get("value", "")
    try:
        text = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return {"type": element.get("type"), "valueBase64Binary": value}
    return {"type": element.get("type"), "valueString": text or " "}


def _described(element: ElementTree.Element) -> list[_Json]:
    """What ParticipantObjectDescription says of a study, as details: FHIR has no place of its own for it."""
    found: list[tuple[str, str | None]] = []
    for description in element.findall("ParticipantObjectDescription"):
        found += [("Accession Number", accession.get("Number")) for accession in description.findall("Accession")]
        for sop_class in description.findall("SOPClass"):
            found.append(("SOP Class UID", sop_class.get("UID")))
            found.append(("Number of Instances", sop_class.get("NumberOfInstances")))
            found += [("SOP Instance UID", instance.get("UID")) for instance in sop_class.findall("Instance")]
        found += [(flag, description.findtext(flag)) for flag in ("Encrypted", "Anonymized")]
    return [{"type": kind, "valueString": value} for kind, value in found if value]


def _coding(element: ElementTree.Element) -> _Json:
    scheme = element.get("codeSystemName", "")
    meaning = element.get("displayName") or element.get("originalText")
    return _present(
        {"system": _SYSTEMS.get(scheme, f"urn:{scheme}"), "code": element.get("csd-code"), "display": meaning}
    )


def _concept(element: ElementTree.Element) -> _Json:
    return {"coding": [_coding(element)]}


def _numbered(system: str, code: str | None) -> _Json | None:
    return {"system": f"{_TERMINOLOGY}{system}", "code": code} if code else None


def _child(element: ElementTree.Element, name: str) -> ElementTree.Element:
    child = element.find(name)
    if child is None:
        raise LookupError(f"an audit message has no {name}")
    return child


def _present(fields: _Json) -> _Json:
    """Without what is empty: FHIR knows no empty value."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
