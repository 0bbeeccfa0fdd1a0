"""Every step of a commit fails or is the last one: what is refused, what is kept, what the next start makes of it."""

import errno
import os

import pytest

from storage import disk
from storage.errors import (
    CommitUnfinished,
    IndexFault,
    IntegrityFault,
    LedgerDamaged,
    ObjectMissing,
    StorageError,
    StoreReadOnly,
)
from storage.events import KNOWN_EVENTS
from storage.index.predicate import EVERYTHING
from storage.instance import StoreOutcome
from storage.integrity.ledger import Event, Ledger, LineCodec, read_ledger
from tests.simulators.object_store import PROVENANCE, ObjectStore, data_set, declared, sealed, store


@pytest.fixture
def world(tmp_path):
    made = ObjectStore(tmp_path)
    yield made
    made.stop()


class KilledBeforePublishing:
    """A store of objects in front of the real one."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    def publish(self, address, staged):
        raise StoreReadOnly("killed")


class KilledAfterPublishing(KilledBeforePublishing):
    def publish(self, address, staged):
        self._real.publish(address, staged)
        raise StoreReadOnly("killed")


def refused(repository, data=None, instance="1.2.3.1.1", error=StoreReadOnly):
    """A store that fails, its staging name left as a kill would leave it."""
    one = sealed(repository, data_set(instance) if data is None else data, declared(instance))
    one.received.staged._writer.discard = lambda: None
    with pytest.raises(error):
        repository.commit(one, PROVENANCE)
    return one


def failing(number=errno.EIO):
    def call(*_):
        raise OSError(number, os.strerror(number))

    return call


def kept(repository):
    return [found.key.sop_instance_uid for found in repository.reader.instances(EVERYTHING, EVERYTHING)]


def readable(repository):
    for stored in repository.reader.instances(EVERYTHING, EVERYTHING):
        with repository.open(stored) as outgoing:
            assert sum(map(len, outgoing.chunks())) == outgoing.length


def ledger_of(world):
    return list(read_ledger(world.ledger, LineCodec(world.keyring.ledger_key)))


def test_a_failed_sync_of_the_object_makes_the_store_read_only_and_leaves_nothing(world, monkeypatch):
    repository = world.start()
    store(repository)
    intake = repository.begin(declared("1.2.3.1.2"))
    intake.write(data_set("1.2.3.1.2"))
    received = intake.finish()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing())
        with pytest.raises(StoreReadOnly):
            repository.seal(received, PROVENANCE)
    assert world.staged() == [] and repository.read_only
    for refused_now in (
        lambda: repository.begin(declared()),
        lambda: repository.record("authority", {}, {}),
        repository.rebuild,
    ):
        with pytest.raises(StoreReadOnly):
            refused_now()
    readable(repository)
    assert kept(repository) == ["1.2.3.1.1"]


def test_no_sync_is_tried_twice(world, monkeypatch):
    repository = world.start()
    one = sealed(repository, data_set(), declared())
    tries = []
    real = os.fsync

    def fsync(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if "/objects/" in path:
            tries.append(path)
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreReadOnly):
        repository.commit(one, PROVENANCE)
    with pytest.raises(StoreReadOnly):
        repository.begin(declared())
    assert len(tries) == 1


def test_a_failed_sync_of_the_folder_leaves_nothing(world, monkeypatch):
    repository = world.start()
    one = sealed(repository, data_set(), declared())
    with monkeypatch.context() as patched:
        patched.setattr(disk, "sync_folder", failing())
        with pytest.raises(StoreReadOnly):
            repository.commit(one, PROVENANCE)
    assert world.staged() == world.published() == [] and ledger_of(world) == [] and repository.read_only


def test_a_write_error_makes_the_store_read_only_a_full_disk_does_not(world, monkeypatch):
    repository = world.start()
    intake = repository.begin(declared())
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", failing(errno.ENOSPC))
        with pytest.raises(StorageError, match="full"):
            intake.write(data_set(pixels=bytes(400_000)))
    assert repository.read_only is None and world.staged() == []
    intake = repository.begin(declared())
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", failing(errno.EIO))
        with pytest.raises(StoreReadOnly):
            intake.write(data_set(pixels=bytes(400_000)))
    assert repository.read_only and world.staged() == []


def test_killed_while_bytes_arrive(world):
    repository = world.start()
    intake = repository.begin(declared())
    intake.write(data_set(pixels=bytes(400_000))[:-1])
    world.stop()
    again = world.start()
    assert again.recovery.swept == 1
    assert world.staged() == world.published() == [] and kept(again) == []
    assert store(again).outcome is StoreOutcome.STORED


def test_killed_before_publishing(world):
    refused(world.start(blobs=KilledBeforePublishing))
    assert len(world.staged()) == 1
    world.stop()
    again = world.start()
    assert again.recovery.swept == 1
    assert world.staged() == world.published() == [] and ledger_of(world) == []
    assert store(again).outcome is StoreOutcome.STORED


def test_killed_between_publishing_and_the_ledger(world):
    refused(world.start(blobs=KilledAfterPublishing))
    assert len(world.staged()) == len(world.published()) == 1
    world.stop()
    again = world.start()
    assert again.recovery.swept == 1
    assert world.staged() == world.published() == [] and kept(again) == []
    assert store(again).outcome is StoreOutcome.STORED
    readable(again)


def test_a_kept_object_is_not_swept_with_one_that_was_never_committed(world):
    repository = world.start()
    store(repository)
    world.stop()
    refused(world.start(blobs=KilledAfterPublishing), instance="1.2.3.1.2")
    world.stop()
    again = world.start()
    assert kept(again) == ["1.2.3.1.1"] and len(world.published()) == 1
    readable(again)


def test_a_failed_ledger_append_keeps_the_object_until_the_next_start_knows(world, monkeypatch):
    repository = world.start()
    store(repository)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", failing())
        refused(repository, instance="1.2.3.1.2")
    assert repository.read_only and len(world.published()) == 2
    # Here the record did reach the disk, though its sync failed.
    assert len(ledger_of(world)) == 2 and kept(repository) == ["1.2.3.1.1"]
    world.stop()
    again = world.start()
    assert (again.recovery.recovered, again.recovery.indexed) == (1, 1)
    assert kept(again) == ["1.2.3.1.1", "1.2.3.1.2"] and world.staged() == []
    readable(again)


def test_an_append_that_never_reached_the_disk_leaves_nothing_after_the_next_start(world, monkeypatch):
    repository = world.start()
    store(repository)
    real = disk.write_all

    def write_all(file, data):
        if "/ledger/" in os.readlink(f"/proc/self/fd/{file}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file, data)

    one = sealed(repository, data_set("1.2.3.1.2"), declared("1.2.3.1.2"))
    with monkeypatch.context() as patched:
        patched.setattr(disk, "write_all", write_all)
        with pytest.raises(CommitUnfinished):
            repository.commit(one, PROVENANCE)
    one.received.staged.discard()
    assert len(world.staged()) == 1 and len(world.published()) == 2
    world.stop()
    again = world.start()
    assert again.recovery.swept == 1 and world.staged() == [] and len(world.published()) == 1
    assert store(again, data_set("1.2.3.1.2"), "1.2.3.1.2").outcome is StoreOutcome.STORED


def test_killed_between_the_ledger_and_the_journal(world):
    world.journal.broken = True
    repository = world.start()
    refused(repository)
    assert repository.read_only and len(world.published()) == 1 and kept(repository) == []
    world.stop()
    world.journal.broken = False
    again = world.start()
    (entry,) = ledger_of(world)
    assert world.journal.told == [] and world.journal.recovered_later == [entry]
    assert entry.provenance == PROVENANCE
    assert (again.recovery.recovered, again.recovery.indexed, again.recovery.swept) == (1, 1, 0)
    assert kept(again) == ["1.2.3.1.1"] and world.staged() == [] and len(world.published()) == 1
    readable(again)
    assert store(again).outcome is StoreOutcome.ALREADY_KEPT


def test_killed_between_the_journal_and_the_index(world, monkeypatch):
    repository = world.start()
    with monkeypatch.context() as patched:
        patched.setattr("storage.committer.apply_committed", failing())
        refused(repository)
    assert repository.read_only
    world.stop()
    again = world.start()
    assert (again.recovery.recovered, again.recovery.indexed, again.recovery.swept) == (0, 1, 0)
    assert kept(again) == ["1.2.3.1.1"] and world.staged() == []
    readable(again)
    world.stop()
    assert world.start().recovery == type(again.recovery)()


def test_killed_before_the_answer(world):
    repository = world.start()
    one = sealed(repository, data_set(), declared())
    one.received.staged._writer.discard = lambda: None
    repository.commit(one, PROVENANCE)
    world.stop()
    assert len(world.staged()) == 1
    again = world.start()
    assert again.recovery.swept == 0 and world.staged() == [] and len(world.published()) == 1
    readable(again)


def test_an_index_that_cannot_be_asked_refuses_the_object_and_nothing_else(world, monkeypatch):
    repository = world.start()
    one = sealed(repository, data_set(), declared())

    def unanswered(*_):
        raise IndexFault("no answer")

    with monkeypatch.context() as patched:
        patched.setattr("storage.committer.kept_content", unanswered)
        with pytest.raises(IndexFault):
            repository.commit(one, PROVENANCE)
    assert repository.read_only is None and world.staged() == world.published() == []
    assert store(repository).outcome is StoreOutcome.STORED


def test_a_fault_in_the_committer_itself_answers_everybody(world, monkeypatch):
    repository = world.start()
    one = sealed(repository, data_set(), declared())
    monkeypatch.setattr("storage.committer.kept_content", lambda *_: 1 / 0)
    with pytest.raises(StoreReadOnly):
        repository.commit(one, PROVENANCE)
    assert repository.read_only


def test_what_a_power_loss_takes_from_the_index_is_told_again(world):
    """The index is not synced with each commit (docs/decisions): an earlier state of it is what may be left."""
    repository = world.start()
    store(repository)
    world.stop()
    earlier = world.index.read_bytes()
    repository = world.start()
    for number in (2, 3):
        store(repository, data_set(f"1.2.3.1.{number}"), f"1.2.3.1.{number}")
    repository.record("labelled", {"study_uid": "1.2.3", "label": "research"}, {})
    before = list(repository.reader.kept())
    world.stop()
    world.index.write_bytes(earlier)
    again = world.start()
    assert (again.recovery.recovered, again.recovery.indexed) == (0, 3)
    assert list(again.reader.kept()) == before
    assert again.reader.study_facts("1.2.3").labels == {"research"}


def test_a_refused_object_loses_the_published_name_it_had(world):
    repository = world.start()
    store(repository)
    conflicting = sealed(repository, data_set(patient="P2"), declared())
    with pytest.raises(StorageError):
        repository.commit(conflicting, PROVENANCE)
    assert len(world.published()) == 1 and world.staged() == []
    readable(repository)


def test_a_lost_index_is_made_anew_with_its_labels(world):
    repository = world.start()
    for number in (1, 2, 3):
        store(repository, data_set(f"1.2.3.1.{number}"), f"1.2.3.1.{number}")
    repository.record("labelled", {"study_uid": "1.2.3", "label": "research"}, {})
    repository.record("labelled", {"study_uid": "1.2.3", "label": "old"}, {})
    repository.record("unlabelled", {"study_uid": "1.2.3", "label": "old"}, {})
    before = list(repository.reader.kept())
    world.stop()
    world.index.unlink()
    again = world.start()
    assert again.recovery.indexed == 6 and again.recovery.recovered == 0
    assert list(again.reader.kept()) == before
    assert again.reader.study_facts("1.2.3").labels == {"research"}


def test_a_rebuild_makes_the_same_index(world):
    repository = world.start()
    store(repository)
    repository.record("labelled", {"study_uid": "1.2.3", "label": "research"}, {})
    before = list(repository.reader.kept())
    assert repository.rebuild() == 2
    assert list(repository.reader.kept()) == before
    assert store(repository).outcome is StoreOutcome.ALREADY_KEPT


def test_a_rebuild_that_fails_leaves_queries_refused_and_is_done_again(world):
    repository = world.start()
    store(repository)
    (path,) = world.published()
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(IntegrityFault):
        repository.rebuild()
    assert repository.read_only
    with pytest.raises(StorageError, match="rebuilt"):
        kept(repository)
    world.stop()
    with pytest.raises(IntegrityFault):
        world.start()
    world.stop()
    path.write_bytes(content)
    again = world.start()
    assert again.recovery.rebuilt and kept(again) == ["1.2.3.1.1"]


def test_an_object_that_the_index_lacks_and_that_is_gone_stops_the_start(world):
    store(world.start())
    world.stop()
    world.index.unlink()
    (path,) = world.published()
    path.unlink()
    with pytest.raises(ObjectMissing):
        world.start()


def test_an_object_that_is_not_the_ledgers_stops_the_start(world):
    repository = world.start()
    store(repository)
    store(repository, data_set("1.2.3.1.2"), "1.2.3.1.2")
    world.stop()
    world.index.unlink()
    one, two = world.published()
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    with pytest.raises(IntegrityFault):
        world.start()


def test_an_unknown_event_stops_the_start(world):
    world.start()
    world.stop()
    ledger = Ledger(world.ledger, world.keyring.ledger_key, 0)
    ledger.append([Event("shredded", {}, {})], "2026-01-02T03:04:05+00:00")
    ledger.close()
    with pytest.raises(LedgerDamaged):
        world.start()
    assert "shredded" not in KNOWN_EVENTS


def test_a_torn_ledger_end_is_cut_off_and_told_of(world):
    repository = world.start()
    store(repository)
    world.stop()
    (path,) = world.ledger.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"seq":2,"time":"2026')
    again = world.start()
    assert again.recovery.torn_bytes == 21 and path.read_bytes() == whole
    store(again, data_set("1.2.3.1.2"), "1.2.3.1.2")
    assert [entry.sequence for entry in ledger_of(world)] == [1, 2]


def test_a_ledger_that_was_rolled_back_stops_the_start(world):
    repository = world.start()
    store(repository)
    (path,) = world.ledger.iterdir()
    before = path.read_bytes()
    store(repository, data_set("1.2.3.1.2"), "1.2.3.1.2")
    world.stop()
    path.write_bytes(before)
    with pytest.raises(LedgerDamaged):
        world.start()
    path.unlink()
    with pytest.raises(LedgerDamaged):
        world.start()


def test_a_bad_record_that_was_told_of_stops_the_start(world):
    store(world.start())
    world.stop()
    (path,) = world.ledger.iterdir()
    path.write_bytes(path.read_bytes().replace(b'"event":"stored"', b'"event":"stOred"'))
    with pytest.raises(LedgerDamaged):
        world.start()
