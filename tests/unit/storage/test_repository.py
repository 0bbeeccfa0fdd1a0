"""From the first byte to the receipt and back out again."""

import hashlib
import os
import threading
import zlib

import pytest

from storage.errors import (
    DataSetMismatch,
    InstanceConflict,
    IntegrityFault,
    MalformedDataSet,
    ObjectMissing,
    OutOfSpace,
    StorageError,
    StoreReadOnly,
    UnsupportedTransferSyntax,
)
from storage.identifiers import uid
from storage.index.predicate import EVERYTHING
from storage.instance import DeclaredInstance, StoreOutcome
from storage.integrity.ledger import LineCodec, read_ledger
from storage.integrity.verifier import Trust, verify_signatures
from storage.transfer_syntax import DEFLATED_LITTLE, EXPLICIT_LITTLE, IMPLICIT_LITTLE, transfer_syntax
from tests.simulators.object_store import CT, PROVENANCE, ObjectStore, data_set, declared, element, sealed, store


@pytest.fixture
def world(tmp_path):
    made = ObjectStore(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def repository(world):
    return world.start()


def the_only(repository):
    (found,) = repository.reader.instances(EVERYTHING, EVERYTHING)
    return found


def fetched(repository, stored):
    with repository.open(stored) as outgoing:
        data = b"".join(outgoing.chunks())
        assert outgoing.length == len(data)
    return data


def ledger_of(world):
    return list(read_ledger(world.ledger, LineCodec(world.keyring.ledger_key)))


def test_a_stored_object_comes_out_as_it_came_in_with_our_signature(repository):
    data = data_set()
    receipt = store(repository, data)
    assert receipt.outcome is StoreOutcome.STORED and receipt.ledger_sequence == 1
    stored = the_only(repository)
    assert (stored.key, stored.object_id, stored.size) == (receipt.key, receipt.object_id, len(data))
    out = fetched(repository, stored)
    pixels = data.index(b"\xe0\x7f\x10\x00")
    assert out.startswith(data[:pixels]) and data[pixels:] in out and len(out) > len(data)
    assert b"\xfa\xff\xfa\xff" in out and b"\xfe\x4f\x01\x00" in out


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_the_signature_of_what_comes_out_is_valid(repository, syntax):
    data = data_set() if syntax == EXPLICIT_LITTLE else as_implicit(data_set())
    repository.commit(sealed(repository, data, declared(syntax=syntax)), PROVENANCE)
    out = fetched(repository, the_only(repository))
    (report,) = verify_signatures(lambda: [out], transfer_syntax(syntax), Trust())
    assert report.valid and report.uncovered == () and 0x7FE00010 in report.signed_tags


def test_the_disk_holds_nothing_in_clear(world, repository):
    store(repository)
    (path,) = world.published()
    assert world.staged() == []
    content = path.read_bytes()
    assert b"Doe^Jane" not in content and b"1.2.3" not in content and path.stat().st_mode & 0o777 == 0o600


def test_a_large_object_comes_out_in_two_passes(repository):
    data = data_set(pixels=bytes(range(256)) * 4096 * 5)
    store(repository, data)
    out = fetched(repository, the_only(repository))
    pixels = data.index(b"\xe0\x7f\x10\x00")
    assert out.startswith(data[:pixels]) and data[pixels:] in out


def test_ledger_and_journal_are_told_before_the_answer(world, repository):
    receipt = store(repository)
    (entry,) = ledger_of(world)
    assert entry.sequence == receipt.ledger_sequence and entry.event == "stored"
    assert entry.facts["sop_instance_uid"] == "1.2.3.1.1" and entry.facts["object_id"] == receipt.object_id
    assert entry.provenance == PROVENANCE
    assert world.journal.told == [entry]
    assert world.published()[0].name == entry.facts["address"]
    assert hashlib.sha256(data_set()).hexdigest() not in str(entry.facts)


def test_the_same_object_again_is_a_success_and_keeps_the_first(world, repository):
    first = store(repository)
    again = store(repository)
    assert again.outcome is StoreOutcome.ALREADY_KEPT
    assert (again.object_id, again.ledger_sequence) == (first.object_id, first.ledger_sequence)
    assert len(world.published()) == 1 and world.staged() == [] and len(ledger_of(world)) == 1


def implicit(data_elements):
    return b"".join(tag + len(value).to_bytes(4, "little") + value for tag, value in data_elements)


def as_implicit(data):
    """Explicit little endian, without sequences, as implicit."""
    found, at = [], 0
    while at < len(data):
        long = data[at + 4 : at + 6] in (b"OB", b"OW", b"UN", b"UT", b"SQ")
        start = at + (12 if long else 8)
        length = int.from_bytes(data[start - 4 : start] if long else data[start - 2 : start], "little")
        found.append((data[at : at + 4], data[start : start + length]))
        at = start + length
    return implicit(found)


def test_the_same_object_in_another_native_syntax_is_a_success(repository):
    store(repository)
    other = as_implicit(data_set())
    receipt = repository.commit(sealed(repository, other, declared(syntax=IMPLICIT_LITTLE)), PROVENANCE)
    assert receipt.outcome is StoreOutcome.ALREADY_KEPT


def test_our_own_object_coming_back_is_a_success(repository):
    store(repository)
    back = fetched(repository, the_only(repository))
    assert store(repository, back).outcome is StoreOutcome.ALREADY_KEPT


def test_a_copy_with_a_signature_that_the_kept_one_lacks_is_another_object(tmp_path, repository):
    (tmp_path / "elsewhere").mkdir()
    elsewhere = ObjectStore(tmp_path / "elsewhere")
    other = elsewhere.start()
    store(other)
    foreign = fetched(other, the_only(other))
    elsewhere.stop()
    store(repository)
    with pytest.raises(InstanceConflict):
        store(repository, foreign)


def test_a_signed_object_is_the_same_without_its_signature(tmp_path, repository):
    (tmp_path / "elsewhere").mkdir()
    elsewhere = ObjectStore(tmp_path / "elsewhere")
    other = elsewhere.start()
    store(other)
    foreign = fetched(other, the_only(other))
    elsewhere.stop()
    store(repository, foreign)
    assert store(repository).outcome is StoreOutcome.ALREADY_KEPT
    assert fetched(repository, the_only(repository)).count(b"1.2.840.10008.1.2.1") >= 2


def test_another_object_under_a_kept_uid_is_refused_and_leaves_nothing(world, repository):
    store(repository)
    with pytest.raises(InstanceConflict):
        store(repository, data_set(patient="P2"))
    assert len(world.published()) == 1 and world.staged() == [] and len(ledger_of(world)) == 1
    assert repository.read_only is None


def test_senders_of_one_uid_at_once_make_one_object(world, repository):
    same = [sealed(repository, data_set(), declared()) for _ in range(6)]
    other = [sealed(repository, data_set(patient=f"P{number}"), declared()) for number in range(2, 6)]
    outcomes, barrier = [], threading.Barrier(10)

    def commit(one):
        barrier.wait()
        try:
            outcomes.append(repository.commit(one, PROVENANCE).outcome)
        except InstanceConflict:
            outcomes.append(InstanceConflict)

    threads = [threading.Thread(target=commit, args=(one,)) for one in same + other]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(StoreOutcome.STORED) == 1
    assert len(ledger_of(world)) == len(world.published()) == 1 and world.staged() == []
    assert outcomes.count(StoreOutcome.ALREADY_KEPT) in (0, 5)


def test_twins_and_conflicts_within_one_batch_are_told_apart(world, repository):
    one, other = (sealed(repository, data_set(patient=name), declared()) for name in ("P1", "P2"))
    # The same object in other bytes: the same bytes wait for each other before they come to the committer.
    twin = sealed(repository, as_implicit(data_set()), declared(syntax=IMPLICIT_LITTLE))
    answers = {}

    def commit(name, work):
        try:
            answers[name] = repository.commit(work, PROVENANCE)
        except InstanceConflict as error:
            answers[name] = error

    threads = [threading.Thread(target=commit, args=pair) for pair in (("one", one), ("twin", twin), ("other", other))]

    def start_in_order():
        # While the committer is held here, all three wait for one batch, in this order.
        for number, thread in enumerate(threads, 1):
            thread.start()
            while repository._committer._queue.qsize() < number:
                pass

    repository._committer.pause(start_in_order)
    for thread in threads:
        thread.join()
    assert answers["one"].outcome is StoreOutcome.STORED
    assert answers["twin"].outcome is StoreOutcome.ALREADY_KEPT
    assert answers["twin"].object_id == answers["one"].object_id
    assert isinstance(answers["other"], InstanceConflict)
    assert len(world.published()) == 1 and world.staged() == []


@pytest.mark.parametrize("count", [1, 7])
def test_objects_of_many_senders_are_all_kept(world, repository, count):
    def send(sender):
        for number in range(count):
            instance = f"1.2.{sender}.{number + 1}"
            store(repository, data_set(instance, study=f"1.2.{sender}"), instance)

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.published()) == 5 * count
    assert [entry.sequence for entry in ledger_of(world)] == list(range(1, 5 * count + 1))
    assert sum(1 for _ in repository.reader.instances(EVERYTHING, EVERYTHING)) == 5 * count


