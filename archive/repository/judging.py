"""A message that fits the schema, held against the rules of its event (PS3.15 A.5.2 and A.5.3)."""

import ipaddress
from collections.abc import Iterator
from typing import Final
from xml.etree.ElementTree import Element

from archive.repository.findings import Finding, Weight
from archive.repository.rules import RULES, STUDY, EventRule, object_name, role_name

_TRUE: Final = ("true", "1")
_DEVELOPERS: Final = "DCM"
_TRANSACTIONS: Final = "IHE Transactions"
_IP_ADDRESS: Final = "2"


def code_of(element: Element | None) -> str:
    """The code of a coded value; empty without one."""
    return element.get("csd-code", "") if element is not None else ""


def judge(message: Element) -> Iterator[Finding]:
    """Every rule that the message breaks."""
    yield from _conventions(message)
    event = message.find("EventIdentification/EventID")
    rule = RULES.get(code_of(event)) if event is not None and event.get("codeSystemName") == _DEVELOPERS else None
    if rule is None:
        says = f"EventID {code_of(event)!r:.40} is no audit event of PS3.16 CID 400: its rules are not known here"
        yield Finding("PS3.15 A.5.3", says, weight=Weight.REMARK)
        return
    foreign = any(code.get("codeSystemName") == _TRANSACTIONS for code in message.iter("EventTypeCode"))
    yield from _event(message, rule, foreign=foreign)
    if not foreign:
        yield from _participants(message, rule)
        yield from _objects(message, rule)


def _conventions(message: Element) -> Iterator[Finding]:
    """A.5.2: what holds for every message."""
    participants = message.findall("ActiveParticipant")
    requestors = sum(participant.get("UserIsRequestor") in _TRUE for participant in participants)
    if requestors > 1:
        says = f"{requestors} participants are the requestor: one is, or nobody where that is not known"
        yield Finding("PS3.15 A.5.2", says)
    for number, participant in enumerate(participants, 1):
        where, address = f"ActiveParticipant[{number}]", participant.get("NetworkAccessPointID", "")
        if not participant.get("UserID"):
            yield Finding("PS3.15 A.5.2.1", "UserID is empty", where, Weight.REMARK)
        if participant.get("NetworkAccessPointTypeCode") == _IP_ADDRESS and not _is_address(address):
            yield Finding("PS3.15 A.5.2", f"NetworkAccessPointID {address!r:.60} is no IP address", where)
    for number, found in enumerate(message.findall("ParticipantObjectIdentification"), 1):
        where = f"ParticipantObjectIdentification[{number}]"
        if found.find("ParticipantObjectName") is None and found.find("ParticipantObjectQuery") is None:
            says = "there is neither ParticipantObjectName nor ParticipantObjectQuery; DICOM's schema demands one"
            yield Finding("PS3.15 A.5.1.1", says, where, Weight.REMARK)
        if _kind(found) == STUDY and any(
            len(description) and description.find("SOPClass") is None
            for description in found.findall("ParticipantObjectDescription")
        ):
            says = "a study that is described names its SOP classes"
            yield Finding("PS3.15 A.5.2", says, where, Weight.REMARK)


def _event(message: Element, rule: EventRule, *, foreign: bool) -> Iterator[Finding]:
    action = message.find("EventIdentification")
    given = action.get("EventActionCode") if action is not None else None
    if (given is None or given not in rule.actions) and not (foreign and given is not None):
        says = f"EventActionCode of {rule.name} is {' or '.join(rule.actions)}, not {given or 'absent'}"
        yield _broken(rule, says, "EventIdentification")
    types = [code_of(code) for code in message.findall("EventIdentification/EventTypeCode")]
    if rule.types and rule.types.isdisjoint(types) and not foreign:
        says = f"EventTypeCode of {rule.name} is one of {', '.join(sorted(rule.types))}, not {_listed(types)}"
        yield _broken(rule, says, "EventIdentification")


def _participants(message: Element, rule: EventRule) -> Iterator[Finding]:
    participants = message.findall("ActiveParticipant")
    for count in rule.roles:
        found = sum(_has_role(participant, count.of) for participant in participants)
        if not count.wants(found):
            says = f"{rule.name} has {count.in_words()} participant in the role {role_name(count.of)}, not {found}"
            yield _broken(rule, says)
    for number, participant in enumerate(participants, 1):
        where = f"ActiveParticipant[{number}]"
        if rule.media and _has_role(participant, rule.media):
            if participant.get("UserIsRequestor") in _TRUE:
                yield _broken(rule, f"{role_name(rule.media)} is never the requestor", where)
            if participant.find("MediaIdentifier") is None:
                yield _broken(rule, f"{role_name(rule.media)} has no MediaIdentifier", where)
    if rule.access_point and not any(
        participant.get("NetworkAccessPointID") and participant.get("NetworkAccessPointTypeCode")
        for participant in participants
    ):
        says = "who logs in has a NetworkAccessPointID and its type: nobody here does"
        yield _broken(rule, says)


def _objects(message: Element, rule: EventRule) -> Iterator[Finding]:
    objects = message.findall("ParticipantObjectIdentification")
    for count in rule.objects:
        found = sum(_kind(one) == count.of for one in objects)
        if not count.wants(found):
            yield _broken(rule, f"{rule.name} has {count.in_words()} object {object_name(count.of)}, not {found}")
    for number, one in enumerate(objects, 1):
        kind, where = _kind(one), f"ParticipantObjectIdentification[{number}]"
        if rule.only is not None and kind not in rule.only:
            yield _broken(rule, f"{rule.name} has no object {object_name(kind)}", where)
        if kind == rule.queries and one.find("ParticipantObjectQuery") is None:
            yield _broken(rule, "the identifier of the query is missing: ParticipantObjectQuery", where)
        present = {detail.get("type") for detail in one.findall("ParticipantObjectDetail")}
        for of, detail in rule.details:
            if kind == of and detail not in present:
                yield _broken(rule, f'a ParticipantObjectDetail of type "{detail}" is missing', where)


def _kind(found: Element) -> str:
    return code_of(found.find("ParticipantObjectIDTypeCode"))


def _has_role(participant: Element, role: str) -> bool:
    return any(code_of(code) == role for code in participant.findall("RoleIDCode"))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _listed(codes: list[str]) -> str:
    return ", ".join(repr(code[:40]) for code in codes[:5]) or "absent"


def _broken(rule: EventRule, says: str, where: str = "") -> Finding:
    return Finding(f"PS3.15 {rule.clause}", says, where)
