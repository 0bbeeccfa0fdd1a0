"""What PS3.15 A.5.3 demands of each event beyond the schema, as a table; `archive.repository.judging` applies it.

Messages of IHE transactions (EventTypeCode of "IHE Transactions") have participants and objects of their own, told by
each transaction; of the table only the action and what A.5.2 says of every message is held against them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

STUDY: Final = "110180"
SOP_CLASS: Final = "110181"
NODE: Final = "110182"
PATIENT: Final = "2"
URI: Final = "12"
_NAMES: Final = MappingProxyType(
    {
        STUDY: "Study Instance UID (110180)",
        SOP_CLASS: "SOP Class UID (110181)",
        NODE: "Node ID (110182)",
        PATIENT: "Patient Number (2, RFC-3881)",
        URI: "URI (12, RFC-3881)",
    }
)
_ROLES: Final = MappingProxyType(
    {
        "110150": "Application",
        "110151": "Application Launcher",
        "110152": "Destination Role ID",
        "110153": "Source Role ID",
        "110154": "Destination Media",
        "110155": "Source Media",
    }
)


@dataclass(frozen=True, slots=True)
class Count:
    """How many of something there must be. ``most`` None: any number."""

    of: str
    least: int
    most: int | None = None

    def wants(self, count: int) -> bool:
        """Whether so many are right."""
        return self.least <= count and (self.most is None or count <= self.most)

    def in_words(self) -> str:
        """Such as ``exactly 1``."""
        if self.most is None:
            return f"at least {self.least}"
        return f"exactly {self.least}" if self.least == self.most else f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class EventRule:
    """What one kind of message must hold."""

    clause: str
    name: str
    actions: str
    """The EventActionCodes it may have, one letter each."""
    types: frozenset[str] = frozenset()
    """Of its EventTypeCode (DCM) one must be among these; empty: it needs none."""
    roles: tuple[Count, ...] = ()
    """Active participants by RoleIDCode."""
    objects: tuple[Count, ...] = ()
    """Participant objects by ParticipantObjectIDTypeCode."""
    only: frozenset[str] | None = None
    """The only kinds of object it may have; None: any."""
    details: tuple[tuple[str, str], ...] = ()
    """Objects of the first kind must carry a ParticipantObjectDetail of the second type."""
    queries: str = ""
    """Objects of this kind must carry ParticipantObjectQuery."""
    access_point: bool = False
    """Somebody who acts must have both NetworkAccessPointID and NetworkAccessPointTypeCode."""
    media: str = ""
    """A participant in this role must have a MediaIdentifier, and is never the requestor."""


def object_name(code: str) -> str:
    """The meaning of a ParticipantObjectIDTypeCode, for people."""
    return _NAMES.get(code, code)


def role_name(code: str) -> str:
    """The meaning of a RoleIDCode, for people."""
    return f"{_ROLES[code]} ({code})" if code in _ROLES else code


_ALERTS: Final = frozenset(map(str, range(110126, 110143)))
"""The types of a Security Alert (PS3.16 CID 403)."""
_SOURCE_AND_DESTINATION: Final = (Count("110153", 1), Count("110152", 1))
_ONE_PATIENT: Final = (Count(STUDY, 1), Count(PATIENT, 1, 1))
_NOTHING: Final[frozenset[str]] = frozenset()

RULES: Final[Mapping[str, EventRule]] = MappingProxyType(
    {
        "110100": EventRule(
            "A.5.3.1",
            "Application Activity",
            "E",
            frozenset({"110120", "110121"}),
            (Count("110150", 1, 1),),
            only=_NOTHING,
        ),
        "110101": EventRule("A.5.3.2", "Audit Log Used", "R", objects=(Count(URI, 1, 1),)),
        "110102": EventRule(
            "A.5.3.3", "Begin Transferring DICOM Instances", "E", roles=_SOURCE_AND_DESTINATION, objects=_ONE_PATIENT
        ),
        "110106": EventRule(
            "A.5.3.4",
            "Data Export",
            "R",
            roles=(Count("110153", 1), Count("110154", 1, 1)),
            objects=(Count(PATIENT, 1),),
            media="110154",
        ),
        "110107": EventRule(
            "A.5.3.5",
            "Data Import",
            "C",
            roles=(Count("110152", 1), Count("110155", 1, 1)),
            objects=(Count(PATIENT, 1),),
            media="110155",
        ),
        "110103": EventRule("A.5.3.6", "DICOM Instances Accessed", "CRUD", objects=_ONE_PATIENT),
        "110104": EventRule(
            "A.5.3.7", "DICOM Instances Transferred", "CRU", roles=_SOURCE_AND_DESTINATION, objects=_ONE_PATIENT
        ),
        "110105": EventRule("A.5.3.8", "DICOM Study Deleted", "D", objects=_ONE_PATIENT),
        "110108": EventRule("A.5.3.9", "Network Entry", "E", frozenset({"110124", "110125"}), only=_NOTHING),
        "110112": EventRule(
            "A.5.3.10",
            "Query",
            "E",
            roles=_SOURCE_AND_DESTINATION,
            objects=(Count(SOP_CLASS, 1, 1),),
            only=frozenset({SOP_CLASS}),
            details=((SOP_CLASS, "TransferSyntax"),),
            queries=SOP_CLASS,
        ),
        "110113": EventRule(
            "A.5.3.11",
            "Security Alert",
            "E",
            _ALERTS,
            details=((URI, "Alert Description"), (NODE, "Alert Description")),
        ),
        "110114": EventRule(
            "A.5.3.12",
            "User Authentication",
            "E",
            frozenset({"110122", "110123"}),
            only=_NOTHING,
            access_point=True,
        ),
        "110109": EventRule("A.5.3.13", "Order Record", "CRUD", objects=(Count(PATIENT, 1, 1),)),
        "110110": EventRule("A.5.3.14", "Patient Record", "CRUD", objects=(Count(PATIENT, 1, 1),)),
        "110111": EventRule("A.5.3.15", "Procedure Record", "CRUD", objects=(Count(PATIENT, 1, 1),)),
    }
)
"""By EventID (PS3.16 CID 400)."""