@pytest.mark.parametrize(
    ("data", "announced", "error"),
    [
        (data_set(), declared("1.2.9"), DataSetMismatch),
        (
            data_set(),
            DeclaredInstance(uid("1.2.840.10008.5.1.4.1.1.4"), uid("1.2.3.1.1"), EXPLICIT_LITTLE),
            DataSetMismatch,
        ),
        (element(0x00080016, "UI", CT.encode()), declared(), DataSetMismatch),
        (data_set(study="1.02"), declared(), DataSetMismatch),
        (data_set()[:-1], declared(), MalformedDataSet),
        (b"", declared(), StorageError),
        (b"not a data set at all", declared(), StorageError),
        (data_set(), declared(syntax=DEFLATED_LITTLE), StorageError),
    ],
)
def test_what_is_no_such_object_is_refused_and_leaves_nothing(world, repository, data, announced, error):
    with pytest.raises(error):
        sealed(repository, data, announced)
    assert world.staged() == world.published() == [] and ledger_of(world) == []
    assert repository.read_only is None


def test_an_unknown_transfer_syntax_is_refused_before_anything_is_written(world, repository):
    with pytest.raises(UnsupportedTransferSyntax):
        repository.begin(declared(syntax="1.2.3"))
    assert world.staged() == []


def test_an_abandoned_object_leaves_nothing(world, repository):
    intake = repository.begin(declared())
    intake.write(data_set()[:100])
    assert len(world.staged()) == 1
    intake.discard()
    intake.discard()
    assert world.staged() == []


