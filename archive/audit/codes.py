"""The codes of audit messages (PS3.16 CID 400 to 405), and which of them each kind of event carries (PS3.15 A.5.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value; the meaning goes out as originalText."""

    value: str
    meaning: str
    scheme: str = "DCM"


@dataclass(frozen=True, slots=True)
class EventShape:
    """EventID, EventActionCode and EventTypeCode of one kind of event."""

    event: Code
    action: str
    fixed_type: Code | None = None
    type_in_facts: bool = False
    """The event itself says which alert it is (its ``alert`` field)."""

    def event_type(self, facts: Mapping[str, Any]) -> Code | None:
        """The EventTypeCode of one event of this kind."""
        if self.type_in_facts:
            value = str(facts.get("alert", ""))
            return Code(value, _ALERTS.get(value, "Security Alert"))
        return self.fixed_type


_ALERTS: Final = MappingProxyType(
    {
        "110126": "Node Authentication",
        "110127": "Emergency Override Started",
        "110128": "Network Configuration",
        "110129": "Security Configuration",
        "110131": "Software Configuration",
        "110132": "Use of Restricted Function",
        "110135": "Object Security Attributes Changed",
        "110136": "Security Roles Changed",
        "110137": "User Security Attributes Changed",
        "110138": "Emergency Override Stopped",
    }
)
_ACTIVITY: Final = Code("110100", "Application Activity")
_ALERT: Final = Code("110113", "Security Alert")
_TRANSFERRED: Final = Code("110104", "DICOM Instances Transferred")


def _alert(value: str) -> Code:
    return Code(value, _ALERTS[value])


CODES: Final[Mapping[str, EventShape]] = MappingProxyType(
    {
        "application-started": EventShape(_ACTIVITY, "E", Code("110120", "Application Start")),
        "application-stopped": EventShape(_ACTIVITY, "E", Code("110121", "Application Stop")),
        "audit-log-used": EventShape(Code("110101", "Audit Log Used"), "R"),
        "trail-checkpointed": EventShape(Code("110101", "Audit Log Used"), "R"),
        "transfer-begun": EventShape(Code("110102", "Begin Transferring DICOM Instances"), "E"),
        "instances-transferred": EventShape(_TRANSFERRED, "R"),
        "instance-stored": EventShape(_TRANSFERRED, "C"),
        "query-performed": EventShape(Code("110112", "Query"), "E"),
        "user-authenticated": EventShape(Code("110114", "User Authentication"), "E", Code("110122", "Login")),
        "node-authenticated": EventShape(_ALERT, "E", _alert("110126")),
        "node-refused": EventShape(_ALERT, "E", _alert("110126")),
        "access-refused": EventShape(_ALERT, "E", _alert("110132")),
        "security-alert": EventShape(_ALERT, "E", type_in_facts=True),
        "configuration-changed": EventShape(_ALERT, "E", type_in_facts=True),
    }
)
"""By the ``kind`` of `archive.audit.events`."""

_ROLES: Final = MappingProxyType(
    {
        None: Code("110150", "Application"),
        "destination": Code("110152", "Destination Role ID"),
        "source": Code("110153", "Source Role ID"),
    }
)
_OBJECT_IDS: Final = MappingProxyType(
    {
        "Patient Number": Code("2", "Patient Number", "RFC-3881"),
        "URI": Code("12", "URI", "RFC-3881"),
        "Study Instance UID": Code("110180", "Study Instance UID"),
        "SOP Class UID": Code("110181", "SOP Class UID"),
        "Node ID": Code("110182", "Node ID"),
    }
)


def role(part: str | None) -> Code:
    """RoleIDCode (CID 402) of a ``source``, a ``destination``, or an application that is neither."""
    return _ROLES[part]


def object_id(name: str) -> Code:
    """ParticipantObjectIDTypeCode (CID 404, RFC 3881) by its meaning."""
    return _OBJECT_IDS[name]
