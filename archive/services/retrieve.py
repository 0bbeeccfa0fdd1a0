"""Retrievals: which objects a person gets, or has sent elsewhere, each decided again before it leaves, both ends told
to the audit.

The order of one retrieval:

1. the enforcement point gives a grant: the studies within reach, and what of their objects stays hidden. Where the
   objects go to another node (C-MOVE), that one is registered, and needs a grant of its own to receive them;
2. the identifier becomes a selection, AND-ed with the grant's scope;
3. Begin Transferring is in the audit, a record for each patient; where nothing is selected, or the identifier is none,
   a Query instead: no instance moves, but somebody asked;
4. each object: Cedar decides again (and for the destination), its bytes are verified, what is hidden is masked, then
   the first of them leaves; a masked object has a SOP Instance UID of its own, which is kept in a map before that. The
   next object is read and verified while the peer takes this one; decided it is when its turn comes;
5. at the end, whatever ended it: Instances Transferred, a record for each patient and outcome; every instance of step 3
   is in exactly one of them.

Knows nothing of the wire.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Final, NoReturn, Protocol

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
from archive.errors import DestinationUnknown
from archive.services.ahead import Ahead
from archive.services.destinations import Destination, Destinations
from archive.services.query import Asked, performed
from archive.session import AssociationSession
from auth.errors import AccessDenied, VolumeExceeded
from auth.policy.model import Action
from auth.principal import NodeIdentity
from storage.confidentiality.mask import Mask
from storage.errors import IntegrityFault, KeyUnavailable, ObjectMissing, StorageError
from storage.index.matching import QueryModel, plan_retrieve
from storage.index.predicate import Predicate
from storage.index.reader import StudyNames
from storage.index.sequences import QueryKey
from storage.instance import StoredInstance, StudyFacts

_REMEMBERED: Final = 200
"""Masked instances that are written down at once, ahead of their turn."""


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
        destinations: Destinations,
    ) -> None:
        self._reader = reader
        self._repository = repository
        self._pep = pep
        self._audit = audit
        self._records = records
        self._destinations = destinations

    def select(
        self, session: AssociationSession, asked: Asked, model: QueryModel, keys: Sequence[QueryKey]
    ) -> "Retrieval":
        """Find what is asked for and may be had, and tell the audit that it begins. Use as a context manager.

        Raises:
            AccessDenied: no study is within reach, or (`VolumeExceeded`) it is too much for a day.
            IdentifierInvalid: the identifier breaks the information model.
            StoreNotReady: the index is being rebuilt.
            AuditUnavailable: it could not be told.
        """
        return self._select(Way(self._pep.retrieve(session, asked.sop_class)), asked, model, keys)

    def select_for(
        self, session: AssociationSession, asked: Asked, model: QueryModel, keys: Sequence[QueryKey], ae_title: str
    ) -> "Retrieval":
        """As `select`, for another node, which is named by one of its AE titles.

        An object that this node may not receive is selected all the same, for who asks may know of it; it cannot be
        opened.

        Raises:
            DestinationUnknown: no node is registered for the title, or not where it is reached.
            And as `select`; AccessDenied also where the destination may receive nothing at all.
        """
        try:
            destination = self._destinations.find(session, ae_title)
        except DestinationUnknown as error:
            # Who may move nothing anywhere does not learn which nodes there are.
            self._pep.move(session, asked.sop_class)
            self.refused(session, asked, str(error))
            raise
        grant = self._pep.move(session, asked.sop_class, destination.node.identity)
        received = self._pep.receive(session, destination.session, asked.sop_class)
        return self._select(Way(grant, destination, received), asked, model, keys)

    def _select(self, way: "Way", asked: Asked, model: QueryModel, keys: Sequence[QueryKey]) -> "Retrieval":
        session, scope = way.grant.session, way.grant.scope
        try:
            predicate = plan_retrieve(model, keys).predicate
            selected = _Tally()
            total = 0
            kinds: set[tuple[str, str]] = set()
            for instance in self._reader.instances(predicate, scope):
                total += 1
                selected.add(instance)
                kinds.add((instance.key.sop_class_uid, instance.transfer_syntax))
            names = self._reader.study_names(selected.studies)
            self._check_volume(way.grant, total)
        except StorageError as error:
            self.refused(session, asked, str(error))
            raise
        if total:
            begun = [
                TransferBegun(Actor.of(session), Outcome.SUCCESS, "", studies, *way.whither())
                for studies in selected.by_patient(names)
            ]
            self._audit.record(*begun)
        else:
            self._audit.record(replace(performed(session, asked), reason="a retrieval that found nothing"))
        # Read a second time rather than held: thousands of instances of an idle peer would stay in memory otherwise.
        instances: Iterator[StoredInstance] = islice(self._reader.instances(predicate, scope), total)
        if way.hidden:
            instances = self._remembered(way.hidden, instances)
        selection = Selection(total, frozenset(kinds), instances, selected, names)
        return Retrieval(way, selection, self._reader, self._repository, self._pep, self._audit)

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

    def _remembered(self, hidden: frozenset[int], instances: Iterator[StoredInstance]) -> Iterator[StoredInstance]:
        """The instances; those that will leave masked are in the map, durably, before they do."""
        mask = self._repository.mask(hidden)
        while batch := list(islice(instances, _REMEMBERED)):
            uids = [instance.key.sop_instance_uid for instance in batch]
            self._records.masked.keep({mask.renamed(uid): uid for uid in uids})
            yield from batch

    def refused(self, session: AssociationSession, asked: Asked, reason: str) -> None:
        """Tell the audit of a retrieval that was none. ``reason`` holds nothing that the peer sent."""
        self._audit.record(replace(performed(session, asked), outcome=Outcome.MINOR_FAILURE, reason=reason))


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
    counted: _Tally
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
        self._transferred = _Tally()
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

    def _ended(self, counted: _Tally, outcome: Outcome, reason: str) -> list[AuditEvent]:
        return [
            InstancesTransferred(self._actor, outcome, reason, studies, *self._way.whither())
            for studies in counted.by_patient(self._selection.names)
        ]

    @property
    def _actor(self) -> Actor:
        return Actor.of(self._way.grant.session)
