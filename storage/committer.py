"""How what is sealed becomes visible, recorded and findable (DESIGN 5).

In the thread that has the object, so that the syncs of many objects run beside each other:

1. the object gets its published name, synced.

In the one thread that commits, a batch at a time:

2. decide: conflicts with what is kept, and within the batch; every reason to refuse comes before step 3, and so do the
   labels that an object brings its study, which are part of its record;
3. the ledger's records, synced: THE COMMIT POINT;
4. the journal (the audit trail) is told, synced;
5. the index, in one transaction with its ledger position;
6. answers.

A failure or refusal in 1 or 2 leaves nothing: the published name is taken back. From 3 on a failure leaves the object
where it is, refuses its sender all the same, and makes the store read-only: start-up finishes what was begun
(`storage.recovery`).
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeAlias

from storage.commit_work import Answer, PauseWork, RecordWork, StoreWork, Work
from storage.erasure import carry_out
from storage.errors import (
    CommitUnfinished,
    InstanceConflict,
    InstanceRemoved,
    IntegrityFault,
    ObjectMissing,
    StorageError,
    StoreReadOnly,
    StudyHeld,
)
from storage.events import AUTHORITY, DELIBERATE, ERASED
from storage.health import Health
from storage.identifiers import Uid
from storage.index.committed import apply_committed, kept_content
from storage.index.engine import IndexConnection, IndexEngine
from storage.index.reader import IndexReader
from storage.index.removal import check, tombstones
from storage.index.writer import IndexEntry
from storage.instance import GivenLabels, SealedInstance, StoreOutcome, StoreReceipt
from storage.integrity.ledger import MAX_BATCH, Event, Ledger
from storage.ports import BlobStore, CommitJournal, LedgerEntry
from storage.turns import Turns

_NO_LABELS: Final = GivenLabels()
_Committable: TypeAlias = "StoreWork | RecordWork"


class Committer:
    """`commit` and `record` wait for the thread that commits, which is this object's own. `close` ends it."""

    def __init__(
        self,
        *,
        blobs: BlobStore,
        ledger: Ledger,
        journal: CommitJournal,
        engine: IndexEngine,
        health: Health,
        clock: Callable[[], datetime],
    ) -> None:
        self._blobs = blobs
        self._ledger = ledger
        self._journal = journal
        self._engine = engine
        self._reader = IndexReader(engine)
        self._health = health
        self._clock = clock
        self._queue: SimpleQueue[Work[Any] | None] = SimpleQueue()
        self._next: Work[Any] | None = None
        """Taken from the queue, and not for the batch that was being made."""
        self._entry = threading.Lock()
        self._addresses = Turns()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def commit(
        self, sealed: SealedInstance, provenance: dict[str, object], labels: GivenLabels = _NO_LABELS
    ) -> StoreReceipt:
        """Commit an object, and with it the labels that it brings its study; one that is kept already brings none.

        Raises:
            InstanceConflict: another object is kept under its SOP Instance UID.
            CommitUnfinished: a step failed from the commit point on.
            StoreReadOnly, OutOfSpace, IndexFault, IntegrityFault: a step before it failed.
        """
        work = StoreWork(sealed, provenance, labels)
        address = sealed.received.address
        # The same bytes from two senders want the same name: the second finds out what became of the first.
        with self._addresses.turn(address):
            self._publish(work)
            try:
                return self._wait(work)
            finally:
                if work.published and not work.recorded:
                    self._blobs.retract(address, sealed.staged)

    def record(self, event: Event, objects: Sequence[IndexEntry] = ()) -> LedgerEntry:
        """Commit another event; ``objects`` are those that it brings back.

        Raises:
            ObjectMissing: nothing of the study is kept, or not the objects that the event names.
            StudyHeld: something of a study on hold would be taken away.
            StoreReadOnly, IndexFault: a step failed.
        """
        return self._wait(RecordWork(event, objects))

    def pause(self, action: Callable[[], None]) -> None:
        """Do something in the committer's thread while nothing is committed. Raises what it raises."""
        self._wait(PauseWork(action))

    def close(self) -> None:
        """Commit what is waiting, and end; idempotent."""
        with self._entry:
            closed, self._closed = self._closed, True
            if not closed:
                self._queue.put(None)
        self._thread.join()

    def _wait(self, work: Work[Answer]) -> Answer:
        with self._entry:
            if self._closed:
                raise StoreReadOnly("the store is closed")
            self._queue.put(work)
        return work.wait()

    def _run(self) -> None:
        while (first := self._next or self._queue.get()) is not None:
            self._next = None
            batch = [first] if _alone(first) else self._batch(first)
            try:
                self._run_batch(batch)
            except StorageError as error:
                failure: StorageError = error
            except Exception as error:  # noqa: BLE001  (a thread that died would leave every sender waiting)
                self._health.fail(f"the committer failed: {type(error).__name__}: {error}")
                failure = StoreReadOnly("the commit failed")
                failure.__cause__ = error
            else:
                continue
            for work in batch:
                if work.pending:
                    work.fail(failure)

    def _batch(self, first: Work[Any]) -> list[Work[Any]]:
        """What waits now, in order. What is done alone, and the end, are left for later."""
        batch = [first]
        try:
            while len(batch) < MAX_BATCH:
                work = self._queue.get_nowait()
                if work is None or _alone(work):
                    self._next = work
                    if work is None:
                        self._queue.put(None)
                    break
                batch.append(work)
        except Empty:
            pass
        return batch

    def _run_batch(self, batch: Sequence[Work[Any]]) -> None:
        """Answer everything in the batch, or raise the error that is the answer of what is left."""
        for work in batch:
            if isinstance(work, PauseWork):
                work.action()
                work.answer(None)
        works = [work for work in batch if isinstance(work, StoreWork | RecordWork)]
        if not works:
            return
        self._health.check()
        decided: list[_Committable] = []
        try:
            # One transaction from the first look to the last row: what was decided stays true until it is written.
            with self._engine.writing() as connection:
                decided = self._decided(connection, works)
                entries = self._recorded(decided)
                pairs = zip(decided, entries, strict=True)
                differs = apply_committed(connection, [one for work, entry in pairs for one in work.committed(entry)])
            if any(entry.event == ERASED for entry in entries):
                carry_out(self._blobs, self._engine)
        except Exception as error:
            if not decided:
                raise
            # The object may be committed: it stays, and start-up finds out (DESIGN 5).
            self._health.fail(f"a step of the commit failed: {type(error).__name__}: {error}")
            raise CommitUnfinished("the commit did not come to its end") from error
        # What brings several objects back is alone in its batch, and has nothing to differ from.
        for work, entry, differing in zip(decided, entries, differs, strict=False):
            _answer(work, entry, differing)

    def _recorded(self, decided: Sequence[_Committable]) -> list[LedgerEntry]:
        """Steps 3 and 4."""
        if not decided:
            return []
        for work in decided:
            if isinstance(work, StoreWork):
                work.recorded = True
        entries = self._ledger.append([work.event for work in decided], self._clock().isoformat())
        self._journal.committed(entries)
        return entries

    def _decided(self, connection: IndexConnection, works: Sequence[_Committable]) -> list[_Committable]:
        """Step 2: answer what needs no commit or is refused; the rest is to be committed."""
        uids = {work.uid for work in works if isinstance(work, StoreWork)}
        kept, gone = kept_content(connection, uids), tombstones(connection, uids)
        first: dict[Uid, StoreWork] = {}
        decided: list[_Committable] = []
        for work in works:
            if isinstance(work, RecordWork):
                try:
                    work.event = self._admitted(connection, work.event, _studies(first.values()))
                    decided.append(work)
                except (ObjectMissing, StudyHeld) as error:
                    work.fail(error)
            elif (old := kept.get(work.uid)) is not None:
                if work.is_same(old.canonical_digest, old.signatures):
                    receipt = work.receipt(StoreOutcome.ALREADY_KEPT, old.object_id, old.ledger_sequence, ())
                    work.answer(receipt)
                else:
                    work.fail(InstanceConflict("another object is kept under this SOP Instance UID"))
            elif (stone := gone.get(work.uid)) is not None and not (stone.comes_back and stone.erased):
                work.fail(InstanceRemoved("an object was taken away under this SOP Instance UID"))
            elif (twin := first.get(work.uid)) is not None:
                if work.is_same(twin.sealed.content.canonical_digest, twin.signatures):
                    twin.twins.append(work)
                else:
                    work.fail(InstanceConflict("another object is being kept under this SOP Instance UID"))
            elif not work.published:
                work.fail(IntegrityFault("another object is published under the address"))
            else:
                self._label(work, first.values())
                first[work.uid] = work
                decided.append(work)
        return decided

    def _label(self, work: StoreWork, before: Iterable[StoreWork]) -> None:
        """Which labels the record of an object carries, those stored before it in the same batch being known."""
        labels, study = work.labels, work.study_uid
        begins = labels.first and study not in _studies(before) and self._reader.study_facts(study) is None
        work.give(labels.always | labels.first if begins else labels.always)

    def _admitted(self, connection: IndexConnection, event: Event, studies: set[Uid]) -> Event:
        """The event, with what storage itself has to add to it. A label needs a study, kept or in the batch before."""
        if event.event in DELIBERATE:
            return replace(event, provenance={**event.provenance, **check(connection, event.event, event.facts)})
        study_uid = event.facts.get("study_uid")
        if event.event != AUTHORITY and study_uid not in studies and not self._reader.study_facts(str(study_uid)):
            raise ObjectMissing("nothing of that study is kept")
        return event

    def _publish(self, work: StoreWork) -> None:
        """Step 1. Where there is such a name already it is the object's own, kept before, or a fault: step 2 knows."""
        try:
            self._blobs.publish(work.sealed.received.address, work.sealed.staged)
        except IntegrityFault:
            return
        except StoreReadOnly as error:
            self._health.fail(str(error))
            raise
        work.published = True


def _studies(stores: Iterable[StoreWork]) -> set[Uid]:
    return {store.study_uid for store in stores}


def _alone(work: Work[Any]) -> bool:
    """Whether nothing else may be in the batch: what is decided looks at all that is kept."""
    return isinstance(work, PauseWork) or (isinstance(work, RecordWork) and work.event.event in DELIBERATE)


def _answer(work: _Committable, entry: LedgerEntry, differs: tuple[str, ...]) -> None:
    if isinstance(work, RecordWork):
        work.answer(entry)
        return
    object_id = work.sealed.received.object_id
    work.answer(work.receipt(StoreOutcome.STORED, object_id, entry.sequence, differs))
    for twin in work.twins:
        twin.answer(twin.receipt(StoreOutcome.ALREADY_KEPT, object_id, entry.sequence, ()))
