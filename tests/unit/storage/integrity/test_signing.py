"""Signatures of every kind: which elements, level and profile; put in without re-encoding (PS3.15 C.1 to C.4)."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import MalformedDataSet, SignatureNotPossible
from storage.integrity.profiles import PURPOSES, Profile
from storage.integrity.signing import ObjectSigner, SignatureOrder
from storage.integrity.splice import outgoing
from storage.integrity.verifier import Verdict
from tests.simulators.encoding import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG,
    MOMENT,
    element,
    implicit,
    inspect,
    item,
    open_item,
    open_sequence,
    sequence,
    signing_key,
    small,
)
from tests.simulators.signed_objects import deflated, report_data_set, signed_by, verified

STEP = 0x00321064
CODES = element(0x00080100, b"SH", b"T-D1") + element(0x00080102, b"SH", b"SRT ")
IDENTITY = (
    element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.7\0")
    + element(0x00080018, b"UI", b"1.2.3.4\0")
    + element(0x00080070, b"LO", b"Maker ")
    + element(0x00100010, b"PN", b"Roe^Jane")
    + element(0x0020000D, b"UI", b"1.2.3\0")
    + element(0x0020000E, b"UI", b"1.2.3.1\0")
    + element(0x00280010, b"US", b"\1\0")
    + element(0x60000010, b"US", b"\1\0")
    + element(0x7FE00010, b"OW", b"\1\2")
)


@pytest.mark.parametrize("algorithm", ["SHA256", "SHA384", "SHA512"])
@pytest.mark.parametrize("purpose", ["", *PURPOSES])
def test_every_digest_and_purpose_is_signed_and_read_back(algorithm, purpose):
    after, made = signed_by(small(), order=SignatureOrder(algorithm=algorithm, purpose=purpose))
    (report,) = verified(after)
    assert (report.verdict, report.uid) == (Verdict.VALID, made.uid)
    assert (report.mac_algorithm, report.purpose, report.profiles) == (algorithm, purpose, (Profile.BASE,))


@pytest.mark.parametrize("algorithm", ["MD5", "SHA1", "RIPEMD160", "SHA3_256", ""])
def test_no_new_signature_is_made_with_a_weak_digest(algorithm):
    with pytest.raises(SignatureNotPossible, match="SHA256"):
        signed_by(small(), order=SignatureOrder(algorithm=algorithm))


def test_only_the_chosen_elements_are_covered_and_the_others_are_named():
    after, made = signed_by(small(), order=SignatureOrder(tags=frozenset({0x00080018})))
    (report,) = verified(after)
    assert made.signed_tags == report.signed_tags == (0x00080018,)
    assert [left.tag for left in report.uncovered] == [0x00100010]
    (report,) = verified(after.replace(b"Roe^Jane", b"Roe^Joan"))
    assert report.verdict is Verdict.VALID, "what is not covered may change"
    (report,) = verified(after.replace(b"1.2.3.4\0", b"1.2.3.5\0"))
    assert report.verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("tag", "why"),
    [(0x00200010, "not there"), (0x00090010, "unknown"), (0x00100000, "may not be signed"), (0x00400275, "unknown")],
)
def test_what_cannot_be_signed_is_refused_with_the_reason(tag, why):
    data = (
        element(0x00090010, b"UN", b"x ")
        + element(0x00100000, b"UL", bytes(4))
        + element(0x00100010, b"PN", b"Roe ")
        + sequence(0x00400275, item(element(0x00091000, b"UN", b"x ")))
    )
    with pytest.raises(SignatureNotPossible, match=why):
        signed_by(data, order=SignatureOrder(tags=frozenset({tag})))


@pytest.mark.parametrize("lengths", ["defined", "undefined"])
@pytest.mark.parametrize("number", [0, 1])
def test_an_item_is_signed_where_it_stands_and_every_length_around_it_grows(lengths, number):
    make_sequence, make_item = (sequence, item) if lengths == "defined" else (open_sequence, open_item)
    inner = make_sequence(0x00081199, make_item(CODES), make_item(CODES))
    data = small(make_sequence(STEP, make_item(CODES), make_item(inner)), element(0x00400280, b"ST", b"note"))
    order = SignatureOrder(path=((STEP, 1), (0x00081199, number)))
    data = (
        data
        if lengths == "undefined"
        else small(sequence(STEP, item(CODES), item(inner)), element(0x00400280, b"ST", b"note"))
    )
    after, _ = signed_by(data, order=order)
    assert inspect(after).canonical_digest != b"", "every length still holds what it says"
    (report,) = verified(after)
    assert (report.path, report.verdict) == (order.path, Verdict.VALID)


def test_item_and_outer_signature_hold_together_and_apart():
    data = small(sequence(STEP, item(CODES)))
    inner, _ = signed_by(data, order=SignatureOrder(path=((STEP, 0),), tags=frozenset({0x00080100})))
    both, _ = signed_by(inner, order=SignatureOrder(profile=Profile.BASE))
    assert [(report.path, report.verdict) for report in verified(both)] == [
        (((STEP, 0),), Verdict.VALID),
        ((), Verdict.VALID),
    ]
    outer, _ = signed_by(data)
    late, _ = signed_by(outer, order=SignatureOrder(path=((STEP, 0),)))
    assert {report.verdict for report in verified(late)} == {Verdict.VALID}, "a later inner one breaks no outer one"


def test_several_signers_cover_overlapping_elements_with_a_number_each():
    data = small(element(0x00200010, b"SH", b"1 "))
    first, one = signed_by(data, order=SignatureOrder(tags=frozenset({0x00080018, 0x00100010})))
    second, two = signed_by(first, "other", SignatureOrder(tags=frozenset({0x00100010, 0x00200010})))
    assert (one.mac_id, two.mac_id) == (0, 1)
    assert [report.verdict for report in verified(second, "signer", "other")] == [Verdict.VALID] * 2
    broken = verified(
        second.replace(element(0x00200010, b"SH", b"1 "), element(0x00200010, b"SH", b"2 ")), "signer", "other"
    )
    assert [report.verdict for report in broken] == [Verdict.VALID, Verdict.INVALID]


@pytest.mark.parametrize("path", [((STEP, 1),), ((0x00081111, 0),), ((STEP, 0), (STEP, 0))])
def test_an_item_that_is_not_there_cannot_be_signed(path):
    with pytest.raises(SignatureNotPossible, match="no such item"):
        signed_by(small(sequence(STEP, item(CODES))), order=SignatureOrder(path=path))


@pytest.mark.parametrize(
    ("syntax", "data"),
    [
        (IMPLICIT, implicit(0x00080018, b"1.2.3.4\0") + implicit(0x00321064, item(implicit(0x00080100, b"T-D1")))),
        (BIG, element(0x00080018, b"UI", b"1.2.3.4\0", big=True) + element(0x00280010, b"US", b"\0\1", big=True)),
        (DEFLATED, deflated(small())),
        (JPEG, small(element(0x7FE00010, b"OB", length=0xFFFFFFFF) + item() + item(b"\1\2") + implicit(0xFFFEE0DD))),
    ],
)
@pytest.mark.parametrize("kind", ["whole", "two"])
def test_every_encoding_is_signed_in_its_own(syntax, data, kind):
    after, _ = signed_by(data, syntax=syntax)
    if kind == "two":
        after, _ = signed_by(after, "other", syntax=syntax)
    reports = verified(after, "signer", "other", syntax=syntax)
    assert [report.verdict for report in reports] == [Verdict.VALID] * len(reports)
    assert inspect(after, syntax).canonical_digest == inspect(data, syntax).canonical_digest


@pytest.mark.parametrize("profile", [Profile.CREATOR, Profile.AUTHORIZATION])
def test_the_image_profiles_sign_what_they_mandate_and_what_was_asked(profile):
    after, made = signed_by(IDENTITY, order=SignatureOrder(profile, tags=frozenset({0x00100010})))
    (report,) = verified(after)
    assert profile in report.profiles
    assert set(made.signed_tags) >= {0x00080016, 0x00080018, 0x00100010, 0x0020000D, 0x0020000E, 0x60000010, 0x7FE00010}
    assert Profile.AUTHORIZATION in report.profiles


def test_a_creator_signature_needs_the_uids_that_name_the_object():
    with pytest.raises(SignatureNotPossible, match=r"lacks .*0020,000D"):
        signed_by(small(), order=SignatureOrder(Profile.CREATOR))


def test_reports_are_signed_with_a_purpose_and_verified_ones_with_that_purpose():
    report = report_data_set(verified=True)
    with pytest.raises(SignatureNotPossible, match="purpose"):
        signed_by(report, order=SignatureOrder(Profile.REPORT))
    authored, _ = signed_by(report, order=SignatureOrder(Profile.REPORT, purpose="1", tags=frozenset()))
    both, _ = signed_by(authored, "other", SignatureOrder(Profile.VERIFIED_REPORT, tags=frozenset()))
    first, second = verified(both, "signer", "other")
    assert (first.purpose, first.profiles) == ("1", (Profile.BASE, Profile.REPORT))
    assert second.purpose == "5"
    assert set(second.profiles) == {Profile.BASE, Profile.REPORT, Profile.VERIFIED_REPORT}
    with pytest.raises(SignatureNotPossible, match="not VERIFIED"):
        signed_by(report_data_set(verified=False), order=SignatureOrder(Profile.VERIFIED_REPORT))


def test_a_profile_is_for_whole_objects_and_rsa_keys():
    with pytest.raises(SignatureNotPossible, match="whole objects"):
        signed_by(small(sequence(STEP, item(CODES))), order=SignatureOrder(Profile.CREATOR, path=((STEP, 0),)))
    key, made = ec.generate_private_key(ec.SECP256R1()), signing_key()
    signer = ObjectSigner(key, made.certificate.public_bytes(serialization.Encoding.DER))
    with pytest.raises(SignatureNotPossible, match="not RSA"):
        signer.sign(lambda: [small()], EXPLICIT, SignatureOrder(), MOMENT)


def test_a_signature_made_outside_its_certificates_validity_says_so():
    late = MOMENT + timedelta(days=2000)
    made = signing_key()
    signer = ObjectSigner(made.key, made.certificate.public_bytes(serialization.Encoding.DER))
    signature = signer.sign(lambda: [small()], EXPLICIT, SignatureOrder(), late)
    after = b"".join(outgoing([small()], EXPLICIT, signature.splices))
    (report,) = verified(after)
    assert (report.verdict, report.valid) == (Verdict.OUTSIDE_VALIDITY, False)
    (report,) = verified(after.replace(b"Roe^Jane", b"Roe^Joan"))
    assert report.verdict is Verdict.INVALID, "what is not right is not merely late"


def test_a_private_element_without_its_vr_is_checked_by_dictionary_else_left_open():
    known = element(0x00090010, b"LO", b"GEMS_IDEN_01") + element(0x00091001, b"LO", b"scanner ")
    unknown = element(0x00090010, b"LO", b"NOBODYS ") + element(0x00091001, b"LO", b"scanner ")
    name = element(0x00100010, b"PN", b"Roe^Jane")
    for private, verdict in ((known, Verdict.VALID), (unknown, Verdict.INDETERMINATE)):
        after, _ = signed_by(private + name)
        lost = after.replace(b"\x09\x00\x01\x10LO\x08\x00", b"\x09\x00\x01\x10UN\0\0\x08\0\0\0")
        assert lost != after
        (report,) = verified(lost)
        assert report.verdict is verdict, report.reason
        changed = verified(lost.replace(b"scanner ", b"scamper "))[0].verdict
        assert changed is Verdict.INDETERMINATE, "a dictionary may be wrong, so that proves nothing"
        changed = verified(after.replace(b"scanner ", b"scamper "))[0].verdict
        assert changed is Verdict.INVALID, "with its VR there is no doubt"


@given(st.binary(max_size=300))
def test_no_bytes_are_signed_that_are_no_data_set(noise):
    try:
        inspect(noise)
    except MalformedDataSet:
        with pytest.raises(MalformedDataSet):
            signed_by(noise)
