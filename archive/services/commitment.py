"""Storage commitment: what is kept is said to be kept, after it was read back (PS3.4 J). Knows nothing of the wire.

The order of one request:

1. the enforcement point gives a grant: the studies about which this node may ask at all;
2. each referenced object is looked up, and decided: one that it may not ask about is answered as one that is not there;
3. the request is kept, durably; only now is it taken;
4. later: every object is opened, every byte verified, and only then counted as committed;
5. the result is kept and in the audit before anybody is told of it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Final, Protocol

from archive.audit.events import (
    AccessRefused,
    Actor,
    Alert,
    AuditEvent,
    CommitmentAnswered,
    Outcome,
    SecurityAlert,
    StudyTouched,
)
from archive.enforcement.grant import ScopedGrant
from archive.records.commitments import PendingCommitment
from archive.session import AssociationSession
from auth.policy.model import Action
from storage.errors import IndexFault, IntegrityFault, KeyUnavailable, ObjectMissing, StorageError, StoreNotReady
from storage.index.reader import KeptInstance, StudyNames
from storage.instance import StoredInstance, StudyFacts

_LOOKED_UP: Final = 500
"""References that one statement asks the index about."""


class Failure(IntEnum):
    """Failure Reason (0008,1197), PS3.3 C.14.1.1."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    CLASS_CONFLICT = 0x0119
    CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION = 0x0131
    RESOURCE_LIMITATION = 0x0213


