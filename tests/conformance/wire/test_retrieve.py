"""Retrieval by C-GET (PS3.4 C.4.3)."""

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt

from tests.simulators.conformance_peer import CT, GET, ROOT, image, keys

pytestmark = pytest.mark.usefixtures("stored")


def retrieved(peer, identifier, status=0):
    """What came, and the final response."""
    came = []

    def take(event):
        came.append(event.dataset)
        return status

    contexts = ((GET, [ImplicitVRLittleEndian]), (CT, [ExplicitVRLittleEndian]))
    with peer.associated(*contexts, roles=(CT,), handlers=[(evt.EVT_C_STORE, take)]) as association:
        answers = list(association.send_c_get(identifier, GET))
    return came, answers[-1][0]


def test_a_study_comes_whole_and_is_counted(peer):
    came, final = retrieved(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.2"))
    assert sorted(one.SOPInstanceUID for one in came) == [image(2).SOPInstanceUID, image(2, 2).SOPInstanceUID]
    assert (final.Status, final.NumberOfCompletedSuboperations) == (0, 2)


def test_what_comes_is_what_was_stored_private_elements_included(peer):
    (one,), _ = retrieved(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.1"))
    for element in image(1):
        assert one[element.tag].value == element.value, element.tag


def test_one_image_comes_alone(peer):
    uids = {"StudyInstanceUID": f"{ROOT}.2", "SeriesInstanceUID": f"{ROOT}.2.1"}
    came, _ = retrieved(peer, keys("IMAGE", **uids, SOPInstanceUID=image(2, 2).SOPInstanceUID))
    assert [one.InstanceNumber for one in came] == [2]


def test_a_final_response_counts_nothing_as_remaining(peer):
    _, final = retrieved(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.1"))
    assert "NumberOfRemainingSuboperations" not in final


def test_failed_sub_operations_are_told(peer):
    _, final = retrieved(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.1"), status=0xA700)
    assert final.Status in (0xA702, 0xB000) and final.NumberOfFailedSuboperations == 1


def test_nothing_to_retrieve_is_a_success(peer):
    came, final = retrieved(peer, keys("STUDY", StudyInstanceUID="1.2.3.999.1"))
    assert (came, final.Status) == ([], 0)
