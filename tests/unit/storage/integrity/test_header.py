"""What is kept of a data set beside its pixels: every small element, sequences as trees, never more than a bound."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.integrity.header import MAX_ELEMENT_BYTES, MAX_HEADER_BYTES, MAX_KEPT_ELEMENTS, large_elements
from storage.integrity.inspection import DataSetInspector
from tests.simulators.encoding import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    UNDEFINED,
    element,
    implicit,
    item,
    open_item,
    open_sequence,
    sequence,
)

COMMENT, CODES, PIXELS = 0x00104000, 0x00081032, 0x7FE00010
CODE = element(0x00080100, b"SH", b"T-1 ")


def kept(data, syntax=EXPLICIT, wanted=frozenset({0x00100010}), piece=1 << 20):
    inspector = DataSetInspector(syntax, wanted)
    for start in range(0, len(data), piece):
        inspector.feed(data[start : start + piece])
    return dict(inspector.finish().others)


@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "codes",
    [
        sequence(CODES, item(CODE), item()),
        open_sequence(CODES, open_item(CODE), open_item()),
        open_sequence(CODES, item(CODE), open_item()),
    ],
)
def test_elements_and_sequences_are_kept_whatever_their_lengths_and_pieces(codes, piece):
    data = codes + element(0x00100010, b"PN", b"DOE ") + element(COMMENT, b"LT", b"x" * 20_000)
    assert kept(data, piece=piece) == {
        CODES: (b"SQ", (((0x00080100, b"SH", b"T-1 "),), ())),
        COMMENT: (b"LT", b"x" * 20_000),
    }


def test_sequences_within_sequences_keep_their_places():
    inner = sequence(0x00082220, item(CODE), item(element(0x00080104, b"LO", b"leg ")))
    found = kept(sequence(0x00082218, item(CODE, inner)))
    deep = ((0x00080100, b"SH", b"T-1 "),), ((0x00080104, b"LO", b"leg "),)
    assert found[0x00082218][1] == (((0x00080100, b"SH", b"T-1 "), (0x00082220, b"SQ", deep)),)


def test_big_endian_words_are_kept_little_endian_at_every_depth():
    row = element(0x00280010, b"US", b"\x02\x01", big=True)
    data = element(0x00081140, b"SQ", bytes.fromhex("fffee000") + len(row).to_bytes(4, "big") + row, big=True)
    found = kept(data + row, BIG)
    assert found == {0x00081140: (b"SQ", (((0x00280010, b"US", b"\x01\x02"),),)), 0x00280010: (b"US", b"\x01\x02")}


def test_implicit_vr_is_kept_with_the_vr_of_the_dictionary():
    data = implicit(CODES, item(implicit(0x00080100, b"T-1 "))) + implicit(0x00280010, b"\x01\x02")
    assert kept(data, IMPLICIT) == {
        CODES: (b"SQ", (((0x00080100, b"SH", b"T-1 "),),)),
        0x00280010: (b"US", b"\x01\x02"),
    }


def test_pixels_signatures_padding_and_group_lengths_are_not_kept():
    data = (
        element(0x00080000, b"UL", b"\0\0\0\0")
        + sequence(0x4FFE0001, item(element(0x04000005, b"US", b"\0\0")))
        + element(PIXELS, b"OW", b"\0" * 8)
        + sequence(0xFFFAFFFA, item(element(0x04000005, b"US", b"\0\0")))
        + element(0xFFFCFFFC, b"OB", b"\0\0")
    )
    assert kept(data) == {}


@pytest.mark.parametrize(
    "large",
    [
        element(COMMENT, b"UT", b"x" * MAX_ELEMENT_BYTES),
        sequence(COMMENT, *[item(element(0x00080104, b"LO", b"x" * 60))] * (MAX_ELEMENT_BYTES // 60)),
        sequence(COMMENT, item(element(0x00080104, b"UT", b"x" * MAX_ELEMENT_BYTES))),
        open_sequence(COMMENT, item(element(PIXELS, b"OB", length=UNDEFINED) + item(b"") + implicit(0xFFFEE0DD))),
    ],
    ids=["value", "many items", "value in an item", "encapsulated pixels in an item"],
)
def test_what_is_larger_is_known_to_be_there_and_no_more(large):
    found = kept(large + element(0x00204000, b"LT", b"after "))
    assert found[COMMENT][1] is None and found[0x00204000] == (b"LT", b"after ")


def test_all_elements_together_stay_below_a_bound_of_bytes_and_of_number():
    many = b"".join(element(0x00110010 + at * 2, b"UT", b"x" * 60_000) for at in range(40))
    found = kept(many)
    assert len(found) == 40 and sum(len(value or b"") for _, value in found.values()) <= MAX_HEADER_BYTES
    items = [item(*[element(0x00110010 + at, b"SH") for at in range(100)])] * 30
    found = kept(b"".join(sequence(0x00130010 + at, *items) for at in range(10)))
    assert sum(len(value) * 102 for _, value in found.values() if value) <= MAX_KEPT_ELEMENTS
    assert any(value is None for _, value in found.values())


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
def test_a_large_element_is_read_from_the_object_itself(syntax):
    text, codes = b"y" * 200_000, sequence(CODES, *[item(CODE)] * 9_000)
    data = codes + element(COMMENT, b"UT", text)
    if syntax is DEFLATED:
        squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = squeeze.compress(data) + squeeze.flush()
    found = large_elements([data[at : at + 65_536] for at in range(0, len(data), 65_536)], syntax, {COMMENT, CODES})
    assert found[COMMENT] == (b"UT", text) and len(found[CODES][1]) == 9_000


TREES = st.recursive(
    st.lists(st.tuples(st.integers(0x0009, 0x00FF), st.binary(max_size=6)), max_size=3),
    lambda inner: st.lists(st.tuples(st.integers(0x0009, 0x00FF), st.one_of(st.binary(max_size=6), inner)), max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(TREES, st.booleans(), st.integers(1, 40))
def test_any_tree_is_kept_as_it_was_written(tree, delimited, piece):
    def write(nodes):
        data, said = b"", []
        for number, value in sorted(dict(nodes).items()):
            tag = 0x00110000 + number
            if isinstance(value, bytes):
                value += b" " * (len(value) % 2)
                data += element(tag, b"LO", value)
                said.append((tag, b"LO", value))
            else:
                inside, inner = write(value)
                data += (
                    open_sequence(tag, open_item(inside)) if delimited else sequence(tag, item(inside), item(inside))
                )
                said.append((tag, b"SQ", (inner,) if delimited else (inner, inner)))
        return data, tuple(said)

    data, said = write(tree)
    assert kept(data, piece=piece) == {tag: (vr, value) for tag, vr, value in said}
