"""References by signature and MAC: made, found wherever they occur, and what is wrong with one is said (C.17-3a)."""

from hashlib import sha256

import pytest

from storage.integrity.references import Proof, check_reference, object_mac, secure_references
from storage.integrity.trust import Trust
from tests.simulators.encoding import BIG, EXPLICIT, IMPLICIT, element, implicit, item, sequence, small
from tests.simulators.signed_objects import signed_by, verified

UID = b"1.2.3.4\0"


def signature_item(uid, value):
    text = uid.encode() + b"\0" * (len(uid) & 1)
    return item(element(0x04000100, b"UI", text), element(0x04000120, b"OB", value))


def mac_item(tags, mac, algorithm=b"SHA256"):
    listed = b"".join((tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") for tag in tags)
    return item(
        element(0x04000010, b"UI", b"1.2.840.10008.1.2.1\0"),
        element(0x04000015, b"CS", algorithm),
        element(0x04000020, b"AT", listed),
        element(0x04000404, b"OB", mac),
    )


def referring(*more):
    """A data set that refers to the object, two sequences deep."""
    reference = item(element(0x00081150, b"UI", b"1.2\0"), element(0x00081155, b"UI", UID), *more)
    return small(sequence(0x0040A375, item(sequence(0x00081115, item(sequence(0x00081199, reference))))))


def checked(data, find, trust=None):
    (reference,) = secure_references(lambda: [data], EXPLICIT)
    assert reference.sop_instance_uid == "1.2.3.4"
    assert reference.path[-1] == (0x00081199, 0)
    return [(one.kind, one.proof) for one in check_reference(reference, find, trust or Trust())]


def here(data, syntax=EXPLICIT):
    return lambda uid: ((lambda: [data]), syntax) if uid == "1.2.3.4" else None


@pytest.fixture(scope="module")
def target():
    """The object that is referred to, and statements about it that hold."""
    data, made = signed_by(small())
    (report,) = verified(data)
    tags, mac = object_mac(lambda: [data], EXPLICIT)
    statements = (
        sequence(0x04000402, signature_item(made.uid, report.value)),
        sequence(0x04000403, mac_item(tags, mac)),
    )
    return data, made, statements


def test_both_kinds_hold_for_the_object_and_for_no_other(target):
    data, _, statements = target
    both = referring(*statements)
    assert checked(both, here(data)) == [("signature", Proof.VALID), ("mac", Proof.VALID)]
    changed = data.replace(b"Roe^Jane", b"Roe^Joan")
    assert checked(both, here(changed)) == [("signature", Proof.INVALID), ("mac", Proof.INVALID)]
    assert checked(both, here(small())) == [("signature", Proof.INVALID), ("mac", Proof.VALID)], "its signature is gone"
    assert checked(both, lambda uid: None) == [("signature", Proof.MISSING), ("mac", Proof.MISSING)]
    assert checked(both, here(b"\0" * 40)) == [("signature", Proof.INVALID), ("mac", Proof.INVALID)]


def test_a_mac_is_the_same_in_every_native_syntax(target):
    tags, mac = object_mac(lambda: [small()], EXPLICIT)
    assert mac == sha256(small()).digest(), "plain elements go into the MAC as they stand"
    little = implicit(0x00080018, UID) + implicit(0x00100010, b"Roe^Jane")
    assert object_mac(lambda: [little], IMPLICIT) == (tags, mac)
    big = element(0x00080018, b"UI", UID, big=True) + element(0x00100010, b"PN", b"Roe^Jane", big=True)
    assert object_mac(lambda: [big], BIG) == (tags, mac)


def test_a_signature_of_another_value_or_uid_is_not_the_one_referred_to(target):
    data, made, _ = target
    other = referring(sequence(0x04000402, signature_item(made.uid, bytes(256))))
    assert checked(other, here(data)) == [("signature", Proof.INVALID)]
    unknown = referring(sequence(0x04000402, signature_item("1.2.3", bytes(256))))
    assert checked(unknown, here(data)) == [("signature", Proof.INVALID)]


@pytest.mark.parametrize(
    ("statement", "proof"),
    [
        (mac_item((0x00080018,), sha256(element(0x00080018, b"UI", UID)).digest()), Proof.VALID),
        (mac_item((0x00080018,), bytes(32)), Proof.INVALID),
        (mac_item((), bytes(32)), Proof.INVALID),
        (mac_item((0x00100010, 0x00080018), bytes(32)), Proof.INVALID),
        (mac_item((0x00080000,), bytes(32)), Proof.INVALID),
        (mac_item((0x00080018,), bytes(32), b"SHA999"), Proof.INVALID),
        (item(), Proof.INVALID),
    ],
)
def test_a_mac_with_parameters_that_break_a_rule_proves_nothing(statement, proof):
    assert checked(referring(sequence(0x04000403, statement)), here(small())) == [("mac", proof)]


def test_plain_references_say_nothing_to_be_checked():
    assert secure_references(lambda: [referring()], EXPLICIT) == ()
    assert secure_references(lambda: [small()], EXPLICIT) == ()
