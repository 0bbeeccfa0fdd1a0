"""Splices applied to bytes in pieces."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import IntegrityFault, MalformedDataSet
from storage.instance import Splice
from storage.integrity.splice import spliced, spliced_deflated, spliced_length


def joined(pieces):
    return b"".join(bytes(piece) for piece in pieces)


@st.composite
def spliced_bytes(draw):
    data = draw(st.binary(max_size=60))
    splices, expected, at = [], b"", 0
    for _ in range(draw(st.integers(0, 4))):
        offset = draw(st.integers(at, len(data)))
        removed = draw(st.integers(0, len(data) - offset))
        inserted = draw(st.binary(max_size=5))
        splices.append(Splice(offset, removed, inserted))
        expected += data[at:offset] + inserted
        at = offset + removed
    return data, tuple(splices), expected + data[at:]


@given(spliced_bytes(), st.integers(1, 70))
def test_pieces_of_any_size_give_the_same_bytes(made, step):
    data, splices, expected = made
    chunks = [data[at : at + step] for at in range(0, len(data), step)]
    assert joined(spliced(chunks, splices)) == expected
    assert spliced_length(len(data), splices) == len(expected)


@given(spliced_bytes(), st.integers(1, 70))
def test_deflated_bytes_are_spliced_inside(made, step):
    data, splices, expected = made
    deflate = zlib.compressobj(wbits=-15)
    raw = deflate.compress(data) + deflate.flush()
    chunks = [raw[at : at + step] for at in range(0, len(raw), step)]
    out = joined(spliced_deflated(chunks, splices))
    assert zlib.decompressobj(-15).decompress(out) == expected
    assert len(out) % 2 == 0


@pytest.mark.parametrize(
    "splices",
    [
        [Splice(5, 0, b"x")],
        [Splice(4, 1, b"x")],
        [Splice(3, 2, b"x")],
        [Splice(1, 2, b"x"), Splice(2, 0, b"y")],
        [Splice(2, 0, b"x"), Splice(1, 0, b"y")],
    ],
)
def test_splices_beyond_the_data_or_over_one_another_are_a_fault(splices):
    with pytest.raises(IntegrityFault):
        list(spliced([b"ab", b"cd"], splices))


def test_a_damaged_deflated_data_set_is_told():
    with pytest.raises(MalformedDataSet):
        list(spliced_deflated([b"\xff\xff\xff"], []))
