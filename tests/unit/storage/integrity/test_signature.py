"""Our signature: where it goes, what it covers, and that it is right (PS3.3 C.12.1.1.3, PS3.15 C.1)."""

import zlib
from datetime import datetime, timedelta, timezone
from struct import pack, unpack

import pydicom
import pytest

from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.integrity.trust import SignerTrust, Trust
from storage.integrity.verifier import verify_signatures
from tests.simulators.encoding import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    MOMENT,
    UNDEFINED,
    element,
    implicit,
    inspect,
    item,
    open_item,
    open_sequence,
    sequence,
    signed,
    signing_key,
    small,
)

NAME = element(0x00100010, b"PN", b"Roe^Jane")
PIXELS = element(0x7FE00010, b"OW", bytes(range(256)) * 40)
END = implicit(0xFFFEE0DD)


def reports(data, syntax=EXPLICIT, step=1 << 18):
    trust = Trust(archive=frozenset({signing_key().fingerprint}))
    return verify_signatures(lambda: [data[at : at + step] for at in range(0, len(data), step)], syntax, trust)


def top_level(data):
    """Tags at the top level, by pydicom."""
    return [
        int(found.tag) for found in pydicom.filereader.read_dataset(pydicom.filebase.DicomBytesIO(data), False, True)
    ]


CASES = [
    pytest.param(small(PIXELS), EXPLICIT, id="explicit"),
    pytest.param(small(sequence(0x00321064, item(NAME), item()), PIXELS), EXPLICIT, id="sequence"),
    pytest.param(small(open_sequence(0x00321064, open_item(NAME)), PIXELS), EXPLICIT, id="undefined lengths"),
    pytest.param(
        implicit(0x00080018, b"1.2.3.4\0") + implicit(0x00280010, b"\1\0") + implicit(0x7FE00010, bytes(5000)),
        IMPLICIT,
        id="implicit",
    ),
    pytest.param(
        element(0x00080018, b"UI", b"1.2.3.4\0", big=True)
        + element(0x00280010, b"US", b"\0\1", big=True)
        + element(0x00280304, b"UI", b"1.2\0", big=True)
        + element(0x00720000 + 0x26, b"AT", b"\0\x18\x10\x63", big=True)
        + element(0x7FE00010, b"OW", bytes(range(256)) * 33, big=True),
        BIG,
        id="big endian",
    ),
    pytest.param(
        small(element(0x7FE00010, b"OB", length=UNDEFINED) + item() + item(bytes(9000)) + END), JPEG, id="encapsulated"
    ),
]


@pytest.mark.parametrize("step", [11, 1 << 18])
@pytest.mark.parametrize(("data", "syntax"), CASES)
def test_a_signed_data_set_verifies_whatever_the_syntax_and_the_pieces(data, syntax, step):
    after, made = signed(data, syntax)
    (report,) = reports(after, syntax, step)
    assert report.valid, report.reason
    assert report.trust is SignerTrust.ARCHIVE
    assert (report.uid, report.value_digest) == (made.uid, made.value_digest)
    assert report.signed_tags == inspect(data, syntax).signed_tags
    assert report.moment == MOMENT.replace(microsecond=0)
    assert report.uncovered == ()


@pytest.mark.parametrize(("data", "syntax"), CASES)
def test_received_bytes_stay_as_they_are_around_the_two_splices(data, syntax):
    after, made = signed(data, syntax)
    first, second = made.splices
    begin, end = first.offset, second.offset + len(first.inserted)
    assert (first.removed, second.removed) == (0, 0)
    assert after[:begin] == data[:begin]
    assert after[begin + len(first.inserted) : end] == data[begin : second.offset]
    assert after[end + len(second.inserted) :] == data[second.offset :]


def test_a_deflated_data_set_is_the_same_once_inflated():
    deflate = zlib.compressobj(wbits=-15)
    data = small(PIXELS)
    after, _ = signed(deflate.compress(data) + deflate.flush(), DEFLATED)
    assert zlib.decompressobj(-15).decompress(after) == signed_like(after, data)
    (report,) = reports(after, DEFLATED)
    assert report.valid
    assert len(after) % 2 == 0


