"""The codes of audit messages (PS3.16 CID 400 to 405), and which of them each kind of event carries (PS3.15 A.5.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, Final

LOCAL_SCHEME: Final = "99STRONGROOM"
"""Names codes that are ours: the roles of a person, and a purpose of use as whoever vouched for them put it."""


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value; the meaning goes out as originalText."""

    value: str
    meaning: str
    scheme: str = "DCM"


class Cast(Enum):
    """Who takes part in a message, and as what: the rows of the tables of A.5.3 that name active participants."""

    ACTIVITY = auto()
    """The application, and who launched it (A.5.3.1)."""
    LOG = auto()
    """Who accessed the log, and through what; the archive may have done so by itself (A.5.3.2)."""
    SENDING = auto()
    """The archive as source, the destination, the peer where that is another node, the person (A.5.3.3, A.5.3.7)."""
    RECEIVING = auto()
    """The peer as source, the archive as destination, and the person (A.5.3.7, A.5.3.10)."""
    DELETING = auto()
    """The person or process that deletes (A.5.3.6, A.5.3.8)."""
    ACCESS = auto()
    """The archive, which read, for the peer or the person that asked (A.5.3.4)."""
    ENTRY = auto()
    """The node alone (A.5.3.9)."""
    ALERT = auto()
    """The archive as reporter; all others are performers, and so nobody is the requestor (A.5.3.11)."""
    LOGIN = auto()
    """The person, and the node that authenticates them (A.5.3.12)."""


@dataclass(frozen=True, slots=True)
class EventShape:
    """EventID, EventActionCode, EventTypeCode and participants of one kind of event."""

    event: Code
    action: str
    cast: Cast
    fixed_type: Code | None = None
    type_in_facts: bool = False
    """The event itself says which alert it is (its ``alert`` field)."""

    def event_type(self, facts: Mapping[str, Any]) -> Code | None:
        """The EventTypeCode of one event of this kind."""
        if self.type_in_facts:
            value = str(facts.get("alert", ""))
            return Code(value, _ALERTS.get(value, "Security Alert"))
        return self.fixed_type

    def action_of(self, facts: Mapping[str, Any]) -> str:
        """The EventActionCode: a receiver that had the instances already only reads (A.5.3.7)."""
        return "R" if facts.get("already_kept") else self.action


_ALERTS: Final = MappingProxyType(
    {
        "110126": "Node Authentication",
        "110127": "Emergency Override Started",
        "110128": "Network Configuration",
        "110129": "Security Configuration",
        "110131": "Software Configuration",
        "110132": "Use of Restricted Function",
        "110133": "Audit Recording Stopped",
        "110134": "Audit Recording Started",
        "110135": "Object Security Attributes Changed",
        "110136": "Security Roles Changed",
        "110137": "User Security Attributes Changed",
        "110138": "Emergency Override Stopped",
    }
)
"""EventTypeCodes of a Security Alert (CID 403) that an archive can cause."""

_ACTIVITY: Final = Code("110100", "Application Activity")
_TRANSFERRED: Final = Code("110104", "DICOM Instances Transferred")
_NETWORK: Final = Code("110108", "Network Entry")


def _alert(value: str | None = None) -> EventShape:
    """A Security Alert of one type, or of the type that the event names."""
    known = None if value is None else Code(value, _ALERTS[value])
    return EventShape(Code("110113", "Security Alert"), "E", Cast.ALERT, known, type_in_facts=value is None)


CODES: Final[Mapping[str, EventShape]] = MappingProxyType(
    {
        "application-started": EventShape(_ACTIVITY, "E", Cast.ACTIVITY, Code("110120", "Application Start")),
        "application-stopped": EventShape(_ACTIVITY, "E", Cast.ACTIVITY, Code("110121", "Application Stop")),
        "audit-log-used": EventShape(Code("110101", "Audit Log Used"), "R", Cast.LOG),
        "trail-checkpointed": EventShape(Code("110101", "Audit Log Used"), "R", Cast.LOG),
        "transfer-begun": EventShape(Code("110102", "Begin Transferring DICOM Instances"), "E", Cast.SENDING),
        "instances-transferred": EventShape(_TRANSFERRED, "R", Cast.SENDING),
        "commitment-answered": EventShape(Code("110103", "DICOM Instances Accessed"), "R", Cast.ACCESS),
        "instance-stored": EventShape(_TRANSFERRED, "C", Cast.RECEIVING),
        "study-deleted": EventShape(Code("110105", "DICOM Study Deleted"), "D", Cast.DELETING),
        "instances-deleted": EventShape(Code("110103", "DICOM Instances Accessed"), "D", Cast.DELETING),
        "network-entered": EventShape(_NETWORK, "E", Cast.ENTRY, Code("110124", "Attach")),
        "network-left": EventShape(_NETWORK, "E", Cast.ENTRY, Code("110125", "Detach")),
        "query-performed": EventShape(Code("110112", "Query"), "E", Cast.RECEIVING),
        "user-authenticated": EventShape(
            Code("110114", "User Authentication"), "E", Cast.LOGIN, Code("110122", "Login")
        ),
        "node-authenticated": _alert("110126"),
        "node-refused": _alert("110126"),
        "access-refused": _alert("110132"),
        "recording-started": _alert("110134"),
        "recording-stopped": _alert("110133"),
        "security-alert": _alert(),
        "configuration-changed": _alert(),
    }
)
"""By the ``kind`` of `archive.audit.events`."""

APPLICATION: Final = Code("110150", "Application")
LAUNCHER: Final = Code("110151", "Application Launcher")
DESTINATION: Final = Code("110152", "Destination Role ID")
SOURCE: Final = Code("110153", "Source Role ID")
"""RoleIDCode (CID 402)."""

PATIENT_NUMBER: Final = Code("2", "Patient Number", "RFC-3881")
URI: Final = Code("12", "URI", "RFC-3881")
STUDY_INSTANCE_UID: Final = Code("110180", "Study Instance UID")
SOP_CLASS_UID: Final = Code("110181", "SOP Class UID")
NODE_ID: Final = Code("110182", "Node ID")
"""ParticipantObjectIDTypeCode (CID 404, RFC 3881)."""
