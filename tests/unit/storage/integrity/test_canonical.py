"""Same object, same canonical digest: whatever native syntax it came in, signed or not (PS3.5 A, C.12.1.1.3)."""

import zlib

from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from tests.simulators.encoding import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    element,
    inspect,
    item,
    open_item,
    open_sequence,
    sequence,
    signed,
    small,
)

NAME = element(0x00100010, b"PN", b"Roe^Jane")


def leaves():
    return st.fixed_dictionaries(
        {},
        optional={
            "AccessionNumber": st.text("AB12", max_size=8),
            "RecommendedDisplayFrameRate": st.integers(0, 99),
            "SimpleFrameList": st.lists(st.integers(1, 2**31), min_size=1, max_size=3),
            "FrameIncrementPointer": st.sampled_from([[0x00181063], [0x00181063, 0x00181065]]),
            "TableOfXBreakPoints": st.lists(st.integers(0, 2**31), min_size=2, max_size=4),
            "ExposureTimeInms": st.floats(0, 10),
            "EncapsulatedDocument": st.binary(max_size=9).map(lambda raw: raw + b"\0" * (len(raw) & 1)),
        },
    ).map(data_set)


def data_set(values):
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def with_sequences(inner):
    return st.tuples(leaves(), st.lists(inner, max_size=2), st.lists(inner, max_size=2)).map(nest)


def nest(parts):
    made, codes, references = parts
    made.ProcedureCodeSequence = codes
    made.ReferencedSeriesSequence = references
    return made


data_sets = st.recursive(leaves(), with_sequences, max_leaves=6)


def written(made, syntax):
    stream = DicomBytesIO()
    stream.is_little_endian = syntax.little_endian
    stream.is_implicit_VR = not syntax.explicit
    write_dataset(stream, made)
    return stream.getvalue()


@given(data_sets, st.integers(1, 300))
def test_every_native_syntax_gives_the_same_digest_and_the_same_mac(made, step):
    little = inspect(written(made, EXPLICIT), step=step)
    for syntax in (IMPLICIT, BIG):
        other = inspect(written(made, syntax), syntax, step=step)
        assert other.canonical_digest == little.canonical_digest
        assert other.signed_tags == little.signed_tags
        assert other.seal.mac.digest() == little.seal.mac.digest()
    deflate = zlib.compressobj(wbits=-15)
    deflated = inspect(deflate.compress(written(made, EXPLICIT)) + deflate.flush(), DEFLATED, step=step)
    assert deflated.canonical_digest == little.canonical_digest


def test_words_are_digested_little_endian_in_pieces_of_any_size():
    words = bytes(range(250)) * 40
    swapped = bytes(byte for at in range(0, len(words), 2) for byte in (words[at + 1], words[at]))
    little = inspect(element(0x7FE00010, b"OW", words))
    for step in (1, 3, 1000, 1 << 18):
        big = inspect(element(0x7FE00010, b"OW", swapped, big=True), BIG, step=step)
        assert big.canonical_digest == little.canonical_digest
        assert big.seal.mac.digest() == little.seal.mac.digest()


def test_lengths_and_delimiters_do_not_matter():
    closed = small(sequence(0x00321064, item(NAME)), sequence(0x00400260))
    opened = small(open_sequence(0x00321064, open_item(NAME)), open_sequence(0x00400260))
    assert inspect(closed).canonical_digest == inspect(opened).canonical_digest


def test_group_lengths_and_trailing_padding_do_not_matter():
    group_length = element(0x00080000, b"UL", b"\0\0\0\0")
    padded = group_length + small(element(0xFFFCFFFC, b"OB", bytes(10)))
    assert inspect(padded).canonical_digest == inspect(small()).canonical_digest


def test_a_signature_does_not_matter_but_its_value_is_told():
    before = small(element(0x7FE00010, b"OW", bytes(6000)))
    after, made = signed(before)
    assert inspect(after).canonical_digest == inspect(before).canonical_digest
    assert inspect(before).signature_values == ()
    assert inspect(after).signature_values == (made.value_digest,)


def test_an_item_level_signature_matters():
    plain = small(sequence(0x00321064, item(NAME)))
    inner = small(sequence(0x00321064, item(NAME, sequence(0xFFFAFFFA, item(element(0x04000120, b"OB", b"ab"))))))
    assert inspect(plain).canonical_digest != inspect(inner).canonical_digest


def test_every_byte_of_a_value_and_every_boundary_matters():
    first = inspect(small(element(0x00200010, b"SH", b"ab"), element(0x00200011, b"IS", b"1 ")))
    moved = inspect(small(element(0x00200010, b"SH", b"ab1 "), element(0x00200011, b"IS")))
    assert first.canonical_digest != moved.canonical_digest
