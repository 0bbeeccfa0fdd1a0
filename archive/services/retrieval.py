"""One retrieval: the objects selected, each decided again, read and verified, and in the end told to the audit.

`archive.services.retrieve` makes one, for whoever sends its objects on. Knows nothing of the wire.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import NoReturn, Protocol

from archive.audit.events import (
    AccessRefused,
    Actor,
    Alert,
    AuditEvent,
    InstancesTransferred,
    Outcome,
    SecurityAlert,
    StudyTouched,
)
from archive.enforcement.grant import ScopedGrant
from archive.services.ahead import Ahead
from archive.services.destinations import Destination
from archive.session import AssociationSession
from auth.errors import AccessDenied
from auth.policy.model import Action
from auth.principal import NodeIdentity
from storage.confidentiality.mask import Mask
from storage.errors import IntegrityFault, KeyUnavailable, ObjectMissing
from storage.index.predicate import Predicate
from storage.index.reader import StudyNames
from storage.instance import StoredInstance, StudyFacts


class AuditRecorder(Protocol):
    """Where transfers are told (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Put the events on stable storage. Raises `AuditUnavailable`."""


class RetrieveEnforcement(Protocol):
    """What is asked of `archive.enforcement.pep.PolicyEnforcementPoint`."""

    def retrieve(self, session: AssociationSession, sop_class: str) -> ScopedGrant:
        """The studies within reach. Raises `AccessDenied`, audited."""

    def move(self, session: AssociationSession, sop_class: str, destination: NodeIdentity | None = None) -> ScopedGrant:
        """The studies within reach for another node. Raises `AccessDenied`, audited."""

    def receive(self, session: AssociationSession, destination: AssociationSession, sop_class: str) -> ScopedGrant:
        """The studies that this other node may have. Raises `AccessDenied`, audited."""

    def redecide(self, grant: ScopedGrant, facts: StudyFacts) -> bool:
        """Whether the policy itself permits the study now."""


class InstanceReader(Protocol):
    """What is asked of `storage.index.reader.IndexReader`."""

    def instances(self, predicate: Predicate, scope: Predicate) -> Iterator[StoredInstance]:
        """The instances selected, in a stable order, new ones last."""

    def study_facts(self, study_uid: str) -> StudyFacts | None:
        """What policy reads of a study, as it is now."""

    def study_names(self, study_uids: Iterable[str]) -> dict[str, StudyNames]:
        """Patient and accession number of studies, by UID."""


class Outgoing(Protocol):
    """One object on its way out, as the repository opens it: verified before its first byte."""

    @property
    def sop_instance_uid(self) -> str:
        """Under which it leaves: not that of the original where it is masked."""

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The data set in the syntax that was asked for."""

    def close(self) -> None:
        """Let go of it; idempotent."""


class ObjectSource(Protocol):
    """What is asked of `storage.repository.Repository`."""

    def open(self, instance: StoredInstance, syntax: str) -> Outgoing:
        """Verify an object and open it, in a transfer syntax.

        Raises:
            IntegrityFault, ObjectMissing, KeyUnavailable: it is not what was stored.
            UnsupportedTransferSyntax: it has no form in that syntax.
        """

    def open_masked(self, instance: StoredInstance, hidden: frozenset[int], syntax: str) -> Outgoing:
        """As `open`, without what is hidden. Raises `CannotBeMasked` besides."""

    def mask(self, hidden: frozenset[int]) -> Mask:
        """The mask of these attributes."""


@dataclass(slots=True)
class Tally:
    """Objects by study and SOP class."""

    studies: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, instance: StoredInstance) -> None:
        """Count one."""
        classes = self.studies.setdefault(instance.key.study_uid, {})
        classes[instance.key.sop_class_uid] = classes.get(instance.key.sop_class_uid, 0) + 1

    def without(self, other: "Tally") -> "Tally":
        """What is counted here and not there."""
        left = Tally()
        for study, classes in self.studies.items():
            there = other.studies.get(study, {})
            rest = {uid: count - there.get(uid, 0) for uid, count in classes.items() if count > there.get(uid, 0)}
            if rest:
                left.studies[study] = rest
        return left

    def by_patient(self, names: Mapping[str, StudyNames]) -> list[tuple[StudyTouched, ...]]:
        """What was counted, one entry for each patient; a study that names none is nobody else's."""
        patients: dict[tuple[str, ...], list[StudyTouched]] = {}
        for uid, classes in self.studies.items():
            known = names.get(uid) or StudyNames("", "", "")
            patient = (known.patient_id, known.patient_name) if known.patient_id else (uid,)
            touched = StudyTouched(uid, known.patient_id, known.patient_name, known.accession_number, classes)
            patients.setdefault(patient, []).append(touched)
        return [tuple(studies) for studies in patients.values()]


@dataclass(frozen=True, slots=True)
class Way:
    """Who has objects sent, and whereto."""

    grant: ScopedGrant
    """Of the one who asks."""
    destination: Destination | None = None
    """None: to the one who asks, on the same association."""
    received: ScopedGrant | None = None
    """The destination's own grant."""

    @property
    def grants(self) -> tuple[ScopedGrant, ...]:
        """All of which must permit an object."""
        return (self.grant,) if self.received is None else (self.grant, self.received)

    @property
    def hidden(self) -> frozenset[int]:
        """What either of them may not see."""
        return frozenset().union(*(grant.hidden for grant in self.grants))

    def whither(self) -> tuple[str, str, str]:
        """As the audit has it: AE title, and node and host where that is not who asks."""
        if self.destination is None:
            return (self.grant.session.calling_ae, "", "")
        node = self.destination.node
        return (self.destination.ae_title, node.identity.name, node.host or "")


