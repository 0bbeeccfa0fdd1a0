"""Retrievals: which objects a person gets, each decided again before it leaves, both ends told to the audit.

The order of one retrieval:

1. the enforcement point gives a grant: the studies within reach, and what of their objects stays hidden;
2. the identifier becomes a selection, AND-ed with the grant's scope;
3. Begin Transferring is in the audit, a record for each patient; where nothing is selected, or the identifier is none,
   a Query instead: no instance moves, but somebody asked;
4. each object: Cedar decides again, its bytes are verified, what is hidden is masked, then the first of them leaves;
   a masked object leaves under a SOP Instance UID of its own, which is kept in a map before that;
5. at the end, whatever ended it: Instances Transferred, a record for each patient and outcome; every instance of step 3
   is in exactly one of them.

Knows nothing of the wire.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from types import TracebackType
from typing import Final, Protocol

from archive.audit.events import (
    AccessRefused,
    Actor,
    Alert,
    AuditEvent,
    InstancesTransferred,
    Outcome,
    SecurityAlert,
    StudyTouched,
    TransferBegun,
)
from archive.enforcement.grant import ScopedGrant
from archive.services.query import Asked, performed
from archive.session import AssociationSession
from auth.errors import AccessDenied, VolumeExceeded
from auth.policy.model import Action
from storage.confidentiality.mask import Mask
from storage.errors import IntegrityFault, KeyUnavailable, ObjectMissing, StorageError, TooManyMatches
from storage.index.matching import QueryKey, QueryModel, plan_retrieve
from storage.index.predicate import Predicate
from storage.index.reader import StudyNames
from storage.instance import StoredInstance, StudyFacts

_REMEMBERED: Final = 200
"""Masked instances that are written down at once, ahead of their turn."""
MAX_INSTANCES: Final = 65_535
"""Of one retrieval: its counters are 16 bits wide (PS3.7 E.1, US)."""


class AuditRecorder(Protocol):
    """Where transfers are told (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Put the events on stable storage. Raises `AuditUnavailable`."""


class RetrieveEnforcement(Protocol):
    """What is asked of `archive.enforcement.pep.PolicyEnforcementPoint`."""

    def retrieve(self, session: AssociationSession, sop_class: str) -> ScopedGrant:
        """The studies within reach. Raises `AccessDenied`, audited."""

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
        """The data set in the syntax it was stored in."""

    def close(self) -> None:
        """Let go of it; idempotent."""


class MaskedNames(Protocol):
    """Where masked instances are remembered (`archive.records.masked.MaskedRecords`)."""

    def keep(self, originals: Mapping[str, str]) -> None:
        """Remember originals by masked SOP Instance UID, durably."""


class Volumes(Protocol):
    """Where retrieved objects are counted (`archive.records.volume.VolumeRecords`)."""

    def take(self, person: str, objects: int, limit: int) -> bool:
        """Count objects for a person if they stay within a day's limit."""


class ObjectSource(Protocol):
    """What is asked of `storage.repository.Repository`."""

    def open(self, instance: StoredInstance) -> Outgoing:
        """Verify an object and open it.

        Raises:
            IntegrityFault, ObjectMissing, KeyUnavailable: it is not what was stored.
        """

    def open_masked(self, instance: StoredInstance, hidden: frozenset[int]) -> Outgoing:
        """As `open`, without what is hidden. Raises `CannotBeMasked` besides."""

    def mask(self, hidden: frozenset[int]) -> Mask:
        """The mask of these attributes."""


@dataclass(frozen=True, slots=True)
class RetrievalRecords:
    """What retrievals keep beside the audit."""

    masked: MaskedNames
    volumes: Volumes


@dataclass(slots=True)
class _Tally:
    """Objects by study and SOP class."""

    studies: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, instance: StoredInstance) -> None:
        """Count one."""
        classes = self.studies.setdefault(instance.key.study_uid, {})
        classes[instance.key.sop_class_uid] = classes.get(instance.key.sop_class_uid, 0) + 1

    def without(self, other: "_Tally") -> "_Tally":
        """What is counted here and not there."""
        left = _Tally()
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


