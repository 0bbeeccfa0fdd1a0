"""Identifiers: keys in, matches out, in every syntax that is accepted; judged by pydicom."""

import contextlib
import struct
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID

from archive.dimse.identifier import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    ResponseWriter,
    decode_identifier,
    failed_instances,
)
from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.index.matching import QueryKey
from storage.transfer_syntax import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, transfer_syntax

SYNTAXES = [transfer_syntax(uid) for uid in (IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG)]
EXPLICIT = transfer_syntax(EXPLICIT_LITTLE)
IMPLICIT = transfer_syntax(IMPLICIT_LITTLE)
every_syntax = pytest.mark.parametrize("syntax", SYNTAXES, ids=["implicit", "explicit", "big"])


def written(dataset, syntax):
    buffer = DicomBytesIO()
    buffer.is_little_endian = syntax.little_endian
    buffer.is_implicit_VR = not syntax.explicit
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def read(data, syntax):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax.uid)
    return dcmread(BytesIO(preamble(syntax) + data), force=True)


def preamble(syntax):
    uid = syntax.uid.encode() + b"\0" * (len(syntax.uid) % 2)
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(uid)) + uid
    return b"\0" * 128 + b"DICM\x02\x00\x00\x00UL\x04\x00" + struct.pack("<L", len(meta)) + meta


def query():
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.QueryRetrieveLevel = "STUDY"
    dataset.PatientName = "MÜLLER*"
    dataset.PatientID = ""
    dataset.StudyInstanceUID = "1.2.3"
    dataset.Rows = 512
    return dataset


@every_syntax
def test_keys_are_read_with_their_values_and_character_set(syntax):
    keys = {key.tag: key for key in decode_identifier(written(query(), syntax), syntax)}
    assert keys[0x00100010] == QueryKey(0x00100010, "PN", "MÜLLER*")
    assert keys[0x00100020].value is None
    assert keys[0x0020000D].value == "1.2.3"
    assert keys[0x00280010] == QueryKey(0x00280010, "US", "512")


@every_syntax
@pytest.mark.parametrize("undefined", [False, True])
def test_sequences_are_passed_over_and_known_to_ask_for_something(syntax, undefined):
    dataset = Dataset()
    inner = Dataset()
    inner.CodeValue = "T-1"
    outer = Dataset()
    outer.AnatomicRegionModifierSequence = [inner]
    dataset.AnatomicRegionSequence = [outer]
    dataset["AnatomicRegionSequence"].is_undefined_length = undefined
    dataset.PatientID = "P1"
    dataset.RequestAttributesSequence = [Dataset()]
    keys = decode_identifier(written(dataset, syntax), syntax)
    assert [(key.tag, key.sequence, bool(key.value)) for key in keys] == [
        (0x00082218, True, True),
        (0x00100020, False, True),
        (0x00400275, True, False),
    ]


def element(tag, vr, value):
    return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + struct.pack("<H", len(value)) + value


@pytest.mark.parametrize(
    "data",
    [
        element(0x00100020, b"LO", b"P1") + element(0x00100010, b"PN", b"A^"),
        element(0x00100020, b"LO", b"P1") * 2,
        element(0x00100020, b"LO", b"P1")[:-1],
        element(0x00100020, b"LO", b"P"),
        element(0x00100020, b"??", b"P1"),
        b"\x10\x00\x20\x00UN\0\0\xff\xff\xff\xff",
        b"\x08\x00\x18\x22SQ\0\0\x08\0\0\0\xfe\xff\x00\xe0\x10\0\0\0",
        b"\x08\x00\x18\x22SQ\0\0\xff\xff\xff\xff",
        b"\x08\x00\x18\x22SQ\0\0\x08\0\0\0\xfe\xff\xdd\xe0\0\0\0\0",
        b"\xfe\xff\x00\xe0\0\0\0\0",
        element(0x00280010, b"US", b"\x01\x00")[:-2],
    ],
    ids=["order", "twice", "cut", "odd", "vr", "un-undefined", "item-too-long", "no-end", "stray-end", "item", "short"],
)
def test_what_is_no_data_set_is_refused(data):
    with pytest.raises(MalformedDataSet):
        decode_identifier(data, EXPLICIT)