@dataclass(frozen=True, slots=True)
class Selection:
    """What one retrieval is about: its objects, how many of what, and how people call their studies."""

    total: int
    kinds: frozenset[tuple[str, str]]
    """SOP classes and the transfer syntaxes that their objects are kept in."""
    instances: Iterator[StoredInstance]
    counted: Tally
    names: dict[str, StudyNames]


class Retrieval:
    """The objects of one retrieval. Of those taken from `instances`, each that the peer has is told as `transferred`;
    every other one of the selection did not leave."""

    def __init__(
        self,
        way: Way,
        selection: Selection,
        reader: InstanceReader,
        repository: ObjectSource,
        pep: RetrieveEnforcement,
        audit: AuditRecorder,
    ) -> None:
        self.total = selection.total
        """Objects selected; those that have become unreachable since are not among `instances`."""
        self.kinds = selection.kinds
        self.instances = selection.instances
        self.destination = way.destination
        """Whereto, if not to the one who asks."""
        self._selection = selection
        self._way = way
        self._reader = reader
        self._repository = repository
        self._pep = pep
        self._audit = audit
        self._transferred = Tally()
        self._why = "sub-operations failed"
        self._told: set[tuple[str, Action]] = set()
        self._ahead: Ahead[Outgoing] = Ahead()

    def expect(self, instance: StoredInstance, syntax: str) -> None:
        """It will probably be opened next, in this syntax: read and verify it now. Decides nothing."""
        self._ahead.expect((instance.object_id, syntax), partial(self._read, instance, syntax))

    def open(self, instance: StoredInstance, syntax: str) -> Outgoing:
        """Decide again, verify, and open an object in a transfer syntax.

        Raises:
            AccessDenied: the policy no longer permits it, or does not let the destination have it.
            UnsupportedTransferSyntax: the object has no form in that syntax.
            StorageError: it is not what was stored; an officer is told.
        """
        study_uid = instance.key.study_uid
        # Read anew: the rows of a page are older than this object's turn, and a label may have come between.
        facts = self._reader.study_facts(study_uid)
        for grant in self._way.grants:
            if facts is None or not self._pep.redecide(grant, facts):
                self._denied(grant, study_uid)
        try:
            return self._ahead.take((instance.object_id, syntax), partial(self._read, instance, syntax))
        except (IntegrityFault, ObjectMissing, KeyUnavailable) as error:
            description = f"object {instance.object_id} is not what was stored: {type(error).__name__}"
            alert = Alert.OBJECT_SECURITY_ATTRIBUTES_CHANGED.value
            self._audit.record(SecurityAlert(self._actor, Outcome.SERIOUS_FAILURE, "", alert, description, study_uid))
            raise

    def _read(self, instance: StoredInstance, syntax: str) -> Outgoing:
        if self._way.hidden:
            return self._repository.open_masked(instance, self._way.hidden, syntax)
        return self._repository.open(instance, syntax)

    def _denied(self, grant: ScopedGrant, study_uid: str) -> NoReturn:
        """Tell it once a study, and raise."""
        reason = "no longer permitted when its turn came"
        if grant is self._way.received and self.destination is not None:
            reason = f"node {self.destination.node.identity.name} may not receive it"
        if (study_uid, grant.action) not in self._told:
            self._told.add((study_uid, grant.action))
            action = grant.action.value
            self._audit.record(AccessRefused(self._actor, Outcome.MINOR_FAILURE, reason, action, study_uid))
        raise AccessDenied(grant.action.value, reason)

    def transferred(self, instance: StoredInstance) -> None:
        """The peer has it."""
        self._transferred.add(instance)
        # The second reading may find what the first did not: a study that has come between has no name here.
        unnamed = StudyNames(instance.facts.patient_id or "", "", "")
        self._selection.names.setdefault(instance.key.study_uid, unnamed)

    def cancelled(self) -> None:
        """The peer wants no more of them (C-CANCEL)."""
        self._why = "cancelled by the requestor"

    def unreachable(self, reason: str) -> None:
        """The destination does not take them; ``reason`` holds nothing that a peer sent."""
        self._why = f"the destination could not be reached: {reason}"

    def __enter__(self) -> "Retrieval":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Tell the audit what left and what did not, however the transfer ended. Raises `AuditUnavailable`."""
        self._ahead.close()
        left_behind = self._selection.counted.without(self._transferred)
        reason = self._why if error is None else f"broken off ({type(error).__name__})"
        events = [
            *self._ended(self._transferred, Outcome.SUCCESS, ""),
            *self._ended(left_behind, Outcome.MINOR_FAILURE, reason),
        ]
        if events:
            self._audit.record(*events)

    def _ended(self, counted: Tally, outcome: Outcome, reason: str) -> list[AuditEvent]:
        return [
            InstancesTransferred(self._actor, outcome, reason, studies, *self._way.whither())
            for studies in counted.by_patient(self._selection.names)
        ]

    @property
    def _actor(self) -> Actor:
        return Actor.of(self._way.grant.session)