def signed_like(after, data):
    """What inflating has to give: the data set with the very sequences that ``after`` carries."""
    inflated = zlib.decompressobj(-15).decompress(after)
    begin = inflated.index(b"\xfe\x4f\x01\x00SQ")
    assert inflated[:begin] == data[:begin]
    pixels = inflated.index(b"\xe0\x7f\x10\x00OW", begin)
    tail = inflated.index(b"\xfa\xff\xfa\xffSQ", pixels)
    assert inflated[pixels:tail] == data[begin:]
    return inflated


def test_sequences_stand_in_the_order_of_their_tags():
    data = small(
        element(0x50000005, b"US", b"\1\0"), element(0x60000010, b"US", b"\1\0"), PIXELS,
        element(0xFFFCFFFC, b"OB", bytes(8)),
    )  # fmt: skip
    tags = top_level(signed(data)[0])
    assert tags == sorted(tags)
    assert {0x4FFE0001, 0xFFFAFFFA} <= set(tags)
    assert tags[-2:] == [0xFFFAFFFA, 0xFFFCFFFC]


@pytest.mark.parametrize("kind", [sequence, open_sequence])
def test_existing_signatures_are_joined_and_stay_valid(kind):
    once, first = signed(small(PIXELS), name="modality")
    if kind is open_sequence:
        once = with_undefined_lengths(once)
    twice, second = signed(once)
    assert (first.mac_id, second.mac_id) == (0, 1)
    reported = reports(twice)
    assert [report.valid for report in reported] == [True, True]
    assert [report.trust for report in reported] == [SignerTrust.UNKNOWN, SignerTrust.ARCHIVE]
    assert top_level(twice).count(0xFFFAFFFA) == 1
    assert inspect(twice).signature_values == (first.value_digest, second.value_digest)
    assert reported[0].signed_tags == reported[1].signed_tags


def with_undefined_lengths(data):
    for tag in (b"\xfe\x4f\x01\x00SQ\0\0", b"\xfa\xff\xfa\xffSQ\0\0"):
        at = data.index(tag) + 8
        (length,) = unpack("<I", data[at : at + 4])
        body = data[at + 4 : at + 4 + length]
        data = data[:at] + pack("<I", UNDEFINED) + body + END + data[at + 4 + length :]
    return data


def test_a_signature_sequence_written_as_un_is_continued_in_implicit_vr():
    parameters = implicit(0x04000005, b"\0\0") + implicit(0x04000015, b"SHA256")
    existing = element(0x4FFE0001, b"UN", length=UNDEFINED) + item(parameters) + END
    after, made = signed(small(existing, PIXELS))
    assert made.mac_id == 1
    assert after.index(implicit(0x04000015, b"SHA256"), after.index(implicit(0x04000015, b"SHA256")) + 1)
    (report,) = reports(after)
    assert report.valid, report.reason


def test_the_lowest_free_mac_id_is_taken():
    ids = [item(element(0x04000005, b"US", pack("<H", number))) for number in (0, 1, 3)]
    assert signed(small(sequence(0x4FFE0001, *ids)))[1].mac_id == 2


def test_item_level_signatures_are_left_alone_and_not_covered():
    inner = sequence(0x4FFE0001, item(element(0x04000005, b"US", b"\0\0")))
    with_inner, without = (small(sequence(0x00321064, item(NAME, *extra)), PIXELS) for extra in ([inner], []))
    after, made = signed(with_inner)
    assert inner in after
    assert made.mac_id == 0
    assert inspect(with_inner).seal.mac.digest() == inspect(without).seal.mac.digest()


