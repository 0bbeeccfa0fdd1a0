"""Labels that an object brings its study: in its own record, there from the first moment, and after a rebuild."""

import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from types import SimpleNamespace

import pytest

from storage.events import NamedInstance, facts_naming
from storage.index.predicate import EVERYTHING, Holds
from storage.instance import GivenLabels, StoreOutcome
from storage.integrity import fsck
from storage.integrity.ledger import LineCodec, read_ledger
from tests.simulators.index_dump import index_dump
from tests.simulators.object_store import PROVENANCE, ObjectStore, declared, sealed, signer_certificate, store
from tests.unit.storage.test_removal import picture

BOTH = GivenLabels(frozenset({"research"}), frozenset({"quarantine"}))


@pytest.fixture
def world(tmp_path):
    made = ObjectStore(tmp_path)
    yield made
    made.stop()


def put(repository, instance, labels=BOTH):
    return store(repository, picture(instance), instance, labels)


def labels_of(repository):
    facts = repository.reader.study_facts("1.2.3")
    return facts and facts.labels


def records(world):
    return [
        (entry.event, entry.facts.get("labels"))
        for entry in read_ledger(world.ledger, LineCodec(world.keyring.ledger_key))
    ]


def checked(world, full=True):
    place = SimpleNamespace(ledger=world.ledger, index=world.index, blobs=world.folder / "blobs")
    signers = frozenset({sha256(signer_certificate()).digest()})
    return fsck.check(place, world.keyring, signers, full=full).faults


def test_the_first_object_brings_all_its_labels_and_a_later_one_only_those_that_always_count(world):
    repository = world.start()
    put(repository, "1.1", GivenLabels(frozenset({"research"})))
    assert labels_of(repository) == {"research"}
    put(repository, "1.2", GivenLabels(frozenset({"teaching"})))
    assert labels_of(repository) == {"research"}
    put(repository, "1.3", GivenLabels(frozenset({"teaching"}), frozenset({"quarantine"})))
    assert labels_of(repository) == {"research", "quarantine"}
    assert records(world) == [("stored", ["research"]), ("stored", None), ("stored", ["quarantine"])]


def test_a_study_is_never_found_without_the_labels_that_its_first_object_brings(world):
    repository = world.start()
    seen, ended = [], threading.Event()

    def look():
        while not ended.is_set():
            for stored in repository.reader.instances(EVERYTHING, EVERYTHING):
                seen.append(stored.facts.labels)

    watcher = threading.Thread(target=look)
    watcher.start()
    for number in range(20):
        uid = f"1.{number}"
        store(repository, picture(uid, f"7.{number}", f"7.{number}.1"), uid, BOTH)
    ended.set()
    watcher.join()
    assert set(seen) <= {frozenset({"research", "quarantine"})}
    shut = repository.reader.instances(Holds("labels", ("quarantine",)), EVERYTHING)
    assert len(list(shut)) == 20


def test_of_a_batch_only_the_object_that_begins_the_study_brings_first_labels(world):
    repository = world.start()
    works = [sealed(repository, picture(f"1.{number}"), declared(f"1.{number}")) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        given = [GivenLabels(frozenset({f"l{number}"})) for number in range(8)]
        list(pool.map(lambda work, labels: repository.commit(work, PROVENANCE, labels), works, given))
    assert sorted(str(labels) for _, labels in records(world))[:7] == ["None"] * 7
    assert len(labels_of(repository)) == 1


def test_an_object_that_is_kept_already_brings_no_label(world):
    repository = world.start()
    put(repository, "1.1", GivenLabels())
    assert put(repository, "1.1").outcome is StoreOutcome.ALREADY_KEPT
    assert labels_of(repository) == frozenset() and records(world) == [("stored", None)]


def test_labels_that_were_taken_off_stay_off_until_an_object_always_brings_them(world):
    repository = world.start()
    put(repository, "1.1")
    for label in ("research", "quarantine"):
        repository.record("unlabelled", {"study_uid": "1.2.3", "label": label}, {})
    put(repository, "1.2", GivenLabels(frozenset({"research"})))
    assert labels_of(repository) == frozenset()
    put(repository, "1.3")
    assert labels_of(repository) == {"quarantine"}


def test_an_object_that_comes_again_brings_what_always_counts_in_the_record_that_brings_it_back(world):
    repository = world.start()
    put(repository, "1.1", GivenLabels())
    (kept,) = repository.reader.lookup(["1.1"]).values()
    named = NamedInstance("1.1", kept.stored.object_id, kept.stored.address)
    repository.record("tombstoned", facts_naming("1.2.3", [named], reason="113037", note="", comes_back=True), {})
    put(repository, "1.1")
    assert labels_of(repository) == {"quarantine"} and records(world)[-1] == ("restored", ["quarantine"])
    world.stop()
    assert checked(world) == ()


@pytest.mark.parametrize("erased", [False, True])
def test_a_rebuild_brings_the_labels_back_though_the_object_that_brought_them_is_erased(world, erased):
    repository = world.start()
    put(repository, "1.1")
    put(repository, "1.2", GivenLabels())
    if erased:
        (kept,) = repository.reader.lookup(["1.1"]).values()
        named = [NamedInstance("1.1", kept.stored.object_id, kept.stored.address)]
        facts = facts_naming("1.2.3", named, reason="113037", note="", comes_back=False)
        repository.record("tombstoned", facts, {})
        repository.record("erased", facts_naming("1.2.3", named), {})
    before = index_dump(world.index)
    world.stop()
    assert checked(world) == ()
    for path in world.folder.glob("index.sqlite*"):
        path.unlink()
    again = world.start()
    assert labels_of(again) == {"research", "quarantine"} and index_dump(world.index) == before
    world.stop()
    assert checked(world) == ()
