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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Protocol

from archive.audit.events import (
    AccessRefused,
    Actor,
    Outcome,
    SecurityAlert,
    TransferBegun,
)
from archive.enforcement.grant import ScopedGrant
from archive.errors import DestinationUnknown
from archive.services.destinations import Destinations
from archive.services.even_time import EvenTime
from archive.services.query import Asked, performed
from archive.services.retrieval import (
    AuditRecorder,
    InstanceReader,
    ObjectSource,
    Retrieval,
    RetrieveEnforcement,
    Selection,
    Tally,
    Way,
)
from archive.session import AssociationSession
from auth.errors import VolumeExceeded
from storage.errors import StorageError
from storage.index.planning import InformationModel, plan_retrieve
from storage.index.sequences import QueryKey
from storage.instance import StoredInstance

_REMEMBERED: Final = 200
"""Masked instances that are written down at once, ahead of their turn."""


class MaskedNames(Protocol):
    """Where masked instances are remembered (`archive.records.masked.MaskedRecords`)."""

    def keep(self, originals: Mapping[str, str]) -> None:
        """Remember originals by masked SOP Instance UID, durably."""


class Volumes(Protocol):
    """Where retrieved objects are counted (`archive.records.volume.VolumeRecords`)."""

    def take(self, person: str, objects: int, limit: int) -> bool:
        """Count objects for a person if they stay within a day's limit."""


@dataclass(frozen=True, slots=True)
class RetrievalRecords:
    """What retrievals keep beside the audit."""

    masked: MaskedNames
    volumes: Volumes


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
        self,
        session: AssociationSession,
        asked: Asked,
        model: InformationModel,
        keys: Sequence[QueryKey],
        *,
        relational: bool = False,
    ) -> Retrieval:
        """Find what is asked for and may be had, and tell the audit that it begins. Use as a context manager.

        ``relational``: it was agreed that levels above may be left unnamed.

        Raises:
            AccessDenied: no study is within reach, or (`VolumeExceeded`) it is too much for a day.
            IdentifierInvalid: the identifier breaks the information model.
            StoreNotReady: the index is being rebuilt.
            AuditUnavailable: it could not be told.
        """
        return self._select(Way(self._pep.retrieve(session, asked.sop_class)), asked, model, keys, relational)

    def select_for(
        self,
        session: AssociationSession,
        asked: Asked,
        model: InformationModel,
        keys: Sequence[QueryKey],
        ae_title: str,
        *,
        relational: bool = False,
    ) -> Retrieval:
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
        return self._select(Way(grant, destination, received), asked, model, keys, relational)

    def _select(
        self, way: Way, asked: Asked, model: InformationModel, keys: Sequence[QueryKey], relational: bool
    ) -> Retrieval:
        session, scope = way.grant.session, way.grant.scope
        try:
            predicate = plan_retrieve(model, keys, relational=relational).predicate
            selected = Tally()
            total, search = 0, EvenTime()
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
            search.found_nothing()
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