class RetrieveService:
    """Gives objects out. Shared by all associations; thread-safe."""

    def __init__(
        self,
        reader: InstanceReader,
        repository: ObjectSource,
        pep: RetrieveEnforcement,
        audit: AuditRecorder,
        records: RetrievalRecords,
    ) -> None:
        self._reader = reader
        self._repository = repository
        self._pep = pep
        self._audit = audit
        self._records = records

    def select(
        self, session: AssociationSession, asked: Asked, model: QueryModel, keys: Sequence[QueryKey]
    ) -> "Retrieval":
        """Find what is asked for and may be had, and tell the audit that it begins. Use as a context manager.

        Raises:
            AccessDenied: no study is within reach, or (`VolumeExceeded`) it is too much for a day.
            IdentifierInvalid: the identifier breaks the information model.
            TooManyMatches: more than `MAX_INSTANCES`.
            StoreNotReady: the index is being rebuilt.
            AuditUnavailable: it could not be told.
        """
        grant = self._pep.retrieve(session, asked.sop_class)
        try:
            predicate = plan_retrieve(model, keys).predicate
            selected = _Tally()
            total = 0
            for instance in self._reader.instances(predicate, grant.scope):
                total += 1
                if total > MAX_INSTANCES:
                    raise TooManyMatches(f"more than {MAX_INSTANCES} instances in one retrieval")
                selected.add(instance)
            names = self._reader.study_names(selected.studies)
            self._check_volume(grant, total)
        except StorageError as error:
            self.refused(session, asked, str(error))
            raise
        if total:
            actor, to = Actor.of(session), session.calling_ae
            begun = [TransferBegun(actor, studies=s, destination=to) for s in selected.by_patient(names)]
            self._audit.record(*begun)
        else:
            self._audit.record(replace(performed(session, asked), reason="a retrieval that found nothing"))
        # Read a second time rather than held: thousands of instances of an idle peer would stay in memory otherwise.
        instances: Iterator[StoredInstance] = islice(self._reader.instances(predicate, grant.scope), total)
        if grant.hidden:
            instances = self._remembered(grant, instances)
        selection = Selection(total, instances, selected, names)
        return Retrieval(grant, selection, self._reader, self._repository, self._pep, self._audit)

    def _check_volume(self, grant: ScopedGrant, objects: int) -> None:
        """Count against the person's budget before anything is told to begin."""
        person = grant.session.person
        if grant.volume is None or (person and self._records.volumes.take(person, objects, grant.volume)):
            return
        reason = f"more than {grant.volume} objects in a day"
        actor = Actor.of(grant.session)
        self._audit.record(
            AccessRefused(actor, Outcome.MINOR_FAILURE, reason, action=grant.action.value),
            SecurityAlert(actor, Outcome.MINOR_FAILURE, description=f"{grant.action.value} refused: {reason}"),
        )
        raise VolumeExceeded(grant.action.value, reason)

    def _remembered(self, grant: ScopedGrant, instances: Iterator[StoredInstance]) -> Iterator[StoredInstance]:
        """The instances; those that will leave masked are in the map, durably, before they do."""
        mask = self._repository.mask(grant.hidden)
        while batch := list(islice(instances, _REMEMBERED)):
            uids = [instance.key.sop_instance_uid for instance in batch]
            self._records.masked.keep({mask.renamed(uid): uid for uid in uids})
            yield from batch

    def refused(self, session: AssociationSession, asked: Asked, reason: str) -> None:
        """Tell the audit of a retrieval that was none. ``reason`` holds nothing that the peer sent."""
        self._audit.record(replace(performed(session, asked), outcome=Outcome.MINOR_FAILURE, reason=reason))


@dataclass(frozen=True, slots=True)
class Selection:
    """What one retrieval is about: its objects, how many of what, and how people call their studies."""

    total: int
    instances: Iterator[StoredInstance]
    counted: _Tally
    names: dict[str, StudyNames]


class Retrieval:
    """The objects of one retrieval. Of those taken from `instances`, each that the peer has is told as `transferred`;
    every other one of the selection did not leave."""

    def __init__(
        self,
        grant: ScopedGrant,
        selection: Selection,
        reader: InstanceReader,
        repository: ObjectSource,
        pep: RetrieveEnforcement,
        audit: AuditRecorder,
    ) -> None:
        self.total = selection.total
        """Objects selected; those that have become unreachable since are not among `instances`."""
        self.instances = selection.instances
        self._selection = selection
        self._grant = grant
        self._reader = reader
        self._repository = repository
        self._pep = pep
        self._audit = audit
        self._transferred = _Tally()
        self._cancelled = False
        self._told: set[str] = set()

    def open(self, instance: StoredInstance) -> Outgoing:
        """Decide again, verify, and open an object.

        Raises:
            AccessDenied: the policy no longer permits it.
            StorageError: it is not what was stored; an officer is told.
        """
        study_uid = instance.key.study_uid
        # Read anew: the rows of a page are older than this object's turn, and a label may have come between.
        facts = self._reader.study_facts(study_uid)
        if facts is None or not self._pep.redecide(self._grant, facts):
            reason = "no longer permitted when its turn came"
            if study_uid not in self._told:
                self._told.add(study_uid)
                action = Action.RETRIEVE.value
                self._audit.record(AccessRefused(self._actor, Outcome.MINOR_FAILURE, reason, action, study_uid))
            raise AccessDenied(Action.RETRIEVE.value, reason)
        try:
            if self._grant.hidden:
                return self._repository.open_masked(instance, self._grant.hidden)
            return self._repository.open(instance)
        except (IntegrityFault, ObjectMissing, KeyUnavailable) as error:
            description = f"object {instance.object_id} is not what was stored: {type(error).__name__}"
            alert = Alert.OBJECT_SECURITY_ATTRIBUTES_CHANGED.value
            self._audit.record(SecurityAlert(self._actor, Outcome.SERIOUS_FAILURE, "", alert, description, study_uid))
            raise

    def transferred(self, instance: StoredInstance) -> None:
        """The peer has it."""
        self._transferred.add(instance)
        # The second reading may find what the first did not: a study that has come between has no name here.
        unnamed = StudyNames(instance.facts.patient_id or "", "", "")
        self._selection.names.setdefault(instance.key.study_uid, unnamed)

    def cancelled(self) -> None:
        """The peer wants no more of them (C-CANCEL)."""
        self._cancelled = True

    def __enter__(self) -> "Retrieval":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Tell the audit what left and what did not, however the transfer ended. Raises `AuditUnavailable`."""
        left_behind = self._selection.counted.without(self._transferred)
        reason = "sub-operations failed"
        if self._cancelled:
            reason = "cancelled by the requestor"
        elif error is not None:
            reason = f"broken off ({type(error).__name__})"
        events = [
            *self._ended(self._transferred, Outcome.SUCCESS, ""),
            *self._ended(left_behind, Outcome.MINOR_FAILURE, reason),
        ]
        if events:
            self._audit.record(*events)

    def _ended(self, counted: _Tally, outcome: Outcome, reason: str) -> list[AuditEvent]:
        destination = self._grant.session.calling_ae
        return [
            InstancesTransferred(self._actor, outcome, reason, studies, destination)
            for studies in counted.by_patient(self._selection.names)
        ]

    @property
    def _actor(self) -> Actor:
        return Actor.of(self._grant.session)
