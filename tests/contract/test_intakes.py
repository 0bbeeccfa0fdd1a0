"""What every way of taking objects in has to do (`storage.ports.Intakes`); each adapter is one parameter of `world`."""

import time

import pytest

from storage.errors import DataSetMismatch, MalformedDataSet, OutOfSpace, StoreReadOnly, UnsupportedTransferSyntax
from storage.ingest.messages import LANE_BYTES, SLOT_BYTES
from storage.outgoing import verified
from tests.simulators.intakes import InPlace, InProcesses
from tests.simulators.object_store import PROVENANCE, data_set, declared


@pytest.fixture(params=[InPlace, InProcesses])
def world(request, tmp_path):
    made = request.param(tmp_path)
    yield made
    made.close()


def begin(world, announced=None):
    return world.intakes.begin(announced or declared(), world.health)


def seal(intake):
    received = intake.finish()
    return intake.seal(received, PROVENANCE)


def kept(world, sealed):
    """The bytes of an object, read back from the store and verified against its address."""
    address = sealed.received.address
    world.blobs.publish(address, sealed.staged)
    pieces = []
    reader = world.blobs.open(address)
    verified(reader, world.keyring, address, pieces.append)
    reader.close()
    return b"".join(pieces)


def soon(said):
    """A worker discards by itself, a moment after it was told."""
    deadline = time.monotonic() + 20
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("piece", [1, 1000, SLOT_BYTES, SLOT_BYTES + 1, 1 << 22])
def test_what_is_written_in_pieces_of_any_size_is_kept_as_it_came(world, piece):
    size = 600 if piece == 1 else LANE_BYTES + 3 * SLOT_BYTES
    data = data_set(pixels=bytes(range(256)) * (size // 256) + b"\1\2")
    intake = begin(world)
    for at in range(0, len(data), piece):
        intake.write(memoryview(data)[at : at + piece])
    sealed = seal(intake)
    assert sealed.received.size == len(data)
    assert sealed.received.rows.study["patient_id"] == "P1"
    assert kept(world, sealed) == data
    intake.discard()
    assert world.staged() == []


def test_a_buffer_may_be_used_again_once_it_was_written(world):
    data = data_set(pixels=b"\7\5" * 300_000)
    buffer, intake = bytearray(1000), begin(world)
    for at in range(0, len(data), 1000):
        piece = data[at : at + 1000]
        buffer[: len(piece)] = piece
        intake.write(memoryview(buffer)[: len(piece)])
    assert kept(world, seal(intake)) == data


def test_what_is_received_says_the_same_wherever_it_was_taken_in(tmp_path):
    data = data_set()
    told = []
    for kind in (InPlace, InProcesses):
        (tmp_path / kind.__name__).mkdir()
        world = kind(tmp_path / kind.__name__)
        intake = begin(world)
        intake.write(data)
        received = intake.finish()
        sealed = intake.seal(received, PROVENANCE)
        told.append((received.key, received.rows, received.declared, received.size, sealed.content.canonical_digest))
        world.close()
    assert told[0] == told[1]


def test_a_syntax_that_is_not_stored_is_refused_before_anything_is_staged(world):
    with pytest.raises(UnsupportedTransferSyntax):
        begin(world, declared(syntax="1.2.840.10008.1.2.6.1"))
    assert world.staged() == []


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (data_set()[:-1], MalformedDataSet),
        (data_set("1.2.3.9"), DataSetMismatch),
        (b"\xff" * 100, MalformedDataSet),
        (b"\xff" * 3 * LANE_BYTES, MalformedDataSet),
    ],
    ids=["cut short", "another object", "no data set", "a long one that is no data set"],
)
def test_what_is_wrong_with_a_data_set_is_told_and_leaves_nothing(world, data, error):
    intake = begin(world)
    with pytest.raises(error):
        intake.write(data)
        intake.finish()
    intake.discard()
    assert world.staged() == []
    assert world.health.reason is None
    after = begin(world)
    after.write(data_set())
    assert kept(world, seal(after)) == data_set()


def test_what_is_abandoned_on_the_way_leaves_nothing(world):
    intake = begin(world)
    intake.write(data_set(pixels=b"\0" * LANE_BYTES)[: LANE_BYTES // 2])
    intake.discard()
    intake.discard()
    soon(lambda: world.staged() == [])


def test_what_is_received_and_then_denied_leaves_nothing(world):
    intake = begin(world)
    intake.write(data_set())
    intake.finish()
    intake.discard()
    assert world.staged() == []


def test_what_is_sealed_and_not_committed_leaves_nothing(world):
    intake = begin(world)
    intake.write(data_set())
    seal(intake)
    intake.discard()
    assert world.staged() == []


def test_what_is_left_keeps_its_staging_name(world):
    intake = begin(world)
    intake.write(data_set())
    sealed = seal(intake)
    intake.leave()
    intake.discard()
    assert world.staged() == [sealed.received.object_id]


def test_nothing_is_begun_below_the_reserve(world):
    world.blobs._reserve = 1 << 60
    with pytest.raises(OutOfSpace):
        begin(world)
    assert world.health.reason is None


def test_a_disk_that_fails_is_told_to_the_health(world):
    (world.folder / "staging").rmdir()
    with pytest.raises(StoreReadOnly):
        intake = begin(world)
        intake.write(data_set())
        intake.finish()


def test_many_objects_are_taken_in_at_once(world):
    intakes = [begin(world, declared(f"1.2.3.1.{number}")) for number in range(12)]
    objects = [data_set(f"1.2.3.1.{number}", pixels=bytes([number, 1]) * 150_000) for number in range(12)]
    for at in range(0, len(objects[0]), 50_000):
        for intake, data in zip(intakes, objects, strict=True):
            intake.write(data[at : at + 50_000])
    assert [kept(world, seal(intake)) for intake in intakes] == objects