def test_a_denied_object_leaves_nothing_and_a_discard_after_the_commit_takes_nothing(world, repository):
    intake = repository.begin(declared())
    intake.write(data_set())
    intake.finish()
    intake.discard()
    assert world.staged() == world.published() == []
    store(repository)
    one = sealed(repository, data_set("1.2.3.1.2"), declared("1.2.3.1.2"))
    repository.commit(one, PROVENANCE)
    one.received.staged.discard()
    assert len(world.published()) == 2


def test_a_deflated_object_comes_out_deflated_and_signed(repository):
    plain = data_set()
    deflate = zlib.compressobj(wbits=-15)
    data = deflate.compress(plain) + deflate.flush()
    data += b"\0" * (len(data) & 1)
    repository.commit(sealed(repository, data, declared(syntax=DEFLATED_LITTLE)), PROVENANCE)
    out = fetched(repository, the_only(repository))
    inflated = zlib.decompressobj(-15).decompress(out)
    assert inflated.startswith(plain[: plain.index(b"\xe0\x7f\x10\x00")]) and b"\xfa\xff\xfa\xff" in inflated


def test_the_reserve_refuses_objects_and_nothing_else(tmp_path):
    world = ObjectStore(tmp_path, reserve=2**60)
    repository = world.start()
    with pytest.raises(OutOfSpace):
        repository.begin(declared())
    assert repository.read_only is None
    world.stop()


def test_labels_are_events_and_effective_at_once(world, repository):
    store(repository)
    facts = {"study_uid": "1.2.3", "label": "research"}
    entry = repository.record("labelled", facts, {"actor": {}})
    assert repository.reader.study_facts("1.2.3").labels == {"research"}
    repository.record("unlabelled", facts, {})
    assert repository.reader.study_facts("1.2.3").labels == frozenset()
    assert [entry.event for entry in ledger_of(world)] == ["stored", "labelled", "unlabelled"]
    assert world.journal.told[1] == entry


def test_a_label_for_a_study_that_is_not_kept_is_refused(world, repository):
    with pytest.raises(ObjectMissing):
        repository.record("labelled", {"study_uid": "1.2.3", "label": "research"}, {})
    assert ledger_of(world) == [] and repository.read_only is None


def test_only_known_events_are_recorded(repository):
    assert repository.record("authority", {"what": "node added"}, {"actor": {}}).sequence == 1
    for event in ("stored", "restored", "shredded", ""):
        with pytest.raises(ValueError, match="not an event"):
            repository.record(event, {}, {})


def test_a_closed_store_takes_nothing_and_may_be_closed_again(repository):
    one = sealed(repository, data_set(), declared())
    repository.close()
    repository.close()
    with pytest.raises(StoreReadOnly):
        repository.commit(one, PROVENANCE)


def changed(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("size", [100, 5 * 1024 * 1024])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.99])
def test_an_object_that_changed_does_not_leave(world, repository, size, where):
    store(repository, data_set(pixels=bytes(size)))
    (path,) = world.published()
    changed(path, int(path.stat().st_size * where))
    with pytest.raises(IntegrityFault):
        repository.open(the_only(repository))


def test_another_object_under_the_address_does_not_leave(world, repository):
    store(repository)
    first = the_only(repository)
    store(repository, data_set("1.2.3.1.2"), "1.2.3.1.2")
    one, two = sorted(world.published(), key=lambda path: path.name != first.address.hex())
    one.write_bytes(two.read_bytes())
    with pytest.raises(IntegrityFault):
        repository.open(first)
    one.unlink()
    with pytest.raises(ObjectMissing):
        repository.open(first)


def test_nothing_stays_open(repository):
    before = len(os.listdir("/proc/self/fd"))
    for number in range(1, 5):
        store(repository, data_set(f"1.2.3.1.{number}"), f"1.2.3.1.{number}")
        with pytest.raises(InstanceConflict):
            store(repository, data_set(f"1.2.3.1.{number}", patient="X"), f"1.2.3.1.{number}")
        for stored in repository.reader.instances(EVERYTHING, EVERYTHING):
            fetched(repository, stored)
    after = len(os.listdir("/proc/self/fd"))
    assert after <= before + 1  # a pooled reading connection of the index
