"""What the archive tells the audit trail: typed events, named as in PS3.15 A.5.3. Values only; no XML, no file.

An event becomes one record of the trail; the audit message (A.5) is rendered from the record when somebody asks.
"""

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import ClassVar

from archive.session import AssociationSession


class Outcome(Enum):
    """EventOutcomeIndicator (PS3.15 A.5.2)."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted, as far as it is known: a refused peer has an address and perhaps a claim, an operator an OS user."""

    person: str | None = None
    node: str | None = None
    ae_title: str | None = None
    address: str | None = None
    association: str | None = None
    os_user: str | None = None
    display_name: str | None = None
    """The person as people call them, where whoever vouched said so."""
    roles: tuple[str, ...] = ()
    """Of the person, at admission."""
    organization: str | None = None
    purpose_of_use: str | None = None

    @classmethod
    def of(cls, session: AssociationSession) -> "Actor":
        """The actor of an admitted association."""
        principal = session.principal
        said = principal.attributes if principal else {}
        return cls(
            person=session.person,
            node=session.node.name,
            ae_title=session.calling_ae,
            address=session.peer_address,
            association=session.correlation_id,
            display_name=said.get("display_name"),
            roles=tuple(sorted(principal.roles)) if principal else (),
            organization=said.get("organization"),
            purpose_of_use=said.get("purpose_of_use"),
        )

    def facts(self) -> dict[str, object]:
        """The actor as JSON-ready values, without what is not known."""
        known = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return {name: value for name, value in known if value not in (None, ())}


@dataclass(frozen=True, slots=True)
class StudyTouched:
    """Which study of which patient, and how many instances of which SOP class, an event concerns.

    Empty texts are what was not known: the study of an object that broke off before it named one.
    """

    study_uid: str
    patient_id: str
    patient_name: str = ""
    accession_number: str = ""
    sop_classes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Repeated:
    """How often, and when, what an event tells of happened: of a record that stands for many (`audit.coalescing`)."""

    count: int
    first: str
    last: str
    """Date and time with their offset, as records have them."""
    sources: int = 1
    """How many sources they came from, or at least."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Base of every event. ``kind`` names it in the trail and never changes meaning."""

    kind: ClassVar[str]
    actor: Actor
    outcome: Outcome = Outcome.SUCCESS
    reason: str = ""
    repeated: Repeated | None = field(default=None, kw_only=True)
    """None: it tells of what happened once."""

    def facts(self) -> dict[str, object]:
        """The event as JSON-ready values, without ``None``."""
        facts = {name: value for name, value in asdict(self).items() if value not in (None, "", (), {})}
        facts["actor"] = self.actor.facts()
        facts["outcome"] = self.outcome.value
        return facts


@dataclass(frozen=True, slots=True)
class ApplicationStarted(AuditEvent):
    """Application Activity, start (A.5.3.1)."""

    kind: ClassVar[str] = "application-started"


@dataclass(frozen=True, slots=True)
class ApplicationStopped(AuditEvent):
    """Application Activity, stop (A.5.3.1)."""

    kind: ClassVar[str] = "application-stopped"


@dataclass(frozen=True, slots=True)
class RecordingStarted(AuditEvent):
    """Security Alert, audit recording started (A.5.3.11, 110134): a server's run begins."""

    kind: ClassVar[str] = "recording-started"


@dataclass(frozen=True, slots=True)
class RecordingStopped(AuditEvent):
    """Security Alert, audit recording stopped (A.5.3.11, 110133): a server's run ends in good order."""

    kind: ClassVar[str] = "recording-stopped"


@dataclass(frozen=True, slots=True)
class NetworkEntered(AuditEvent):
    """Network Entry, attach (A.5.3.9): associations are accepted from now on."""

    kind: ClassVar[str] = "network-entered"


@dataclass(frozen=True, slots=True)
class NetworkLeft(AuditEvent):
    """Network Entry, detach (A.5.3.9): no association is left, and none is accepted."""

    kind: ClassVar[str] = "network-left"


@dataclass(frozen=True, slots=True)
class NodeRefused(AuditEvent):
    """Security Alert, node authentication (A.5.3.11, 110126): certificate, AE title or handshake not good."""

    kind: ClassVar[str] = "node-refused"
    certificate: str = ""
    """Subject and fingerprint of what was presented, where anything was."""


@dataclass(frozen=True, slots=True)
class UserAuthenticated(AuditEvent):
    """User Authentication, login (A.5.3.12), success or failure by ``outcome``.

    An association that a node opens without a person is told as `NodeAuthenticated`.
    """

    kind: ClassVar[str] = "user-authenticated"
    identity_type: int = 0
    claimed: str = ""
    """The name that was claimed, where authentication failed."""


@dataclass(frozen=True, slots=True)
class NodeAuthenticated(AuditEvent):
    """Security Alert (informative), node authentication 110126: a node was admitted without a person."""

    kind: ClassVar[str] = "node-authenticated"


