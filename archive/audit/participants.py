"""The active participants of an audit message, as the tables of PS3.15 A.5.3 name them.

At most one is the requestor (A.5.2); in a Security Alert nobody is, for those who performed must not be (A.5.3.11). A
person has the roles they had at admission as RoleIDCodes of our own scheme.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from xml.etree.ElementTree import Element

from archive.audit.codes import APPLICATION, DESTINATION, LAUNCHER, LOCAL_SCHEME, SOURCE, Cast, Code
from archive.audit.markup import coded, element

UNKNOWN: Final = "unknown"
_MACHINE_NAME: Final = "1"
_NUMERIC_ADDRESS: Final = "2"


@dataclass(frozen=True, slots=True)
class AuditSource:
    """The reporting system: its AE title and the host it runs on."""

    ae_title: str
    host: str


def participants(cast: Cast, facts: dict[str, Any], source: AuditSource) -> Iterator[Element]:
    """Everybody who takes part, in the order of the table."""
    actor = {name: value for name, value in facts.get("actor", {}).items() if value}
    match cast:
        case Cast.ACTIVITY:
            yield _archive(source, APPLICATION)
            yield from _operator(actor, source, LAUNCHER)
        case Cast.LOG:
            yield from _operator(actor, source)
            yield _archive(source)
        case Cast.ENTRY:
            yield _archive(source)
        case Cast.SENDING:
            yield _archive(source, SOURCE)
            third = _third_party(facts)
            if third:
                yield _peer(third, DESTINATION, requestor=False)
            yield _peer(actor, None if third else DESTINATION, requestor="person" not in actor)
            yield from _person(actor)
        case Cast.RECEIVING:
            yield _peer(actor, SOURCE, requestor="person" not in actor)
            yield _archive(source, DESTINATION)
            yield from _person(actor)
        case Cast.DELETING:
            # Whoever asked for it; the archive where it only does what it was set up to do.
            human = bool(actor.get("person") or actor.get("os_user"))
            if any(actor.get(part) for part in ("node", "ae_title", "address")):
                yield _peer(actor, None, requestor=not human)
            elif not human:
                yield _archive(source)
            yield from _person(actor) if actor.get("person") else _operator(actor, source)
        case Cast.ACCESS:
            yield _archive(source)
            yield _peer(actor, None, requestor="person" not in actor)
            yield from _person(actor)
        case Cast.LOGIN:
            # Both parts of the network access point are mandatory for the one who logs in.
            yield _human(
                actor | {"person": actor.get("person") or facts.get("claimed") or UNKNOWN},
                access_point=actor.get("address") or source.host,
                by_address="address" in actor,
            )
            yield _archive(source)
        case Cast.ALERT:
            yield _archive(source)
            if any(actor.get(part) for part in ("node", "ae_title", "address")):
                yield _peer(actor, None, requestor=False)
            yield from _person(actor, requestor=False)
            yield from _operator(actor, source, requestor=False)


def _third_party(facts: dict[str, Any]) -> dict[str, Any]:
    """Where instances go, as a peer, if that is not who asked for them (C-MOVE)."""
    if not facts.get("destination_node"):
        return {}
    return {
        "node": facts["destination_node"],
        "ae_title": facts.get("destination"),
        "address": facts.get("destination_host"),
    }


def _archive(source: AuditSource, part: Code | None = None) -> Element:
    participant = element(
        "ActiveParticipant",
        UserID=source.host,
        AlternativeUserID=f"AETITLES={source.ae_title}",
        UserIsRequestor="false",
        NetworkAccessPointID=source.host,
        NetworkAccessPointTypeCode=_MACHINE_NAME,
    )
    if part is not None:
        participant.append(coded("RoleIDCode", part))
    return participant


def _peer(actor: dict[str, Any], part: Code | None, *, requestor: bool) -> Element:
    participant = element(
        "ActiveParticipant",
        UserID=actor.get("node") or actor.get("ae_title") or actor.get("address") or UNKNOWN,
        AlternativeUserID=f"AETITLES={actor['ae_title']}" if actor.get("ae_title") else None,
        UserIsRequestor=_boolean(requestor),
        NetworkAccessPointID=actor.get("address"),
        NetworkAccessPointTypeCode=_kind_of(actor["address"]) if actor.get("address") else None,
    )
    if part is not None:
        participant.append(coded("RoleIDCode", part))
    return participant


def _kind_of(address: str) -> str:
    """Peers that connect have numeric addresses; a destination may be registered by its name."""
    try:
        ip_address(address)
    except ValueError:
        return _MACHINE_NAME
    return _NUMERIC_ADDRESS


def _person(actor: dict[str, Any], *, requestor: bool = True) -> Iterator[Element]:
    if actor.get("person"):
        yield _human(actor, access_point=actor.get("address"), by_address="address" in actor, requestor=requestor)


def _operator(
    actor: dict[str, Any], source: AuditSource, part: Code | None = None, *, requestor: bool = True
) -> Iterator[Element]:
    """A user of the operating system, at the archive's own host."""
    if actor.get("os_user"):
        participant = _human(
            {"person": actor["os_user"]}, access_point=source.host, by_address=False, requestor=requestor
        )
        if part is not None:
            participant.append(coded("RoleIDCode", part))
        yield participant


def _human(actor: dict[str, Any], *, access_point: str | None, by_address: bool, requestor: bool = True) -> Element:
    participant = element(
        "ActiveParticipant",
        UserID=actor["person"],
        UserName=_name(actor),
        UserIsRequestor=_boolean(requestor),
        NetworkAccessPointID=access_point,
        NetworkAccessPointTypeCode=(_NUMERIC_ADDRESS if by_address else _MACHINE_NAME) if access_point else None,
    )
    for role in actor.get("roles", ()):
        participant.append(coded("RoleIDCode", Code(role, role, LOCAL_SCHEME)))
    return participant


def _name(actor: dict[str, Any]) -> str | None:
    """The person as people call them, the organization in parentheses."""
    name, organization = actor.get("display_name"), actor.get("organization")
    if organization:
        return f"{name or actor['person']} ({organization})"
    return name


def _boolean(value: bool) -> str:
    return "true" if value else "false"
