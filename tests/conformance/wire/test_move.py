"""Retrieval by C-MOVE (PS3.4 C.4.2, PS3.7 9.1.4), to the calling AE title itself."""

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import evt

from tests.simulators.conformance_peer import MOVE, ROOT, image, keys

pytestmark = pytest.mark.usefixtures("stored")


def moved(peer, identifier, destination=None, status=0):
    """The requests that came, and the responses, the final one last, each with its identifier."""
    if not peer.listens:
        pytest.skip("nobody told the archive where the suite listens: CONFORMANCE_LISTEN")
    came = []

    def take(event):
        came.append(event.request)
        return status

    with (
        peer.listening([(evt.EVT_C_STORE, take)]),
        peer.associated((MOVE, [ImplicitVRLittleEndian])) as association,
    ):
        answers = list(association.send_c_move(identifier, destination or peer.calling, MOVE))
    return came, answers


def test_a_study_goes_whole_to_the_destination_and_is_counted(peer):
    came, [*_, (final, _)] = moved(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.2"))
    wanted = sorted(one.SOPInstanceUID for one in (image(2), image(2, 2)))
    assert sorted(request.AffectedSOPInstanceUID for request in came) == wanted
    assert (final.Status, final.NumberOfCompletedSuboperations) == (0, 2)


def test_one_image_goes_alone(peer):
    uids = {"StudyInstanceUID": f"{ROOT}.2", "SeriesInstanceUID": f"{ROOT}.2.1"}
    came, [*_, (final, _)] = moved(peer, keys("IMAGE", **uids, SOPInstanceUID=image(2, 2).SOPInstanceUID))
    assert [request.AffectedSOPInstanceUID for request in came] == [image(2, 2).SOPInstanceUID] and final.Status == 0


def test_the_sub_operations_say_who_wanted_them_and_by_which_message(peer):
    came, _ = moved(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.1"))
    assert [(request.MoveOriginatorApplicationEntityTitle, request.MoveOriginatorMessageID) for request in came] == [
        (peer.calling, 1)
    ]


def test_pending_responses_count_down(peer):
    _, answers = moved(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.2"))
    pending = [status for status, _ in answers if status.Status == 0xFF00]
    counts = [
        (
            status.NumberOfRemainingSuboperations,
            status.NumberOfCompletedSuboperations
            + status.NumberOfFailedSuboperations
            + status.NumberOfWarningSuboperations,
        )
        for status in pending
    ]
    assert all(left + done == 2 for left, done in counts) and counts == sorted(counts, reverse=True)


def test_a_final_response_counts_nothing_as_remaining(peer):
    _, [*_, (final, _)] = moved(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.1"))
    assert "NumberOfRemainingSuboperations" not in final


def test_a_destination_that_is_nobodys_is_a801(peer):
    came, [*_, (final, _)] = moved(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.1"), "NOBODY_OF_HERE")
    assert (came, final.Status) == ([], 0xA801)


def test_failed_sub_operations_are_told_and_listed(peer):
    _, [*_, (final, left)] = moved(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.1"), status=0xA700)
    assert final.Status in (0xA702, 0xB000) and final.NumberOfFailedSuboperations == 1
    assert left is not None and left.FailedSOPInstanceUIDList == image(1).SOPInstanceUID


def test_nothing_to_move_is_a_success(peer):
    came, [*_, (final, _)] = moved(peer, keys("STUDY", StudyInstanceUID="1.2.3.999.1"))
    assert (came, final.Status) == ([], 0)


def test_an_identifier_that_breaks_the_hierarchy_is_refused(peer):
    came, [*_, (final, _)] = moved(peer, keys("SERIES", SeriesInstanceUID=f"{ROOT}.1.1"))
    assert (came, final.Status) == ([], 0xA900)