@pytest.mark.parametrize(
    ("extra", "tag"),
    [
        pytest.param(element(0x00210010, b"UN", b"ab"), 0x00210010, id="UN"),
        pytest.param(element(0x00280120, b"  ", b"\0\0"), 0x00280120, id="two spaces"),
        pytest.param(sequence(0x00321064, item(element(0x00090010, b"UN", b"ab"))), 0x00321064, id="UN within"),
        pytest.param(
            sequence(0x00321064, item(sequence(0x00400008, item(NAME, element(0x00210010, b"UN", b"ab"))))),
            0x00321064,
            id="UN deep within",
        ),
        pytest.param(
            element(0x00321064, b"UN", length=UNDEFINED) + item(implicit(0x00100010, b"Ro")) + END,
            0x00321064,
            id="UN of undefined length",
        ),
        pytest.param(element(0x00200000, b"UL", bytes(4)), 0x00200000, id="group length"),
        pytest.param(element(0x00404000, b"UT", b"x" * 70_000 + b"  "), 0x00404000, id="long over-padded text"),
    ],
)
@pytest.mark.parametrize("step", [333, 1 << 18])
def test_what_may_not_be_signed_is_left_out_and_reported(extra, tag, step):
    plain = inspect(small(PIXELS))
    found = inspect(small(extra, PIXELS), step=step)
    assert [left.tag for left in found.uncovered] == [tag]
    assert found.signed_tags == plain.signed_tags
    assert found.seal.mac.digest() == plain.seal.mac.digest()
    after, _ = signed(small(extra, PIXELS))
    (report,) = reports(after)
    assert report.valid, report.reason
    assert [left.tag for left in report.uncovered] == [tag]


def test_compressed_pixels_that_are_not_ob_are_left_out_and_reported():
    pixels = element(0x7FE00010, b"OW", length=UNDEFINED) + item() + item(bytes(9000)) + END
    found = inspect(small(pixels), JPEG)
    assert [left.tag for left in found.uncovered] == [0x7FE00010]
    (report,) = reports(signed(small(pixels), JPEG)[0], JPEG)
    assert report.valid


@pytest.mark.parametrize(
    ("vr", "sent", "due"),
    [
        (b"PN", b"Roe   ", b"Roe "),
        (b"LO", b"      ", b""),
        (b"UI", b"1.2 ", b"1.2\0"),
        (b"UI", b"1.2\0\0\0", b"1.2\0"),
        (b"ST", b"a\0    ", b"a\0"),
    ],
)
def test_padding_beyond_what_is_due_is_kept_but_not_signed(vr, sent, due):
    padded, plain = (small(element(0x00200010, vr, value), PIXELS) for value in (sent, due))
    assert inspect(padded).seal.mac.digest() == inspect(plain).seal.mac.digest()
    after, _ = signed(padded)
    assert element(0x00200010, vr, sent) in after
    (report,) = reports(after)
    assert report.valid


def test_one_flipped_byte_anywhere_covered_is_found():
    data = small(sequence(0x00321064, item(element(0x00080100, b"SH", b"T-D1"))), element(0x7FE00010, b"OW", bytes(16)))
    after, made = signed(data)
    first, second = made.splices
    touched = {*range(first.offset), *range(first.offset + len(first.inserted), second.offset + len(first.inserted))}
    for at in sorted(touched):
        damaged = bytearray(after)
        damaged[at] ^= 0xFF
        try:
            assert not any(report.valid for report in reports(bytes(damaged))), at
        except (MalformedDataSet, DataSetLimitExceeded):
            continue


def test_nothing_to_sign_is_refused():
    with pytest.raises(MalformedDataSet):
        signed(element(0x00090010, b"UN", b"ab"))


def test_time_is_written_as_utc():
    moment = datetime(2026, 11, 22, 14, 0, tzinfo=timezone(timedelta(hours=5)))
    made = signing_key().signer.sign(inspect(small()), EXPLICIT, moment)
    assert b"20261122090000.000000+0000" in made.splices[1].inserted


def test_an_inspection_can_be_signed_twice():
    found = inspect(small(PIXELS))
    signer = signing_key().signer
    first, second = (signer.sign(found, EXPLICIT, MOMENT) for _ in range(2))
    assert first.uid != second.uid
    assert first.splices[0] == second.splices[0]
