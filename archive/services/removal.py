"""Taking objects away, bringing them back, and destroying them; who may is decided by whoever calls.

A tombstone hides objects at once and keeps their bytes; erasure destroys the keys of what has a tombstone. Both are in
the ledger and in the audit (PS3.15 A.5.3.6, A.5.3.8) before they take effect. A study on hold keeps what it has.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Final, Protocol

from archive.audit.events import Actor, Alert, StudyTouched
from storage.batches import batches
from storage.errors import ObjectMissing, StudyHeld
from storage.events import ERASED, HELD, MAX_INSTANCES, RELEASED, TOMBSTONED, NamedInstance, facts_naming
from storage.index.predicate import EVERYTHING, Compare, Predicate
from storage.index.reader import StudyNames
from storage.index.removal import Tombstone
from storage.instance import StoredInstance, StudyFacts
from storage.ports import LedgerEntry


@dataclass(frozen=True, slots=True)
class Reason:
    """Why objects are taken away: a document title of rejection notes (PS3.16 CID 7011, IHE RAD TF IOCM)."""

    code: str
    meaning: str
    word: str
    """As operators say it."""
    comes_back: bool = False
    """Whether the same object may be stored again, and after its erasure any under its UID."""


QUALITY: Final = Reason("113001", "Rejected for Quality Reasons", "quality")
SAFETY: Final = Reason("113037", "Rejected for Patient Safety Reasons", "safety")
WORKLIST: Final = Reason("113038", "Incorrect Modality Worklist Entry", "worklist")
EXPIRED: Final = Reason("113039", "Data Retention Policy Expired", "expired", comes_back=True)
REASONS: Final = {reason.code: reason for reason in (QUALITY, SAFETY, WORKLIST, EXPIRED)}
"""By code, scheme DCM."""


class ObjectsKept(Protocol):
    """What is asked of `storage.index.reader.IndexReader`."""

    def instances(self, predicate: Predicate, scope: Predicate) -> Iterator[StoredInstance]:
        """The instances selected."""

    def study_facts(self, study_uid: str) -> StudyFacts | None:
        """What policy reads of a study."""

    def study_names(self, study_uids: Iterable[str]) -> dict[str, StudyNames]:
        """Patient and accession number of studies, by UID."""


class ObjectsRemoved(Protocol):
    """What is asked of `storage.index.removed.RemovedReader`."""

    def held(self, study_uid: str) -> bool:
        """Whether a study is on hold."""

    def tombstone(self, sop_instance_uid: str) -> Tombstone | None:
        """What became of an object that was taken away."""

    def absent_labels(self, study_uid: str) -> frozenset[str]:
        """Labels that wait for a study."""

    def of_study(self, study_uid: str, *, before: str | None = None) -> Iterator[Tombstone]:
        """What was taken away of a study, before a time if one is given, and is not erased."""

    def studies(self, before: str) -> Iterator[str]:
        """Studies of which something was taken away before a time and is not erased."""


class Repository(Protocol):
    """What is asked of `storage.repository.Repository`."""

    @property
    def reader(self) -> ObjectsKept:
        """What is kept."""

    @property
    def removed(self) -> ObjectsRemoved:
        """What was taken away."""

    def record(self, event: str, facts: Mapping[str, object], provenance: Mapping[str, object]) -> LedgerEntry:
        """Commit an event."""

    def restore(
        self, study_uid: str, instances: Sequence[NamedInstance], provenance: Mapping[str, object]
    ) -> LedgerEntry:
        """Bring objects back."""


@dataclass(frozen=True, slots=True)
class _Why:
    """Why objects of one study are taken away, and whether that is all that is kept of it."""

    reason: Reason
    note: str
    whole: bool


class RemovalService:
    """Carries removals out, study by study; whatever failed may be asked for again. Thread-safe."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def take_away(self, actor: Actor, instances: Sequence[StoredInstance], reason: Reason, note: str = "") -> int:
        """Give objects tombstones; how many. ``note`` is the SOP Instance UID of the document that says so, if any.

        Raises:
            StudyHeld: a study is on hold; nothing of any study is taken away.
            ObjectMissing: an object went meanwhile.
            StorageError, AuditUnavailable: it could not be told, and did not happen.
        """
        ordered = sorted(instances, key=lambda it: (it.key.study_uid, it.key.sop_instance_uid))
        self.check_holds({it.key.study_uid for it in ordered})
        for study_uid, them in groupby(ordered, lambda it: it.key.study_uid):
            taken = list(them)
            whole = len(taken) == len(self.kept(Compare("study_uid", "==", study_uid)))
            for chunk in batches(taken, MAX_INSTANCES):
                self._take_away(actor, study_uid, chunk, _Why(reason, note, whole))
        return len(ordered)

    def check_holds(self, study_uids: Iterable[str]) -> None:
        """Raises `StudyHeld` where a study is on hold."""
        if any(map(self._repository.removed.held, study_uids)):
            raise StudyHeld("the study is on hold: release it first")

    def give_reason(self, actor: Actor, stones: Sequence[Tombstone], reason: Reason, note: str) -> None:
        """Say anew why objects were taken away that are so already. Raises as `take_away`."""
        for study_uid, them in groupby(sorted(stones, key=_by_study), lambda stone: stone.study_uid):
            for chunk in batches(them, MAX_INSTANCES):
                named = [stone.named for stone in chunk]
                facts = facts_naming(study_uid, named, reason=reason.code, note=note, comes_back=reason.comes_back)
                words = f"once more: {reason.meaning}"
                self._repository.record(TOMBSTONED, facts, self._provenance(actor, study_uid, {}, words))

    def restore(self, actor: Actor, study_uid: str) -> int:
        """Bring back whatever was taken away of a study and is not erased; how many objects.

        Raises:
            ObjectMissing: there is nothing.
            IntegrityFault, KeyUnavailable: an object is not what was stored.
        """
        stones = list(self._repository.removed.of_study(study_uid))
        if not stones:
            raise ObjectMissing("nothing of that study was taken away and could come back")
        for chunk in batches(stones, MAX_INSTANCES):
            words = f"{len(chunk)} objects of study {study_uid} restored"
            self._repository.restore(study_uid, [stone.named for stone in chunk], changed(actor, words))
        return len(stones)

    def erase(self, actor: Actor, study_uid: str) -> int:
        """Destroy what was taken away of a study; how many objects.

        Raises:
            ObjectMissing: there is nothing.
            StudyHeld: the study is on hold.
        """
        stones = list(self._repository.removed.of_study(study_uid))
        if not stones:
            raise ObjectMissing("nothing of that study was taken away and could be erased")
        self.check_holds([study_uid])
        self._erase(actor, study_uid, stones)
        return len(stones)

    def erase_due(self, actor: Actor, before: str) -> int:
        """Destroy whatever was taken away before a time (ISO 8601, UTC), but for studies on hold; how many objects."""
        removed = self._repository.removed
        return sum(
            self._erase(actor, study_uid, removed.of_study(study_uid, before=before))
            for study_uid in removed.studies(before)
            if not removed.held(study_uid)
        )

    def hold(self, actor: Actor, study_uid: str, why: str) -> None:
        """Nothing of the study is taken away or erased from now on. Raises `ObjectMissing`."""
        words = f"study {study_uid} put on hold: {why}"
        self._repository.record(HELD, {"study_uid": study_uid}, changed(actor, words))

    def release(self, actor: Actor, study_uid: str, why: str) -> None:
        """And may be again. Raises `ObjectMissing`."""
        words = f"study {study_uid} released from hold: {why}"
        self._repository.record(RELEASED, {"study_uid": study_uid}, changed(actor, words))

    def kept(self, predicate: Predicate) -> list[StoredInstance]:
        """What a predicate selects of all that is kept."""
        return list(self._repository.reader.instances(predicate, EVERYTHING))

    def _take_away(self, actor: Actor, study_uid: str, chunk: Sequence[StoredInstance], why: "_Why") -> None:
        named = [NamedInstance(it.key.sop_instance_uid, it.object_id, it.address) for it in chunk]
        classes: dict[str, int] = {}
        for it in chunk:
            classes[it.key.sop_class_uid] = classes.get(it.key.sop_class_uid, 0) + 1
        said = {"reason": why.reason.code, "note": why.note, "comes_back": why.reason.comes_back}
        provenance = self._provenance(actor, study_uid, classes, why.reason.meaning) | {"whole": why.whole}
        self._repository.record(TOMBSTONED, facts_naming(study_uid, named, **said), provenance)

    def _erase(self, actor: Actor, study_uid: str, stones: Iterable[Tombstone]) -> int:
        """How many."""
        count = 0
        for chunk in batches(stones, MAX_INSTANCES):
            count += len(chunk)
            facts = facts_naming(study_uid, [stone.named for stone in chunk])
            words = f"{len(chunk)} objects erased: their keys are destroyed"
            self._repository.record(ERASED, facts, self._provenance(actor, study_uid, {}, words))
        return count

    def _provenance(self, actor: Actor, study_uid: str, classes: Mapping[str, int], reason: str) -> dict[str, object]:
        """What `archive.audit.journal` makes a message of."""
        known = self._repository.reader.study_names([study_uid]).get(study_uid)
        names = known or StudyNames("", "", "")
        study = StudyTouched(study_uid, names.patient_id, names.patient_name, names.accession_number, dict(classes))
        return {"actor": actor.facts(), "study": asdict(study), "reason": reason, "whole": known is None}


def changed(actor: Actor, description: str) -> dict[str, object]:
    """Provenance of a change of a study's standing."""
    alert = Alert.OBJECT_SECURITY_ATTRIBUTES_CHANGED.value
    return {"actor": actor.facts(), "description": description, "alert": alert}


def _by_study(stone: Tombstone) -> tuple[str, str]:
    return stone.study_uid, stone.sop_instance_uid
