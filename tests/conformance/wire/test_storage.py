"""Storage (PS3.4 Annex B, PS3.7 9.1.1)."""

import time
from io import BytesIO

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode

from tests.simulators.conformance_peer import CT, image, store


def raw(association, data, uid, sop_class=CT):
    """The status of a C-STORE of any bytes; None where the association ended instead."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, uid
    request.DataSet = BytesIO(data)
    (context,) = association.accepted_contexts
    # As pynetdicom's own requests do: its reactor must not take the answer for a request.
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        time.sleep(0.01)
    try:
        association.dimse.send_msg(request, context.context_id)
        _, response = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    return None if response is None else response.Status


def test_an_object_is_stored_and_once_more(peer):
    with peer.associated((CT, [ExplicitVRLittleEndian])) as association:
        assert [store(association, image(8)) for _ in range(2)] == [0, 0]


def test_another_object_under_a_kept_uid_does_not_replace_it_silently(peer):
    with peer.associated((CT, [ExplicitVRLittleEndian])) as association:
        assert store(association, image(7)) == 0
        assert store(association, image(7, PatientID="SOMEBODY_ELSE")) != 0


def test_a_data_set_of_another_instance_than_its_command_is_refused(peer):
    with peer.associated((CT, [ExplicitVRLittleEndian])) as association:
        status = raw(association, encode(image(6), False, True), image(6, 2).SOPInstanceUID)
        assert status is not None and status >> 12 in (0xA, 0xC)


def test_a_data_set_without_study_is_refused(peer):
    made = image(6)
    del made.StudyInstanceUID
    with peer.associated((CT, [ExplicitVRLittleEndian])) as association:
        status = raw(association, encode(made, False, True), made.SOPInstanceUID)
        assert status is not None and status >> 12 in (0xA, 0xC)


def test_bytes_that_are_no_data_set_are_refused(peer):
    with peer.associated((CT, [ExplicitVRLittleEndian])) as association:
        status = raw(association, b"\xff" * 256, image(6).SOPInstanceUID)
        assert status is not None and status >> 12 in (0xA, 0xC)
