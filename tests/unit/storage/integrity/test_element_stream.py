"""What the inspector takes and what it refuses, read by read (PS3.5 7)."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.integrity.element_events import StreamLimits
from storage.integrity.inspection import DataSetInspector
from tests.simulators.encoding import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    UNDEFINED,
    element,
    implicit,
    inspect,
    item,
    open_item,
    open_sequence,
    sequence,
    small,
)

NAME = element(0x00100010, b"PN", b"Roe^Jane")
PIXELS = 0x7FE00010
END = implicit(0xFFFEE0DD)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(small(), id="plain"),
        pytest.param(small(sequence(0x00321064)), id="empty sequence"),
        pytest.param(small(open_sequence(0x00321064)), id="empty sequence with a delimiter"),
        pytest.param(small(sequence(0x00321064, item(), open_item())), id="empty items"),
        pytest.param(small(open_sequence(0x00321064, item(NAME), open_item(NAME))), id="both kinds of items"),
        pytest.param(
            small(open_sequence(0x00321064, open_item(sequence(0x00400008, open_item(NAME))))), id="nested both ways"
        ),
        pytest.param(small(element(0x00280120, b"  ", b"\0\0")), id="two spaces where a VR should be"),
        pytest.param(
            small(open_sequence(0x00321064, item(implicit(0x00100010, b"Ro")), vr=b"UN")), id="UN of undefined length"
        ),
        pytest.param(element(0x00010010, b"UI", b"1\0") + small(), id="a group below 8"),
        pytest.param(small(element(PIXELS, b"OB", length=UNDEFINED) + item() + END), id="encapsulated in native"),
        pytest.param(small(element(0xFFFCFFFC, b"OB", bytes(64))), id="trailing padding"),
    ],
)
def test_legal_data_sets_are_taken_whatever_the_pieces(data):
    whole = inspect(data)
    assert whole.length == len(data)
    for step in (1, 2, 7, 13):
        pieces = inspect(data, step=step)
        assert pieces.canonical_digest == whole.canonical_digest
        assert pieces.signed_tags == whole.signed_tags
        assert pieces.uncovered == whole.uncovered


@pytest.mark.parametrize(
    ("data", "syntax"),
    [
        pytest.param(NAME + element(0x00080018, b"UI", b"1.2\0"), EXPLICIT, id="tags descend"),
        pytest.param(NAME + NAME, EXPLICIT, id="a tag twice"),
        pytest.param(element(0x00100010, b"PN", b"Roe"), EXPLICIT, id="odd length"),
        pytest.param(implicit(0x00100010, b"Roe"), IMPLICIT, id="odd length, implicit"),
        pytest.param(small(sequence(0x00321064, item(element(0x00100010, b"PN", b"R")))), EXPLICIT, id="odd within"),
        pytest.param(small(sequence(0x00321064, item(NAME, NAME))), EXPLICIT, id="a tag twice within"),
        pytest.param(small(sequence(0x00321064, item(NAME) + b"\0\0")), EXPLICIT, id="bytes behind an item"),
        pytest.param(small()[:-1], EXPLICIT, id="cut in a value"),
        pytest.param(small() + b"\x20\x00\x10", EXPLICIT, id="cut in a header"),
        pytest.param(small(element(PIXELS, b"OW", length=8192) + bytes(8190)), EXPLICIT, id="cut in a large value"),
        pytest.param(small(element(PIXELS, b"OW", length=UNDEFINED - 1)), EXPLICIT, id="4 GiB announced, none sent"),
        pytest.param(element(0x00100010, b"ZZ", b"Ro"), EXPLICIT, id="no such VR"),
        pytest.param(small(b"\x28\x00\x10\x00OW\x01\x00\x02\x00\x00\x00ab"), EXPLICIT, id="reserved bytes set"),
        pytest.param(small(open_sequence(0x00321064, item(NAME))[:-8]), EXPLICIT, id="no sequence delimiter"),
        pytest.param(small(sequence(0x00321064, open_item(NAME)[:-8])), EXPLICIT, id="no item delimiter"),
        pytest.param(small(sequence(0x00321064, item(NAME), END)), EXPLICIT, id="delimiter in a defined length"),
        pytest.param(small(sequence(0x00321064, item(NAME, length=400))), EXPLICIT, id="item longer than its sequence"),
        pytest.param(
            small(sequence(0x00321064, item(element(0x00100010, b"PN", b"Ro", length=200)))) + bytes(300),
            EXPLICIT,
            id="value longer than its item",
        ),
        pytest.param(small(sequence(0x00321064, NAME)), EXPLICIT, id="no item in a sequence"),
        pytest.param(small(item(NAME)), EXPLICIT, id="stray item"),
        pytest.param(small(END), EXPLICIT, id="stray sequence delimiter"),
        pytest.param(small(implicit(0xFFFEE00D)), EXPLICIT, id="stray item delimiter"),
        pytest.param(small(element(0x00281201, b"OW", length=UNDEFINED) + END), EXPLICIT, id="undefined length of OW"),
        pytest.param(implicit(0x00100010, length=UNDEFINED) + END, IMPLICIT, id="undefined length of PN"),
        pytest.param(implicit(PIXELS, length=UNDEFINED) + item() + END, IMPLICIT, id="encapsulated in implicit VR"),
        pytest.param(small(element(PIXELS, b"OB", length=UNDEFINED) + item(b"abc") + END), JPEG, id="odd fragment"),
        pytest.param(small(element(PIXELS, b"OB", length=UNDEFINED) + item(b"ab")), JPEG, id="fragments do not end"),
        pytest.param(small(element(PIXELS, b"OB", length=UNDEFINED) + NAME + END), JPEG, id="no fragment"),
        pytest.param(small(), BIG, id="the other byte order"),
        pytest.param(small(), IMPLICIT, id="explicit read as implicit"),
        pytest.param(small(element(0x4FFE0001, b"UN", bytes(16))), EXPLICIT, id="MAC parameters as opaque bytes"),
    ],
)
def test_anything_else_is_malformed_whatever_the_pieces(data, syntax):
    for step in (1, 5, 1 << 18):
        with pytest.raises(MalformedDataSet):
            inspect(data, syntax, step=step)


def test_lies_are_refused_at_the_header_before_their_bytes_come():
    inspector = DataSetInspector(EXPLICIT, frozenset())
    with pytest.raises(MalformedDataSet):
        inspector.feed(small(sequence(0x00321064, item(NAME, length=0x7FFFFFFE))))


@pytest.mark.parametrize(
    ("limits", "data"),
    [
        pytest.param(StreamLimits(elements=3), small(sequence(0x00321064, item(), item())), id="elements"),
        pytest.param(StreamLimits(top_level_elements=2), small(element(0x00200010, b"SH")), id="top level"),
        pytest.param(
            StreamLimits(depth=1), small(sequence(0x00321064, item(sequence(0x00400008, item(NAME))))), id="depth"
        ),
        pytest.param(StreamLimits(signatures=1), small(sequence(0xFFFAFFFA, item(), item())), id="signatures"),
        pytest.param(StreamLimits(value=6), small(), id="value"),
        pytest.param(StreamLimits(values=6), small(), id="values"),
    ],
)
def test_every_limit_is_held(limits, data):
    with pytest.raises(DataSetLimitExceeded):
        inspect(data, limits=limits, wanted=frozenset({0x00100010}))


def test_nesting_far_beyond_any_recursion_limit_is_refused_by_its_own_limit():
    deep = element(0x00321064, b"SQ", length=UNDEFINED) + implicit(0xFFFEE000, length=UNDEFINED)
    with pytest.raises(DataSetLimitExceeded):
        inspect(deep * 100_000)


def test_memory_does_not_grow_with_the_object():
    nested = item(*[element(0x00080100 + n * 2, b"SH", b"1234") for n in range(64)]) * 50
    inspector = DataSetInspector(EXPLICIT, frozenset({0x00100010}))
    inspector.feed(small(element(0x00321064, b"SQ", length=UNDEFINED)))
    block = memoryview(bytes(1 << 18))
    tracemalloc.start()
    try:
        for _ in range(30):
            inspector.feed(nested)
        inspector.feed(END + element(PIXELS, b"OW", length=64 << 20))
        for _ in range(256):
            inspector.feed(block)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    inspector.finish()
    assert peak < 2 << 20


def test_wanted_values_are_kept_little_endian_and_sequences_are_not():
    wanted = frozenset({0x00100010, 0x00280010, 0x00321064})
    name = element(0x00100010, b"PN", b"Roe ", big=True)
    rows = element(0x00280010, b"US", b"\x02\x00", big=True)
    values = inspect(name + rows, BIG, wanted=wanted).values
    assert values == {0x00100010: (b"PN", b"Roe "), 0x00280010: (b"US", b"\x00\x02")}
    assert inspect(small(sequence(0x00321064)), wanted=wanted).values == {0x00100010: (b"PN", b"Roe^Jane")}


@pytest.mark.parametrize("step", [1000, 1 << 18])
def test_a_wanted_value_that_comes_in_pieces_is_whole(step):
    value = bytes(range(256)) * 100
    data = small(element(0x00280010, b"OB", value))
    assert inspect(data, wanted=frozenset({0x00280010}), step=step).values[0x00280010] == (b"OB", value)


@given(st.binary(max_size=200), st.sampled_from([EXPLICIT, IMPLICIT, BIG, JPEG]), st.integers(1, 50))
def test_arbitrary_bytes_are_read_or_refused_alike_in_any_pieces(data, syntax, step):
    def outcome(pieces):
        try:
            return inspect(data, syntax, step=pieces).canonical_digest
        except MalformedDataSet:
            return None

    assert outcome(step) == outcome(1 << 18)


@given(st.data())
def test_a_damaged_data_set_is_read_or_refused_alike_in_any_pieces(data):
    raw = bytearray(
        small(
            open_sequence(0x00321064, open_item(NAME), item(sequence(0x00400008, item(NAME)))),
            element(PIXELS, b"OB", length=UNDEFINED) + item() + item(b"abcd") + END,
        )
    )
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))

    def outcome(pieces):
        try:
            return inspect(bytes(raw), step=pieces).canonical_digest
        except MalformedDataSet:
            return None

    assert outcome(data.draw(st.integers(1, 30))) == outcome(1 << 18)
