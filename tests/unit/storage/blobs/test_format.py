"""One object's bytes: whatever is written is read back, whatever is changed is found."""

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.blobs.format import BlobSealer, OpenBlob, decode_trailer, encode_trailer
from storage.crypto.keyring import Keyring
from storage.crypto.stream import CHUNK_BYTES, SEALED_CHUNK_BYTES, plain_length, sealed_length
from storage.errors import IntegrityFault, KeyUnavailable, StorageError
from storage.identifiers import new_object_id
from storage.instance import Splice, Trailer, Uncovered
from tests.simulators.object_store import declared

TRAILER = Trailer(
    canonical_digest=b"c" * 32,
    received_digest=b"r" * 32,
    size=0,
    splices=(Splice(5, 0, b"\x00\xff"), Splice(7, 4, b"")),
    signature_uid="2.25.1",
    signature_value_digest=b"s" * 32,
    signed_tags=(0x00080016, 0x7FE00010),
    uncovered=(Uncovered(0x7FE00010, "why"),),
    foreign_signatures=(b"f" * 32,),
    salt=b"t" * 32,
    provenance=b'{"actor":{}}',
)
SIZES = [0, 1, 100, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 4 * CHUNK_BYTES, 9 * CHUNK_BYTES + 5]


class Memory:
    """A blob reader over bytes."""

    def __init__(self, data):
        self.data = data

    @property
    def size(self):
        return len(self.data)

    def read_at(self, offset, length):
        return self.data[offset : offset + length]

    def close(self):
        pass


@pytest.fixture(scope="module")
def keyring(tmp_path_factory):
    return Keyring.create(tmp_path_factory.mktemp("keys") / "keyring.json")


def sealed(keyring, plain, pieces=None, announced=None):
    """The bytes of an object that was written in pieces of the given lengths."""
    writes = []
    sealer = BlobSealer(keyring, new_object_id(), announced or declared(), lambda data: writes.append(bytes(data)))
    offset = 0
    for length in pieces or [len(plain)]:
        sealer.write(memoryview(plain)[offset : offset + length])
        offset += length
    sealer.write(plain[offset:])
    sealer.finish()
    sealer.seal(replace(TRAILER, size=len(plain)))
    return b"".join(writes), writes


@pytest.mark.parametrize("size", SIZES)
def test_an_object_of_any_size_is_read_back(keyring, size):
    plain = os.urandom(size)
    data, writes = sealed(keyring, plain)
    blob = OpenBlob(Memory(data), keyring)
    assert blob.size == size and b"".join(blob.chunks()) == plain
    assert blob.trailer == replace(TRAILER, size=size)
    assert blob.envelope.declared == declared()
    assert len(writes) <= size // (4 * CHUNK_BYTES) + 2


@given(st.data())
def test_the_pieces_it_came_in_do_not_matter(keyring, data):
    plain = os.urandom(data.draw(st.sampled_from([5, 3 * CHUNK_BYTES, 2 * CHUNK_BYTES + 77])))
    pieces = data.draw(st.lists(st.sampled_from([0, 1, 7, 4096, 65535, 65536, 65537, 131072]), max_size=12))
    written, _ = sealed(keyring, plain, pieces)
    assert b"".join(OpenBlob(Memory(written), keyring).chunks()) == plain


@given(offset=st.integers(0, 3 * CHUNK_BYTES + 10), length=st.integers(0, 2 * CHUNK_BYTES))
def test_any_part_can_be_read(keyring, offset, length):
    plain, blob = _large(keyring)
    assert blob.read(offset, length) == plain[offset : offset + length]


_cache = {}


def _large(keyring):
    if "large" not in _cache:
        plain = os.urandom(3 * CHUNK_BYTES)
        _cache["large"] = plain, OpenBlob(Memory(sealed(keyring, plain)[0]), keyring)
    return _cache["large"]


def read_all(data, keyring):
    return b"".join(OpenBlob(Memory(data), keyring).chunks())


def test_every_flipped_byte_is_found(keyring):
    data, _ = sealed(keyring, os.urandom(300))
    for at in range(len(data)):
        with pytest.raises((IntegrityFault, KeyUnavailable)):
            read_all(data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :], keyring)


def test_every_truncation_is_found(keyring):
    data, _ = sealed(keyring, os.urandom(300))
    for length in range(len(data)):
        with pytest.raises(StorageError):
            read_all(data[:length], keyring)


@given(st.binary(max_size=400))
def test_any_other_bytes_are_refused_in_order(keyring, data):
    with pytest.raises(StorageError):
        read_all(data, keyring)
    with pytest.raises(StorageError):
        read_all(b"SRBLOB01" + data, keyring)


def test_chunks_cannot_be_dropped_doubled_or_reordered(keyring):
    plain = os.urandom(3 * CHUNK_BYTES)
    data, _ = sealed(keyring, plain)
    start = len(data) - len(sealed(keyring, b"")[0]) + 16 - sealed_length(len(plain))
    header = len(data) - sealed_length(len(plain)) - (len(data) - start - sealed_length(len(plain)))
    first, second, third = (
        data[header + at * SEALED_CHUNK_BYTES : header + (at + 1) * SEALED_CHUNK_BYTES] for at in range(3)
    )
    head, tail = data[:header], data[header + 3 * SEALED_CHUNK_BYTES :]
    assert read_all(head + first + second + third + tail, keyring) == plain
    for chunks in (first + third, first + second, second + first + third, first + second + second + third):
        with pytest.raises(IntegrityFault):
            read_all(head + chunks + tail, keyring)


def test_another_objects_header_or_trailer_does_not_fit(keyring):
    one, _ = sealed(keyring, b"x" * 100)
    two, _ = sealed(keyring, b"x" * 100)
    for at in range(24, len(one) - 12, 10):
        with pytest.raises(IntegrityFault):
            read_all(one[:at] + two[at:], keyring)


def test_a_chunk_does_not_open_as_another_instance(keyring):
    data, _ = sealed(keyring, b"x" * 100, announced=declared("1.2.3"))
    blob = OpenBlob(Memory(data), keyring)
    assert blob.envelope.declared.sop_instance_uid == "1.2.3"
    assert blob.envelope.binding != replace(blob.envelope, declared=declared("1.2.4")).binding


def test_without_the_key_there_is_no_object(keyring, tmp_path):
    data, _ = sealed(keyring, b"secret bytes")
    assert b"secret" not in data and b"1.2.840" not in data
    with pytest.raises(KeyUnavailable):
        OpenBlob(Memory(data), Keyring.create(tmp_path / "another"))


def test_a_trailer_is_read_back_and_nothing_else_is_one():
    assert decode_trailer(encode_trailer(TRAILER)) == TRAILER
    for data in (b"", b"{}", b"[]", b"null", encode_trailer(TRAILER)[:-1], b"\xff"):
        with pytest.raises(IntegrityFault):
            decode_trailer(data)


@given(st.integers(0, 10**9))
def test_lengths_are_inverse(size):
    assert plain_length(sealed_length(size)) == size


@given(st.integers(-5, 10**6))
def test_a_length_that_no_size_gives_is_refused(sealed_bytes):
    try:
        size = plain_length(sealed_bytes)
    except IntegrityFault:
        return
    assert sealed_length(size) == sealed_bytes