@dataclass(frozen=True, slots=True)
class AccessRefused(AuditEvent):
    """Security Alert, use of restricted function (A.5.3.11, 110132): the policy denied an action."""

    kind: ClassVar[str] = "access-refused"
    action: str = ""
    study_uid: str = ""


@dataclass(frozen=True, slots=True)
class InstanceStored(AuditEvent):
    """DICOM Instances Transferred (A.5.3.7), the archive being the receiver; also for a store that was refused."""

    kind: ClassVar[str] = "instance-stored"
    study: StudyTouched | None = None
    sop_instance_uid: str = ""
    already_kept: bool = False
    labels: tuple[str, ...] = ()
    """That its study was given with it."""


@dataclass(frozen=True, slots=True)
class QueryPerformed(AuditEvent):
    """Query (A.5.3.10), with the identifier as it was asked.

    Also a retrieval that found nothing, or whose identifier was none: it moved no instance, but somebody asked.
    """

    kind: ClassVar[str] = "query-performed"
    sop_class_uid: str = ""
    transfer_syntax: str = ""
    identifier: str = ""
    """Base64 of the identifier's bytes."""


@dataclass(frozen=True, slots=True)
class TransferBegun(AuditEvent):
    """Begin Transferring DICOM Instances (A.5.3.3), one event for each patient."""

    kind: ClassVar[str] = "transfer-begun"
    studies: tuple[StudyTouched, ...] = ()
    destination: str = ""
    """The AE title that the instances go to."""
    destination_node: str = ""
    """The node of that title, where it is not the one that asked (C-MOVE)."""
    destination_host: str = ""
    """Where that node is reached."""


@dataclass(frozen=True, slots=True)
class InstancesTransferred(AuditEvent):
    """DICOM Instances Transferred (A.5.3.7), the archive being the sender, one event for each patient and outcome.

    Every instance of a `TransferBegun` is in exactly one of these, however the transfer ends.
    """

    kind: ClassVar[str] = "instances-transferred"
    studies: tuple[StudyTouched, ...] = ()
    destination: str = ""
    destination_node: str = ""
    destination_host: str = ""


@dataclass(frozen=True, slots=True)
class StudyDeleted(AuditEvent):
    """DICOM Study Deleted (A.5.3.8): all that was kept of a study was taken away, or what was is destroyed."""

    kind: ClassVar[str] = "study-deleted"
    study: StudyTouched | None = None


@dataclass(frozen=True, slots=True)
class InstancesDeleted(AuditEvent):
    """DICOM Instances Accessed, deletion (A.5.3.6): the same of some objects of a study that others are kept of."""

    kind: ClassVar[str] = "instances-deleted"
    study: StudyTouched | None = None


@dataclass(frozen=True, slots=True)
class CommitmentAnswered(AuditEvent):
    """DICOM Instances Accessed (A.5.3.4): instances were read back for storage commitment, one event for each study.

    With a failure of ``outcome``: those that were not committed, of which no study is told.
    """

    kind: ClassVar[str] = "commitment-answered"
    studies: tuple[StudyTouched, ...] = ()


class Alert(Enum):
    """The kinds of Security Alert told by `SecurityAlert`, by CID 403 code."""

    EMERGENCY_OVERRIDE_STARTED = "110127"
    EMERGENCY_OVERRIDE_STOPPED = "110138"
    RESTRICTED_FUNCTION = "110132"
    OBJECT_SECURITY_ATTRIBUTES_CHANGED = "110135"
    NETWORK_CONFIGURATION = "110128"
    SECURITY_CONFIGURATION = "110129"
    SOFTWARE_CONFIGURATION = "110131"
    SECURITY_ROLES_CHANGED = "110136"
    USER_SECURITY_ATTRIBUTES_CHANGED = "110137"


@dataclass(frozen=True, slots=True)
class SecurityAlert(AuditEvent):
    """Security Alert (A.5.3.11): something an officer should look at."""

    kind: ClassVar[str] = "security-alert"
    alert: str = Alert.RESTRICTED_FUNCTION.value
    description: str = ""
    study_uid: str = ""


@dataclass(frozen=True, slots=True)
class ConfigurationChanged(AuditEvent):
    """Security Alert, configuration (A.5.3.11, 110128 to 110137): users, nodes, labels, policy, keys."""

    kind: ClassVar[str] = "configuration-changed"
    alert: str = Alert.SECURITY_CONFIGURATION.value
    description: str = ""
    study_uid: str = ""
    """Whose label it was, where it was one."""


@dataclass(frozen=True, slots=True)
class AuditLogUsed(AuditEvent):
    """Audit Log Used (A.5.3.2)."""

    kind: ClassVar[str] = "audit-log-used"


@dataclass(frozen=True, slots=True)
class TrailCheckpointed(AuditEvent):
    """Audit Log Used (A.5.3.2), by the archive itself: it signed how far its trail had come."""

    kind: ClassVar[str] = "trail-checkpointed"
    checkpoint: str = ""
    """One line, `archive.audit.checkpoint.Checkpoint.line`."""
