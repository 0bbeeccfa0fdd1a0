"""Random flips in a signed object, each classified beforehand by a map that another reader draws.

covered: a value that the signature covers, or one of its own; structural: a header, an item or a delimiter of something
covered, or of the signature itself; uncovered: anything of an element that is not listed; loose: the padding of the
certificate, of which nobody says anything. The MAC parameters are no part of the MAC (PS3.3 C.12.1.1.3.1.2): there a
flip is found, or what they say is still the same.
"""

import io
import random
from enum import Enum

import pydicom
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from storage.errors import StorageError
from storage.integrity.signed_item import Verdict
from storage.integrity.signing import ObjectSigner, SignatureOrder
from storage.integrity.splice import outgoing
from tests.simulators.encoding import (
    EXPLICIT,
    MOMENT,
    element,
    item,
    open_item,
    open_sequence,
    sequence,
    signing_key,
    small,
)
from tests.simulators.signed_objects import signed_by, verified

LISTED = (0x00080018, 0x00081140, 0x00100010, 0x00321064, 0x00400280, 0x7FE00010)
NOT_LISTED = (0x00080070, 0x00081111, 0x00200010)
CODES = element(0x00080100, b"SH", b"T-D1") + element(0x00080102, b"SH", b"SRT ")


class Kind(Enum):
    COVERED = "covered"
    STRUCTURAL = "structural"
    UNCOVERED = "uncovered"
    PARAMETERS = "parameters"
    LOOSE = "loose"


def subject() -> bytes:
    """A data set with everything that a signature has to tell apart."""
    return b"".join(
        (
            element(0x00080018, b"UI", b"1.2.840.99999.1.2.3\0"),
            element(0x00080070, b"LO", b"Maker "),
            sequence(0x00081111, item(CODES)),
            open_sequence(0x00081140, open_item(CODES), item()),
            element(0x00100010, b"PN", b"Roe^Jane"),
            element(0x00200010, b"SH", b"1 "),
            sequence(0x00321064, item(CODES, sequence(0x00081199, item(CODES)))),
            element(0x00400280, b"ST", b"a note, "),
            element(0x7FE00010, b"OW", bytes(range(256)) * 2),
        )
    )


def drawn(data: bytes) -> list[Kind]:
    """What each byte is, drawn by a reader of its own that knows what shapes the subject has."""
    kinds = [Kind.STRUCTURAL] * len(data)
    at = 0
    while at < len(data):
        start, (tag, _, _, at) = at, _header(data, at)
        if tag in NOT_LISTED or tag == 0x4FFE0001:
            kinds[start:at] = [Kind.UNCOVERED if tag in NOT_LISTED else Kind.PARAMETERS] * (at - start)
            continue
        for inner, value, end in _leaves(data, start, at):
            kinds[value:end] = [Kind.COVERED] * (end - value)
            if inner == 0x04000115:
                der = value + 4 + int.from_bytes(data[value + 2 : value + 4], "big")
                kinds[der:end] = [Kind.LOOSE] * (end - der)
    return kinds


def _header(data: bytes, at: int) -> tuple[int, str, int, int]:
    """Tag, VR, where the value begins and where the element ends."""
    group, number = (int.from_bytes(data[at + n : at + n + 2], "little") for n in (0, 2))
    vr = data[at + 4 : at + 6].decode()
    value = at + (12 if vr in ("OB", "OW", "SQ") else 8)
    length = int.from_bytes(data[value - (2 if value - at == 8 else 4) : value], "little")
    end = data.index(b"\xfe\xff\xdd\xe0", value) + 8 if length == 0xFFFFFFFF else value + length
    return group << 16 | number, vr, value, end


def _leaves(data: bytes, at: int, end: int):
    """(tag, value, end) of every plain element up to ``end``, at any level."""
    while at < end:
        if data[at : at + 2] == b"\xfe\xff":
            at += 8
            continue
        tag, vr, value, after = _header(data, at)
        if vr == "SQ":
            yield from _leaves(data, value, after)
        else:
            yield tag, value, after
        at = after


def outcome(data: bytes):
    """None where it does not parse; else the signature's report."""
    try:
        reports = verified(data)
    except StorageError:
        return None
    return reports[0] if len(reports) == 1 else None


def good(report) -> bool:
    return report is not None and report.verdict is Verdict.VALID


