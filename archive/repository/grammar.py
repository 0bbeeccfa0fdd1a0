"""The audit message schema of PS3.15 A.5.1.1 as data: what an element may carry, in which order.

It follows the edition of 2020 and later: ``csd-code`` with codeSystemName and originalText on every coded value,
exactly one AuditSourceIdentification. What earlier editions and RFC 3881 had, or leave out, is told as such.
PurposeOfUse is IHE's (ITI-20 3.20.7.1.2).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

_TIME: Final = re.compile(
    r"-?\d{4,}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
)
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]\s*){0,1}(?:[A-Za-z0-9+/\s])*={0,2}\s*")


@dataclass(frozen=True, slots=True)
class Text:
    """What a text may be."""

    words: str
    allows: Callable[[str], bool]


def _one_of(*values: str) -> Text:
    return Text(f"one of {', '.join(values)}", frozenset(values).__contains__)


def _numbers(least: int, most: int) -> Text:
    return Text(f"{least} to {most}", frozenset(map(str, range(least, most + 1))).__contains__)


def _is_base64(text: str) -> bool:
    return _BASE64.fullmatch(text) is not None and sum(not letter.isspace() for letter in text) % 4 == 0


ANY: Final = Text("a text", lambda _: True)
_BOOLEAN: Final = _one_of("true", "false", "1", "0")
_MOMENT: Final = Text("a date and time with its zone", lambda text: _TIME.fullmatch(text) is not None)
_ENCODED: Final = Text("base64", _is_base64)
_COUNT: Final = Text("a whole number", lambda text: text.isascii() and text.isdigit())


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute that an element may carry."""

    kind: Text = ANY
    required: bool = False


@dataclass(frozen=True, slots=True)
class Child:
    """One place in the order of an element's children: any of ``names``, so many times."""

    names: tuple[str, ...]
    least: int = 0
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What an element may be."""

    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    children: tuple[Child, ...] = ()
    text: Text | None = None
    """None: no text beside blanks."""


def _need(kind: Text = ANY) -> Attribute:
    return Attribute(kind, required=True)


_CODED: Final = Shape(
    {"csd-code": _need(), "codeSystemName": _need(), "displayName": Attribute(), "originalText": _need()}
)
_SOURCE_TYPE: Final = Shape(
    {"csd-code": _need(), "codeSystemName": Attribute(), "displayName": Attribute(), "originalText": Attribute()}
)
_TEXT: Final = Shape(text=ANY)
_UID: Final = Shape({"UID": _need()})
_NAME_OR_QUERY: Final = ("ParticipantObjectName", "ParticipantObjectQuery")

ROOT: Final = "AuditMessage"
GRAMMAR: Final[Mapping[str, Shape]] = MappingProxyType(
    {
        ROOT: Shape(
            children=(
                Child(("EventIdentification",), 1, 1),
                Child(("ActiveParticipant",), 1),
                Child(("AuditSourceIdentification",), 1, 1),
                Child(("ParticipantObjectIdentification",)),
            )
        ),
        "EventIdentification": Shape(
            {
                "EventActionCode": Attribute(_one_of("C", "R", "U", "D", "E")),
                "EventDateTime": _need(_MOMENT),
                "EventOutcomeIndicator": _need(_one_of("0", "4", "8", "12")),
            },
            (
                Child(("EventID",), 1, 1),
                Child(("EventTypeCode",)),
                Child(("EventOutcomeDescription",), 0, 1),
                Child(("PurposeOfUse",)),
            ),
        ),
        "ActiveParticipant": Shape(
            {
                "UserID": _need(),
                "AlternativeUserID": Attribute(),
                "UserName": Attribute(),
                "UserIsRequestor": _need(_BOOLEAN),
                "NetworkAccessPointID": Attribute(),
                "NetworkAccessPointTypeCode": Attribute(_numbers(1, 5)),
            },
            (Child(("RoleIDCode",)), Child(("MediaIdentifier",), 0, 1)),
        ),
        "MediaIdentifier": Shape(children=(Child(("MediaType",), 1, 1),)),
        "AuditSourceIdentification": Shape(
            {"AuditEnterpriseSiteID": Attribute(), "AuditSourceID": _need()}, (Child(("AuditSourceTypeCode",)),)
        ),
        "AuditSourceTypeCode": _SOURCE_TYPE,
        "ParticipantObjectIdentification": Shape(
            {
                "ParticipantObjectID": _need(),
                "ParticipantObjectTypeCode": Attribute(_numbers(1, 4)),
                "ParticipantObjectTypeCodeRole": Attribute(_numbers(1, 26)),
                "ParticipantObjectDataLifeCycle": Attribute(_numbers(1, 15)),
                "ParticipantObjectSensitivity": Attribute(),
            },
            (
                Child(("ParticipantObjectIDTypeCode",), 1, 1),
                Child(_NAME_OR_QUERY, 0, 1),
                Child(("ParticipantObjectDetail",)),
                Child(("ParticipantObjectDescription",)),
            ),
        ),
        "ParticipantObjectDetail": Shape({"type": _need(), "value": _need(_ENCODED)}),
        "ParticipantObjectDescription": Shape(
            children=(
                Child(("MPPS",)),
                Child(("Accession",)),
                Child(("SOPClass",)),
                Child(("ParticipantObjectContainsStudy",), 0, 1),
                Child(("Encrypted",), 0, 1),
                Child(("Anonymized",), 0, 1),
            )
        ),
        "SOPClass": Shape({"UID": Attribute(), "NumberOfInstances": _need(_COUNT)}, (Child(("Instance",)),)),
        "ParticipantObjectContainsStudy": Shape(children=(Child(("StudyIDs",)),)),
        "Accession": Shape({"Number": _need()}),
        "MPPS": _UID,
        "Instance": _UID,
        "StudyIDs": _UID,
        "Encrypted": Shape(text=_BOOLEAN),
        "Anonymized": Shape(text=_BOOLEAN),
        "ParticipantObjectName": _TEXT,
        "ParticipantObjectQuery": Shape(text=_ENCODED),
        "EventOutcomeDescription": _TEXT,
        "EventID": _CODED,
        "EventTypeCode": _CODED,
        "PurposeOfUse": _CODED,
        "RoleIDCode": _CODED,
        "MediaType": _CODED,
        "ParticipantObjectIDTypeCode": _CODED,
    }
)
"""By element name; each means the same wherever it stands."""

FORMER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "code": "is RFC 3881's: the attribute is csd-code",
        "codeSystem": "is RFC 3881's: name the scheme in codeSystemName",
        "UserTypeCode": "is of an earlier edition",
        "UserIDTypeCode": "is of an earlier edition",
    }
)
"""Names that earlier editions or RFC 3881 had, and what to say of them."""
