"""Deflated data sets within bounds (PS3.5 A.5)."""

import gzip
import zlib

import pytest

from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.integrity.element_events import StreamLimits
from tests.simulators.encoding import DEFLATED, UNDEFINED, element, inspect, small

DATA = small(element(0x7FE00010, b"OW", bytes(4000)))


def deflated(data):
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


@pytest.mark.parametrize("step", [1, 7, 1 << 18])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(deflated(DATA), id="plain"),
        pytest.param(deflated(DATA) + b"\0", id="padded"),
        pytest.param(deflated(DATA) + gzip.compress(DATA)[-8:], id="with a gzip trailer, as some senders write"),
    ],
)
def test_a_deflated_data_set_is_read_in_pieces_of_any_size(data, step):
    assert inspect(data, DEFLATED, step=step).length == len(DATA)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(deflated(DATA)[:-1], id="cut"),
        pytest.param(b"", id="nothing"),
        pytest.param(DATA, id="not deflated"),
        pytest.param(zlib.compress(DATA), id="zlib header"),
        pytest.param(deflated(DATA) + b"\0\0", id="two bytes behind"),
        pytest.param(deflated(DATA) + b"12345678", id="a wrong trailer behind"),
        pytest.param(deflated(DATA) + deflated(DATA), id="twice"),
        pytest.param(deflated(DATA[:-2]), id="cut before it was deflated"),
    ],
)
def test_anything_else_is_malformed(data):
    for step in (1, 1 << 18):
        with pytest.raises(MalformedDataSet):
            inspect(data, DEFLATED, step=step)


def test_an_inflation_bomb_is_refused_long_before_it_is_whole():
    bomb = deflated(small(element(0x7FE00010, b"OW", bytes(20 << 20))))
    with pytest.raises(DataSetLimitExceeded):
        inspect(bomb, DEFLATED, limits=StreamLimits(inflated=1 << 20, inflation=100))


def test_an_endless_large_value_cannot_hide_behind_few_bytes():
    header = small(element(0x7FE00010, b"OW", length=UNDEFINED - 1))
    with pytest.raises(DataSetLimitExceeded):
        inspect(deflated(header + bytes(8 << 20)), DEFLATED, limits=StreamLimits(inflated=1 << 20, inflation=2))
