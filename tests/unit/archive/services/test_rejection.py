"""What a key object document is read as: a rejection note with its references, another document, or nothing at all."""

import zlib

import pytest

from archive.services.rejection import MAX_NOTE_BYTES, NoteBuffer, read_note
from archive.services.removal import EXPIRED, QUALITY, REASONS, SAFETY, WORKLIST
from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.transfer_syntax import DEFLATED_LITTLE, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from tests.simulators.memory_archive import encoded, image
from tests.simulators.notes import key_objects

ALL = [image(1), image(1, number=2), image(2, series=2)]


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE])
@pytest.mark.parametrize("reason", [QUALITY, SAFETY, WORKLIST, EXPIRED])
def test_a_note_is_read_in_every_syntax_with_every_reference(reason, syntax):
    document = key_objects(reason.code, ALL)
    data = encoded(document, EXPLICIT_LITTLE if syntax == DEFLATED_LITTLE else syntax)
    if syntax == DEFLATED_LITTLE:
        deflate = zlib.compressobj(wbits=-15)
        data = deflate.compress(data) + deflate.flush()
    note = read_note(data, syntax)
    assert note.reason is reason
    assert [(it.study_uid, it.series_uid, it.sop_class_uid, it.sop_instance_uid) for it in note.references] == [
        (one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPClassUID, one.SOPInstanceUID) for one in ALL
    ]


@pytest.mark.parametrize(("title", "scheme"), [("113000", "DCM"), ("113037", "99LOCAL"), ("113037 ", "dcm"), ("", "")])
def test_a_document_of_another_title_is_no_rejection_note(title, scheme):
    assert read_note(encoded(key_objects(title, ALL, scheme=scheme)), EXPLICIT_LITTLE) is None
    untitled = key_objects("113037", ALL)
    del untitled.ConceptNameCodeSequence
    assert read_note(encoded(untitled), EXPLICIT_LITTLE) is None


@pytest.mark.parametrize("lost", ["evidence", "series", "references", "uid"])
def test_a_note_that_does_not_say_what_it_is_about_is_malformed(lost):
    note = key_objects("113037", ALL)
    study = note.CurrentRequestedProcedureEvidenceSequence[0]
    match lost:
        case "evidence":
            del note.CurrentRequestedProcedureEvidenceSequence
        case "series":
            del study.ReferencedSeriesSequence
        case "references":
            del study.ReferencedSeriesSequence[0].ReferencedSOPSequence
        case "uid":
            del study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    with pytest.raises(MalformedDataSet):
        read_note(encoded(note), EXPLICIT_LITTLE)


def test_a_document_is_not_held_beyond_its_bound():
    buffer = NoteBuffer()
    buffer.write(bytes(MAX_NOTE_BYTES))
    with pytest.raises(DataSetLimitExceeded):
        buffer.write(b"\0")


def test_the_reasons_are_those_of_the_profile():
    assert {code: reason.comes_back for code, reason in REASONS.items()} == {
        "113001": False,
        "113037": False,
        "113038": False,
        "113039": True,
    }