def test_more_elements_than_a_query_needs_are_refused():
    data = b"".join(element(0x00110000 + number, b"LO", b"") for number in range(MAX_ELEMENTS + 1))
    with pytest.raises(DataSetLimitExceeded):
        decode_identifier(data, EXPLICIT)


def test_sequences_nested_beyond_the_bound_are_refused_without_recursion():
    opening = b"\x08\x00\x18\x22\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(DataSetLimitExceeded):
        decode_identifier(opening * (MAX_DEPTH + 1), IMPLICIT)


@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
def test_any_bytes_are_keys_or_a_coded_error(data, syntax):
    with contextlib.suppress(MalformedDataSet, DataSetLimitExceeded):
        decode_identifier(data, syntax)


@given(st.integers(0, 400), st.integers(0, 255), st.sampled_from(SYNTAXES))
@settings(max_examples=200)
def test_a_flipped_byte_is_keys_or_a_coded_error(position, byte, syntax):
    dataset = query()
    dataset.RequestAttributesSequence = [Dataset()]
    data = bytearray(written(dataset, syntax))
    data[position % len(data)] = byte
    with contextlib.suppress(MalformedDataSet, DataSetLimitExceeded):
        decode_identifier(bytes(data), syntax)


RETURNED = (0x00080020, 0x00100010, 0x00100020, 0x0020000D, 0x00201208, 0x00280010)


@every_syntax
def test_a_response_holds_what_was_asked_level_and_retrieve_title(syntax):
    writer = ResponseWriter(syntax, level="STUDY", retrieve_ae_title="STRONGROOM", returned=RETURNED, online=True)
    data = writer.encode({0x00080020: "20260101", 0x00100010: "DOE^J", 0x0020000D: "1.2.3", 0x00280010: "512"})
    answer = read(data, syntax)
    assert (answer.QueryRetrieveLevel, answer.RetrieveAETitle, answer.InstanceAvailability) == (
        "STUDY",
        "STRONGROOM",
        "ONLINE",
    )
    assert (answer.StudyDate, answer.PatientName, answer.StudyInstanceUID, answer.Rows) == (
        "20260101",
        "DOE^J",
        "1.2.3",
        512,
    )
    assert answer["PatientID"].is_empty and answer["NumberOfStudyRelatedInstances"].is_empty
    assert "SpecificCharacterSet" not in answer
    assert written(answer, syntax) == data


@every_syntax
def test_text_beyond_ascii_is_declared_as_utf8(syntax):
    writer = ResponseWriter(syntax, level="STUDY", retrieve_ae_title="S", returned=(0x00100010,), online=False)
    answer = read(writer.encode({0x00100010: "Müller^Jürgen=山田^太郎"}), syntax)
    assert answer.SpecificCharacterSet == "ISO_IR 192"
    assert answer.PatientName == "Müller^Jürgen=山田^太郎"
    plain = read(writer.encode({0x00100010: "DOE"}), syntax)
    assert "SpecificCharacterSet" not in plain


@given(
    st.dictionaries(st.sampled_from(RETURNED), st.one_of(st.none(), st.text(max_size=80))), st.sampled_from(SYNTAXES)
)
def test_any_text_makes_a_data_set_that_reads_back(values, syntax):
    writer = ResponseWriter(syntax, level="STUDY", retrieve_ae_title="S", returned=RETURNED, online=False)
    keys = decode_identifier(writer.encode(values), syntax)
    assert {key.tag for key in keys} >= set(RETURNED)


def test_a_value_that_its_vr_cannot_hold_is_answered_empty():
    writer = ResponseWriter(
        EXPLICIT, level="IMAGE", retrieve_ae_title="S", returned=(0x00100020, 0x00280010), online=False
    )
    answer = read(writer.encode({0x00100020: "x" * 70_000, 0x00280010: "many"}), EXPLICIT)
    assert answer["PatientID"].is_empty and answer["Rows"].is_empty


def test_the_failed_list_ends_where_an_explicit_ui_element_is_full():
    uids = [f"1.2.{10**59 + number}" for number in range(2000)]
    listed = read(failed_instances(uids, EXPLICIT), EXPLICIT).FailedSOPInstanceUIDList
    assert list(listed) == uids[: len(listed)] and len(listed) == 1008
    assert len(read(failed_instances(uids, IMPLICIT), IMPLICIT).FailedSOPInstanceUIDList) == 2000
