"""Storage Commitment Push Model (PS3.4 J.3, PS3.7 10.1.1, 10.1.4): the result on the same association, or another."""

from queue import Empty, Queue

import pytest
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian, generate_uid
from pynetdicom import evt

from tests.simulators.conformance_peer import COMMITMENT, CT, image

pytestmark = pytest.mark.usefixtures("stored")
INSTANCE = "1.2.840.10008.1.20.1.1"
SECONDS = 20.0


def asked(peer, uids, *, action=1, instance=INSTANCE, wait=True):
    """Status (None where the association ended instead), Transaction UID, and the result: event type and content."""
    if not peer.listens:
        pytest.skip("nobody told the archive where the suite listens: CONFORMANCE_LISTEN")
    told: Queue[tuple[int, Dataset]] = Queue()

    def take(event):
        told.put((event.request.EventTypeID, event.event_information))
        return 0, None

    information = Dataset()
    information.TransactionUID = generate_uid()
    information.ReferencedSOPSequence = [Dataset() for _ in uids]
    for item, uid in zip(information.ReferencedSOPSequence, uids, strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, uid
    handlers = [(evt.EVT_N_EVENT_REPORT, take)]
    with peer.listening(handlers), peer.associated((COMMITMENT, [ImplicitVRLittleEndian]), handlers=handlers) as made:
        assert made.is_established and made.accepted_contexts, "no presentation context for storage commitment"
        status, _ = made.send_n_action(information, action, COMMITMENT, instance)
        try:
            result = told.get(timeout=SECONDS) if wait else (0, Dataset())
        except Empty:
            pytest.fail("no result came")
    return status.get("Status"), str(information.TransactionUID), result


def listed(information, name):
    return [str(item.ReferencedSOPInstanceUID) for item in information.get(name, [])]


def test_what_is_kept_is_committed_under_its_transaction(peer):
    wanted = [image(1).SOPInstanceUID, image(2).SOPInstanceUID]
    status, transaction, (event, information) = asked(peer, wanted)
    assert (status, event, information.TransactionUID) == (0, 1, transaction)
    assert sorted(listed(information, "ReferencedSOPSequence")) == sorted(wanted)
    assert "FailedSOPSequence" not in information


def test_what_is_not_there_fails_with_0112(peer):
    _, transaction, (event, information) = asked(peer, ["1.2.3.999.1"])
    assert (event, information.TransactionUID) == (2, transaction)
    assert [item.FailureReason for item in information.FailedSOPSequence] == [0x0112]
    assert "ReferencedSOPSequence" not in information


def test_every_object_is_in_one_of_the_two_lists(peer):
    _, _, (event, information) = asked(peer, [image(1).SOPInstanceUID, "1.2.3.999.1"])
    assert event == 2
    assert listed(information, "ReferencedSOPSequence") == [image(1).SOPInstanceUID]
    assert listed(information, "FailedSOPSequence") == ["1.2.3.999.1"]


def test_another_action_than_the_one_there_is_fails(peer):
    status, _, _ = asked(peer, [image(1).SOPInstanceUID], action=2, wait=False)
    assert status is not None and status != 0


def test_another_instance_than_the_well_known_one_fails(peer):
    status, _, _ = asked(peer, [image(1).SOPInstanceUID], instance="1.2.3.999.2", wait=False)
    assert status is not None and status != 0