@dataclass(frozen=True, slots=True)
class Reference:
    """One object that commitment is asked for."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class CommitmentResult:
    """What became of a request: every object of it is in one of the two."""

    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]

    @classmethod
    def kept(cls, facts: Mapping[str, Any]) -> "CommitmentResult":
        """As the queue has it."""
        return cls(
            tuple(Reference(*pair) for pair in facts["committed"]),
            tuple((Reference(*pair), reason) for *pair, reason in facts["failed"]),
        )

    def facts(self) -> dict[str, Any]:
        """For the queue."""
        return {
            "committed": [[one.sop_class_uid, one.sop_instance_uid] for one in self.committed],
            "failed": [[one.sop_class_uid, one.sop_instance_uid, int(reason)] for one, reason in self.failed],
        }


class AuditRecorder(Protocol):
    """Where results are told (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Put the events on stable storage. Raises `AuditUnavailable`."""


class CommitmentEnforcement(Protocol):
    """What is asked of `archive.enforcement.pep.PolicyEnforcementPoint`."""

    def commit(self, session: AssociationSession, sop_class: str) -> ScopedGrant:
        """The studies within reach. Raises `AccessDenied`, audited."""

    def redecide_all(self, grant: ScopedGrant, studies: Sequence[StudyFacts]) -> list[bool]:
        """Whether the policy permits each study now."""


class KeptObjects(Protocol):
    """What is asked of `storage.index.reader.IndexReader`."""

    def lookup(self, sop_instance_uids: Iterable[str]) -> dict[str, KeptInstance]:
        """The objects kept under these UIDs."""

    def study_names(self, study_uids: Iterable[str]) -> dict[str, StudyNames]:
        """Patient and accession number of studies, by UID."""


class Opened(Protocol):
    """A verified object."""

    def close(self) -> None:
        """Let go of it."""


class ObjectSource(Protocol):
    """What is asked of `storage.repository.Repository`."""

    def open(self, instance: StoredInstance) -> Opened:
        """Verify every byte of an object."""


class Queue(Protocol):
    """What is asked of `archive.records.commitments.CommitmentRecords`."""

    def add(
        self, node: str, calling_ae: str, transaction_uid: str, asked: Mapping[str, Any], received: datetime
    ) -> int:
        """Keep a request, durably; its id."""

    def in_use(self, node: str, transaction_uid: str) -> bool:
        """Whether such a request waits for its result."""

    def settled(self, key: int, result: Mapping[str, Any]) -> None:
        """Keep the result of a request."""


class CommitmentService:
    """Takes requests for commitment, and finds their results. Shared by all associations; thread-safe."""

    def __init__(
        self,
        reader: KeptObjects,
        repository: ObjectSource,
        pep: CommitmentEnforcement,
        audit: AuditRecorder,
        queue: Queue,
        *,
        supported: frozenset[str],
        clock: Callable[[], datetime],
    ) -> None:
        """``supported``: SOP classes that are stored here; ``clock`` gives aware times."""
        self._reader = reader
        self._repository = repository
        self._pep = pep
        self._audit = audit
        self._queue = queue
        self._supported = supported
        self._clock = clock

    def ask(
        self, session: AssociationSession, sop_class: str, transaction_uid: str, references: Sequence[Reference]
    ) -> int:
        """Take a request; its id in the queue.

        Raises:
            AccessDenied: the policy lets the node ask about no study whatever.
            StoreNotReady, StorageError: it could not be looked up or kept, and is not taken.
            AuditUnavailable: a denial could not be told.
        """
        grant = self._pep.commit(session, sop_class)
        failures: dict[str, int] = {}
        if self._queue.in_use(session.node.name, transaction_uid):
            failures = {one.sop_instance_uid: Failure.DUPLICATE_TRANSACTION for one in references}
        else:
            for some in _in_parts(references):
                failures |= self._looked_up(grant, some)
        asked = {
            "references": [[one.sop_class_uid, one.sop_instance_uid] for one in references],
            "failures": {uid: int(reason) for uid, reason in failures.items()},
            "actor": Actor.of(session).facts(),
        }
        return self._queue.add(session.node.name, session.calling_ae, transaction_uid, asked, self._clock())

    def settle(self, pending: PendingCommitment) -> CommitmentResult:
        """Read back what was asked about, and keep what came of it; what is settled already is only read.

        Raises:
            StoreNotReady: the index is being rebuilt; ask again later.
            AuditUnavailable, StorageError: the result could not be told or kept.
        """
        if pending.result is not None:
            return CommitmentResult.kept(pending.result)
        actor = Actor(**{**pending.asked["actor"], "roles": tuple(pending.asked["actor"].get("roles", ()))})
        references = [Reference(*pair) for pair in pending.asked["references"]]
        failures: dict[str, int] = dict(pending.asked["failures"])
        touched: dict[str, dict[str, int]] = {}
        committed: list[Reference] = []
        failed: list[tuple[Reference, int]] = []
        for some in _in_parts(references):
            kept = self._reader.lookup([one.sop_instance_uid for one in some])
            for one in some:
                found = kept.get(one.sop_instance_uid)
                reason = failures.get(one.sop_instance_uid) or self._verified(found, actor)
                if reason is None and found is not None:
                    committed.append(one)
                    classes = touched.setdefault(found.stored.key.study_uid, {})
                    classes[one.sop_class_uid] = classes.get(one.sop_class_uid, 0) + 1
                else:
                    failed.append((one, reason or Failure.NO_SUCH_INSTANCE))
        result = CommitmentResult(tuple(committed), tuple(failed))
        self._tell(actor, touched, len(failed))
        self._queue.settled(pending.id, result.facts())
        return result

    def given_up(self, pending: PendingCommitment, reason: str) -> None:
        """Nobody took a result in all the time there was; ``reason`` holds nothing that a peer sent."""
        actor = Actor(node=pending.node, ae_title=pending.calling_ae)
        words = f"a storage commitment result could not be delivered: {reason}"
        self._audit.record(
            SecurityAlert(actor, Outcome.MINOR_FAILURE, alert=Alert.NETWORK_CONFIGURATION.value, description=words)
        )

    def _looked_up(self, grant: ScopedGrant, references: Sequence[Reference]) -> dict[str, int]:
        """What is decided at once: objects of no supported class, of another class, or that may not be asked about."""
        kept = self._reader.lookup([one.sop_instance_uid for one in references])
        studies = {found.stored.key.study_uid: found.stored.facts for found in kept.values()}
        decisions = self._pep.redecide_all(grant, list(studies.values()))
        allowed = {uid for uid, permitted in zip(studies, decisions, strict=True) if permitted}
        reason = "commitment of objects that the policy does not let it ask about"
        actor, action = Actor.of(grant.session), Action.COMMIT.value
        denied = [
            AccessRefused(actor, Outcome.MINOR_FAILURE, reason, action, uid) for uid in studies if uid not in allowed
        ]
        if denied:
            self._audit.record(*denied)
        failures: dict[str, int] = {}
        for one in references:
            found = kept.get(one.sop_instance_uid)
            if one.sop_class_uid not in self._supported:
                failures[one.sop_instance_uid] = Failure.CLASS_NOT_SUPPORTED
            elif found is None or found.stored.key.study_uid not in allowed:
                # The two look the same from outside: nobody learns of what they may not see.
                failures[one.sop_instance_uid] = Failure.NO_SUCH_INSTANCE
            elif found.stored.key.sop_class_uid != one.sop_class_uid:
                failures[one.sop_instance_uid] = Failure.CLASS_CONFLICT
        return failures

    def _verified(self, found: KeptInstance | None, actor: Actor) -> int | None:
        """Why an object is not committed; None once every byte of it was read back and is what was stored."""
        if found is None:
            return Failure.NO_SUCH_INSTANCE
        try:
            self._repository.open(found.stored).close()
        except (IntegrityFault, ObjectMissing, KeyUnavailable) as error:
            description = f"object {found.stored.object_id} is not what was stored: {type(error).__name__}"
            alert, study_uid = Alert.OBJECT_SECURITY_ATTRIBUTES_CHANGED.value, found.stored.key.study_uid
            self._audit.record(SecurityAlert(actor, Outcome.SERIOUS_FAILURE, "", alert, description, study_uid))
            return Failure.NO_SUCH_INSTANCE if isinstance(error, ObjectMissing) else Failure.PROCESSING_FAILURE
        except (StoreNotReady, IndexFault):
            raise
        except StorageError:
            return Failure.RESOURCE_LIMITATION
        return None

    def _tell(self, actor: Actor, touched: Mapping[str, dict[str, int]], failed: int) -> None:
        names = self._reader.study_names(touched)
        events: list[AuditEvent] = []
        for uid, classes in touched.items():
            known = names.get(uid) or StudyNames("", "", "")
            study = StudyTouched(uid, known.patient_id, known.patient_name, known.accession_number, classes)
            events.append(CommitmentAnswered(actor, studies=(study,)))
        if failed:
            reason = f"{failed} objects were not committed"
            events.append(CommitmentAnswered(actor, Outcome.MINOR_FAILURE, reason))
        if events:
            self._audit.record(*events)


def _in_parts(references: Sequence[Reference]) -> Iterator[Sequence[Reference]]:
    for start in range(0, len(references), _LOOKED_UP):
        yield references[start : start + _LOOKED_UP]
