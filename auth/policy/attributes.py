"""How subjects, circumstances and studies look to Cedar: entities and context as its JSON, and nothing else.

The names here are those of ``schema.cedarschema``. A test loads the shipped schema and compares.
"""

import json
import unicodedata
from collections.abc import Callable, Mapping
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final, Literal, TypeAlias

from auth.policy.model import AccessRequest, Action
from auth.principal import NodeIdentity, Principal

Kind: TypeAlias = Literal["string", "long", "set"]

STUDY_ATTRIBUTES: Final[Mapping[str, Kind]] = {
    "study_uid": "string",
    "patient_id": "string",
    "study_date": "long",
    "institution": "string",
    "department": "string",
    "station": "string",
    "referring_physician": "string",
    "performing_physicians": "set",
    "modalities": "set",
    "body_parts": "set",
    "labels": "set",
}
"""Every attribute of a study that a policy can read; sets and ``study_uid`` are always there, others may be absent."""

OBJECT_ATTRIBUTES: Final[Mapping[str, Kind]] = {
    **{name: kind for name, kind in STUDY_ATTRIBUTES.items() if name != "labels"},
    "sop_class": "string",
    "protocol": "string",
    "study_description": "string",
    "series_description": "string",
    "manufacturer": "string",
    "model": "string",
}
"""Every attribute of an arriving object that a label rule can read; ``sop_class`` is always there, too."""
PROBE_VALUES: Final[Mapping[Kind, object]] = {"string": "", "long": 0, "set": [""]}
"""One of each kind, to try a schema with."""

ALWAYS_PRESENT: Final = frozenset({"study_uid"} | {name for name, kind in STUDY_ATTRIBUTES.items() if kind == "set"})
STUDY: Final = "Study"
OBJECT: Final = "Object"
ARCHIVE: Final = {"type": "Archive", "id": "archive"}
ABOUT_THE_ARCHIVE: Final = frozenset(
    {Action.ASSOCIATE, Action.ECHO, Action.ADMINISTER, Action.BREAK_GLASS}
    | {Action.STORE_NON_PATIENT, Action.READ_NON_PATIENT, Action.RECEIVE_NON_PATIENT}
)
"""Actions whose resource is the archive itself; every other acts on a study."""

CLOCK: Final = ("date", "time", "weekday")
"""Circumstances that change while an association lasts; what reads them is decided anew each minute."""
PURPOSE: Final = "purpose_of_use"
"""The attribute of a person that is also the purpose of the request."""

EntityUid: TypeAlias = dict[str, str]
"""``{"type": ..., "id": ...}``"""


def person_uid(principal: Principal) -> EntityUid:
    """The Cedar entity of a person."""
    return {"type": "User", "id": principal.name}


def node_uid(node: NodeIdentity) -> EntityUid:
    """The Cedar entity of a node."""
    return {"type": "Node", "id": node.name}


def subject_entities(
    node: NodeIdentity,
    principal: Principal | None,
    readable: Callable[[str], bool],
    destination: NodeIdentity | None = None,
) -> list[dict[str, Any]]:
    """Nodes and person as Cedar entities, roles as parents.

    ``readable`` says which attributes of a person the schema declares; the others are unknown to every policy.
    """
    nodes = {known.name: known for known in (destination, node) if known is not None}
    entities = [{"uid": node_uid(known), "attrs": {}, "parents": _roles(known.roles)} for known in nodes.values()]
    if principal is not None:
        attributes = {name: value for name, value in principal.attributes.items() if readable(name)}
        entities.append(
            {"uid": person_uid(principal), "attrs": {"attributes": attributes}, "parents": _roles(principal.roles)}
        )
    return entities


def study_entity(study_uid: str, attributes: Mapping[str, object]) -> dict[str, Any]:
    """A study as a Cedar entity; attributes without a value are left out, sets are ordered."""
    return _entity(STUDY, study_uid, attributes)


def object_entity(attributes: Mapping[str, object]) -> dict[str, Any]:
    """An object that arrives, likewise; which one it is no label rule can ask."""
    return _entity(OBJECT, "arriving", attributes)


def _entity(kind: str, identifier: str, attributes: Mapping[str, object]) -> dict[str, Any]:
    shown = {
        name: sorted(value) if isinstance(value, frozenset | set) else value
        for name, value in attributes.items()
        if value is not None
    }
    return {"uid": {"type": kind, "id": identifier}, "attrs": shown, "parents": []}


def circumstances(request: AccessRequest) -> dict[str, Any]:
    """The Cedar context of a request."""
    assurance = request.assurance
    context: dict[str, Any] = {
        "node": {"__entity": node_uid(request.node)},
        "tls": assurance.tls,
        "trust": request.node.trust.value,
        "break_glass": request.break_glass,
    }
    if request.principal is not None:
        context["person"] = {"__entity": person_uid(request.principal)}
        if PURPOSE in request.principal.attributes:
            context["purpose"] = request.principal.attributes[PURPOSE]
    if assurance.identity_type is not None:
        context["identity_type"] = assurance.identity_type
    if assurance.verified_by is not None:
        context["verified_by"] = assurance.verified_by
    if request.destination is not None:
        context["destination"] = {"__entity": node_uid(request.destination)}
    if request.source is not None and (address := _address(request.source)):
        context["source"] = {"__extn": {"fn": "ip", "arg": address}}
    if request.moment is not None:
        context |= dict(zip(CLOCK, clock(request.moment), strict=True))
    context.update(request.context)
    return context


def clock(moment: datetime) -> tuple[int, int, int]:
    """The date YYYYMMDD, the time HHMM and the weekday (ISO 8601: Monday is 1) of a moment, in this machine's zone."""
    local = moment.astimezone()
    return local.year * 10_000 + local.month * 100 + local.day, local.hour * 100 + local.minute, local.isoweekday()


def cedar_literal(uid: EntityUid) -> str:
    """An entity as Cedar source text in Cedar's own normal form: ``User::"name"``.

    Partial evaluation takes subjects as text, and only where nothing is escaped that need not be.
    """
    text = "".join(_escaped(character, at_start=not index) for index, character in enumerate(uid["id"]))
    return f'{uid["type"]}::"{text}"'


def cedar_json(value: object) -> str:
    """JSON as Cedar reads it."""
    return json.dumps(value, separators=(",", ":"))


_ESCAPES: Final = {"\0": "\\0", "\t": "\\t", "\r": "\\r", "\n": "\\n", "\\": "\\\\", '"': '\\"', "'": "\\'"}


def _escaped(character: str, *, at_start: bool) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable() and not (at_start and unicodedata.combining(character)):
        return character
    return f"\\u{{{ord(character):x}}}"


def _address(source: str) -> str | None:
    """An address as Cedar takes one: no zone, and IPv4 as itself where IPv6 carries it."""
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def _roles(roles: frozenset[str]) -> list[EntityUid]:
    return [{"type": "Role", "id": role} for role in sorted(roles)]