def judged(data, kinds, at, bit):
    """What is wrong with how a flip was judged; None if nothing."""
    changed = bytearray(data)
    changed[at] ^= 1 << bit
    report, kind = outcome(bytes(changed)), kinds[at]
    if kind is Kind.COVERED and good(report):
        # A UID ends with a NUL where its length was odd (PS3.5 9.1); a space there is read as the same UID.
        return None if (data[at], changed[at]) == (0, 0x20) else "a covered value was changed unseen"
    if kind is Kind.STRUCTURAL and good(report):
        return "a structural change was accepted"
    if kind is Kind.UNCOVERED and good(report):
        left = {it.tag for it in report.uncovered}
        if left < set(NOT_LISTED) and len(left) < len(NOT_LISTED):
            return "what is not covered is not reported"
    if kind is Kind.PARAMETERS and good(report) and (report.mac_algorithm, report.signed_tags) != ("SHA256", LISTED):
        return "other parameters were accepted"
    if kind is Kind.LOOSE and not good(report):
        return "padding of the certificate decides"
    return None


@pytest.fixture(scope="module")
def signed():
    data, _ = signed_by(subject(), order=SignatureOrder(tags=frozenset(LISTED), purpose="1"))
    (report,) = verified(data)
    assert report.verdict is Verdict.VALID
    assert {left.tag for left in report.uncovered} == set(NOT_LISTED)
    return data


def test_pydicom_reads_the_subject_as_it_is_meant(signed):
    read = pydicom.dcmread(io.BytesIO(signed), force=True)
    assert len(read.DigitalSignaturesSequence) == 1
    kinds = drawn(signed)
    assert all(kinds.count(kind) for kind in Kind if kind is not Kind.LOOSE)


def flips(signed, count, seed):
    kinds, chance = drawn(signed), random.Random(seed)
    wrong, counts = {}, dict.fromkeys(Kind, 0)
    for _ in range(count):
        at, bit = chance.randrange(len(signed)), chance.randrange(8)
        counts[kinds[at]] += 1
        found = judged(signed, kinds, at, bit)
        if found:
            wrong[at, bit] = found
    return wrong, counts


def test_random_flips_are_judged_as_the_map_says(signed):
    wrong, _ = flips(signed, 400, 1)
    assert wrong == {}


@pytest.mark.long
def test_ten_thousand_random_flips_are_judged_as_the_map_says(signed):
    wrong, counts = flips(signed, 10_000, 20_261_127)
    print({kind.value: count for kind, count in counts.items()})
    assert wrong == {}
    assert min(counts[kind] for kind in (Kind.COVERED, Kind.STRUCTURAL, Kind.UNCOVERED)) > 300


def parts(signed):
    """The data set without its signature sequences, and these."""
    first = signed.index(b"\xfe\x4f\x01\x00SQ")
    second = signed.index(b"\xfa\xff\xfa\xffSQ")
    pixels = signed.index(b"\xe0\x7f\x10\x00OW")
    return signed[:first] + signed[pixels:second], signed[first:pixels], signed[second:]


def test_a_stripped_signature_is_told_as_none(signed):
    plain, parameters, _ = parts(signed)
    assert verified(plain) == ()
    pixels = plain.index(b"\xe0\x7f\x10\x00OW")
    assert verified(plain[:pixels] + parameters + plain[pixels:]) == ()


def test_a_signature_moved_into_an_item_names_the_elements_that_are_not_there(signed):
    _, parameters, signature = parts(signed)
    moved = small(sequence(0x00321064, item(CODES, parameters, signature)))
    (report,) = verified(moved)
    assert report.path == ((0x00321064, 0),)
    assert report.verdict is Verdict.INVALID
    assert set(report.missing) == set(LISTED)


def test_a_signature_of_another_object_names_that(signed):
    _, parameters, signature = parts(signed)
    other = subject().replace(b"Roe^Jane", b"Doe^John")
    at = other.index(b"\xe0\x7f\x10\x00OW")
    (report,) = verified(other[:at] + parameters + other[at:] + signature)
    assert report.verdict is Verdict.INVALID
    assert "another object's" in report.reason


def test_an_appended_element_is_named_as_not_covered(signed):
    added = element(0x00204000, b"LT", b"malign")
    at = signed.index(b"\x32\x00\x64\x10SQ")
    (report,) = verified(signed[:at] + added + signed[at:])
    assert report.verdict is Verdict.VALID
    assert 0x00204000 in {left.tag for left in report.uncovered}


def test_a_shortened_list_does_not_verify(signed):
    listed = b"\x32\x00\x64\x10\x40\x00\x80\x02"
    assert signed.count(listed) == 1
    (report,) = verified(signed.replace(listed, b"\x32\x00\x64\x10\x32\x00\x65\x10"))
    assert report.verdict is Verdict.INVALID


def test_a_certificate_of_another_key_does_not_verify():
    other = signing_key("other").certificate.public_bytes(Encoding.DER)
    made = ObjectSigner(signing_key().key, other).sign(lambda: [subject()], EXPLICIT, SignatureOrder(), MOMENT)
    (report,) = verified(b"".join(outgoing([subject()], EXPLICIT, made.splices)), "signer", "other")
    assert report.verdict is Verdict.INVALID
    assert "not one that the certificate's key made" in report.reason
