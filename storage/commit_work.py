"""What waits for the committer, and the threads that wait for its answers (`storage.committer`).

What must never live here: an order of steps, a reason to refuse.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from storage.errors import StoreReadOnly
from storage.events import STORED
from storage.identifiers import ObjectId, Uid
from storage.index.committed import Committed
from storage.index.writer import IndexEntry
from storage.instance import GivenLabels, SealedInstance, StoreOutcome, StoreReceipt
from storage.integrity.ledger import Event
from storage.ports import LedgerEntry

Answer = TypeVar("Answer")


class Work(Generic[Answer]):
    """Something that waits for the committer, and the thread that waits for its answer."""

    __slots__ = ("_answer", "_done", "_failure")

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self._answer: tuple[Answer] | None = None
        self._failure: Exception = StoreReadOnly("the committer ended without an answer")

    @property
    def pending(self) -> bool:
        """Whether nobody has answered."""
        return self._done.locked()

    def answer(self, answer: Answer) -> None:
        """Let the thread that waits go on. Once."""
        self._answer = (answer,)
        self._done.release()

    def fail(self, failure: Exception) -> None:
        """Let it go on with an error. Once."""
        self._failure = failure
        self._done.release()

    def wait(self) -> Answer:
        """The answer. Raises what the work failed with."""
        self._done.acquire()
        if self._answer is None:
            raise self._failure
        return self._answer[0]


class StoreWork(Work[StoreReceipt]):
    """A sealed object."""

    __slots__ = ("event", "labels", "published", "recorded", "sealed", "signatures", "twins")

    def __init__(self, sealed: SealedInstance, provenance: dict[str, object], labels: GivenLabels) -> None:
        super().__init__()
        self.sealed = sealed
        self.labels = labels
        self.signatures = sealed.content.signatures
        self.event = Event(STORED, _facts(sealed), provenance)
        self.twins: list[StoreWork] = []
        """The same object once more in the same batch."""
        self.published = False
        """It has its published name."""
        self.recorded = False
        """Its ledger record may have been written, so that name stays."""

    @property
    def uid(self) -> Uid:
        """SOP Instance UID."""
        return self.sealed.received.key.sop_instance_uid

    def is_same(self, canonical_digest: bytes, signatures: frozenset[bytes]) -> bool:
        """Whether this is that object, and brings no signature that it lacks (DESIGN 5, rule 2)."""
        content = self.sealed.content
        return content.canonical_digest == canonical_digest and signatures >= content.foreign_signatures

    @property
    def study_uid(self) -> Uid:
        """Study Instance UID."""
        return self.sealed.received.key.study_uid

    def give(self, labels: frozenset[str]) -> None:
        """Let its record say that it brings its study these labels."""
        if labels:
            self.event = replace(self.event, facts={**self.event.facts, "labels": sorted(labels)})

    def committed(self, entry: LedgerEntry) -> list[Committed]:
        """What the index is told, once the ledger has it."""
        return [(entry, IndexEntry.of(self.sealed, entry.sequence))]

    def receipt(
        self, outcome: StoreOutcome, object_id: ObjectId, sequence: int, differs: tuple[str, ...]
    ) -> StoreReceipt:
        """What its sender is answered by."""
        return StoreReceipt(outcome, self.sealed.received.key, object_id, sequence, differs)


class RecordWork(Work[LedgerEntry]):
    """An event that is no object; ``objects`` are those that it brings back."""

    __slots__ = ("event", "objects")

    def __init__(self, event: Event, objects: Sequence[IndexEntry]) -> None:
        super().__init__()
        self.event = event
        self.objects = objects

    def committed(self, entry: LedgerEntry) -> list[Committed]:
        """What the index is told, once the ledger has it."""
        back = [(entry, replace(each, ledger_sequence=entry.sequence)) for each in self.objects]
        return [*back, (entry, None)]


class PauseWork(Work[None]):
    """Something that is done while nothing is committed."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        super().__init__()
        self.action = action


def _facts(sealed: SealedInstance) -> dict[str, object]:
    """What the ledger says of an object: which it is and where it lies, and of its content a salted commitment."""
    received = sealed.received
    return {
        "study_uid": received.key.study_uid,
        "series_uid": received.key.series_uid,
        "sop_instance_uid": received.key.sop_instance_uid,
        "sop_class_uid": received.key.sop_class_uid,
        "transfer_syntax": received.declared.transfer_syntax,
        "object_id": received.object_id,
        "address": received.address.hex(),
        "size": received.size,
        "commitment": sealed.content.commitment,
    }
