"""Verification (PS3.4 Annex A, PS3.7 9.1.5)."""

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.sop_class import Verification


def test_an_echo_is_answered_with_success(peer):
    with peer.associated((Verification, [ImplicitVRLittleEndian])) as association:
        assert association.send_c_echo().Status == 0


def test_echoes_follow_each_other_in_one_association(peer):
    with peer.associated((Verification, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])) as association:
        assert [association.send_c_echo().Status for _ in range(3)] == [0, 0, 0]
