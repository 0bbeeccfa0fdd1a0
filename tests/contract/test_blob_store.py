"""What every store of objects has to do (`storage.ports.BlobStore`); each adapter is one parameter of `world`."""

import os
from pathlib import Path

import pytest

from storage.blobs.filesystem import FilesystemBlobs
from storage.errors import IntegrityFault, ObjectMissing, OutOfSpace
from storage.identifiers import ObjectId, new_object_id

ONE, TWO = b"\x01" * 32, b"\x01" + b"\x02" * 31


class FilesystemWorld:
    """The adapter over a folder, opened as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "blobs"

    def open(self, reserve: int = 0) -> FilesystemBlobs:
        return FilesystemBlobs(self.folder, reserve_bytes=reserve)


@pytest.fixture(params=[FilesystemWorld])
def world(request, tmp_path):
    return request.param(tmp_path)


@pytest.fixture
def store(world):
    return world.open()


def staged(store, data=b"data"):
    writer = store.create(new_object_id())
    writer.write(data)
    return writer, writer.stage()


def put(store, address, data=b"data"):
    writer, handle = staged(store, data)
    store.publish(address, handle)
    writer.discard()


def content(store, address):
    reader = store.open(address)
    try:
        return reader.read_at(0, reader.size)
    finally:
        reader.close()


def test_what_was_written_is_read_at_any_place(store):
    writer = store.create(new_object_id())
    for piece in (b"01", bytearray(b"234"), memoryview(b"56789")):
        writer.write(piece)
    store.publish(ONE, writer.stage())
    reader = store.open(ONE)
    assert reader.size == 10
    assert [reader.read_at(0, 3), reader.read_at(8, 10), reader.read_at(10, 1)] == [b"012", b"89", b""]
    reader.close()
    reader.close()


def test_nothing_is_visible_before_it_is_published(store):
    staged(store)
    assert list(store.addresses()) == []
    with pytest.raises(ObjectMissing):
        store.open(ONE)


def test_publishing_again_changes_nothing(store):
    writer, handle = staged(store)
    store.publish(ONE, handle)
    store.publish(ONE, handle)
    writer.discard()
    assert content(store, ONE) == b"data"


def test_nothing_published_is_ever_replaced(store):
    put(store, TWO, b"first")
    _, second = staged(store, b"second")
    with pytest.raises(IntegrityFault):
        store.publish(TWO, second)
    assert content(store, TWO) == b"first"


def test_what_is_retracted_is_invisible_and_still_staged(store):
    _, handle = staged(store)
    store.publish(ONE, handle)
    store.retract(ONE, handle)
    store.retract(ONE, handle)
    assert list(store.addresses()) == [] and len(list(store.staged())) == 1
    store.publish(ONE, handle)
    assert content(store, ONE) == b"data"


def test_retracting_leaves_another_objects_name_alone(store):
    put(store, ONE, b"first")
    _, second = staged(store, b"second")
    store.retract(ONE, second)
    assert content(store, ONE) == b"first"


def test_discarding_after_publishing_keeps_the_object(store):
    put(store, ONE)
    assert content(store, ONE) == b"data"
    assert list(store.staged()) == []


def test_discarding_leaves_nothing_and_may_be_repeated(store):
    for stage in (False, True):
        writer = store.create(new_object_id())
        writer.write(b"data")
        if stage:
            writer.stage()
        writer.discard()
        writer.discard()
    assert list(store.staged()) == [] and list(store.addresses()) == []


def test_a_removed_object_is_gone_and_may_be_removed_again(store):
    put(store, ONE)
    store.remove(ONE)
    store.remove(ONE)
    store.remove(b"\xff" * 32)
    assert list(store.addresses()) == []
    with pytest.raises(ObjectMissing):
        store.open(ONE)


def test_an_open_reader_survives_a_removal(store):
    put(store, ONE)
    reader = store.open(ONE)
    store.remove(ONE)
    assert reader.read_at(0, 4) == b"data"
    reader.close()


def test_a_crash_leaves_what_was_staged_to_be_found_and_swept(world):
    store = world.open()
    unfinished = store.create(new_object_id())
    unfinished.write(b"un")
    staged(store, b"staged")
    _, published = staged(store, b"published")
    store.publish(ONE, published)

    later = world.open()
    found = []
    for _, reader in later.staged():
        found.append(reader.read_at(0, reader.size))
        reader.close()
    assert sorted(found) == [b"published", b"staged", b"un"]
    assert later.sweep() == 3
    assert later.sweep() == 0
    assert content(later, ONE) == b"published"
    unfinished.discard()


def test_the_reserve_is_not_touched(world):
    with pytest.raises(OutOfSpace):
        world.open(reserve=2**60).create(new_object_id())
    assert list(world.open().staged()) == []


def test_an_object_id_is_made_of_our_digits_only(store):
    for bad in ("", "../" * 10 + "ab", "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "/"):
        with pytest.raises(ValueError, match="object id"):
            store.create(ObjectId(bad))
    for bad in (b"", b"x" * 31, b"x" * 33):
        with pytest.raises(ValueError, match="address"):
            store.open(bad)


def test_no_stranger_among_its_own(store):
    put(store, ONE)
    staged(store)
    assert list(store.strangers()) == []


def test_strangers_are_named(tmp_path):
    world = FilesystemWorld(tmp_path)
    store = world.open()
    put(store, ONE)
    folder = world.folder
    misplaced = folder / "objects" / "02" / ONE.hex()
    for path in (
        folder / "x",
        folder / "staging" / "x",
        folder / "objects" / "x",
        folder / "objects" / "01" / "x",
        misplaced,
    ):
        path.write_bytes(b"")
    os.symlink(misplaced, folder / "objects" / "01" / TWO.hex())
    assert sorted(store.strangers()) == sorted(
        ["x", "staging/x", "objects/x", "objects/01/x", f"objects/02/{ONE.hex()}", f"objects/01/{TWO.hex()}"]
    )
    assert list(store.addresses()) == [ONE]
    with pytest.raises(IntegrityFault):
        store.open(TWO)
