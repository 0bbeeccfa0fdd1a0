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
    decode_identifier,
)
from archive.dimse.response import ResponseWriter, failed_instances
from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.index.columns import Level
from storage.index.elements import document_of, document_text, element_text
from storage.index.finding import Match
from storage.index.matching import FindQuery
from storage.index.predicate import EVERYTHING
from storage.index.sequences import QueryKey
from storage.index.text import repertoire
from storage.integrity.inspection import DataSetInspector
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
def test_the_keys_in_the_items_of_sequences_are_read_to_their_depth(syntax, undefined):
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    inner = Dataset()
    inner.CodeMeaning = "Schädel"
    outer = Dataset()
    outer.CodeValue = "T-1"
    outer.AnatomicRegionModifierSequence = [inner]
    for nested in (inner, outer):
        nested.is_undefined_length_sequence_item = undefined
    outer["AnatomicRegionModifierSequence"].is_undefined_length = undefined
    dataset.AnatomicRegionSequence = [outer]
    dataset["AnatomicRegionSequence"].is_undefined_length = undefined
    dataset.PatientID = "P1"
    dataset.RequestAttributesSequence = [Dataset()]
    dataset.ProcedureCodeSequence = []
    keys = {key.tag: key for key in decode_identifier(written(dataset, syntax), syntax)}
    meaning = QueryKey(0x00080104, "LO", "Schädel")
    modifier = QueryKey(0x00082220, "SQ", None, ((meaning,),))
    assert keys[0x00082218].items == ((QueryKey(0x00080100, "SH", "T-1"), modifier),)
    assert keys[0x00082218].asks and not keys[0x00400275].asks
    assert keys[0x00400275].items == ((),) and keys[0x00081032].items == () and keys[0x00100020].items is None


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


def answered(syntax, values, returned=RETURNED, *, online=False, character_set=b""):
    """One response that holds these values."""
    query = FindQuery(Level.STUDY, EVERYTHING, returned, ())
    writer = ResponseWriter(
        syntax,
        level="STUDY",
        retrieve_ae_title="STRONGROOM",
        returned=returned,
        values=returned,
        online=online,
        character_set=character_set,
    )
    return writer.encode(Match(query, 1, "", [values.get(tag, "") for tag in returned], None))


@every_syntax
def test_a_response_holds_what_was_asked_level_and_retrieve_title(syntax):
    data = answered(
        syntax, {0x00080020: "20260101", 0x00100010: "DOE^J", 0x0020000D: "1.2.3", 0x00280010: "512"}, online=True
    )
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
    answer = read(answered(syntax, {0x00100010: "Müller^Jürgen=山田^太郎"}, (0x00100010,)), syntax)
    assert answer.SpecificCharacterSet == "ISO_IR 192"
    assert answer.PatientName == "Müller^Jürgen=山田^太郎"
    plain = read(answered(syntax, {0x00100010: "DOE"}, (0x00100010,)), syntax)
    assert "SpecificCharacterSet" not in plain


@given(
    st.dictionaries(st.sampled_from(RETURNED), st.one_of(st.none(), st.text(max_size=80))), st.sampled_from(SYNTAXES)
)
def test_any_text_makes_a_data_set_that_reads_back(values, syntax):
    keys = decode_identifier(answered(syntax, values), syntax)
    assert {key.tag for key in keys} >= set(RETURNED)


def test_a_value_that_its_vr_cannot_hold_is_answered_empty():
    values = {0x00100020: "x" * 70_000, 0x00280010: "many"}
    answer = read(answered(EXPLICIT, values, tuple(values)), EXPLICIT)
    assert answer["PatientID"].is_empty and answer["Rows"].is_empty


def test_the_failed_list_ends_where_an_explicit_ui_element_is_full():
    uids = [f"1.2.{10**59 + number}" for number in range(2000)]
    listed = read(failed_instances(uids, EXPLICIT), EXPLICIT).FailedSOPInstanceUIDList
    assert list(listed) == uids[: len(listed)] and len(listed) == 1008
    assert len(read(failed_instances(uids, IMPLICIT), IMPLICIT).FailedSOPInstanceUIDList) == 2000


def written_elements(dataset, syntax=EXPLICIT):
    """What the index would know of a data set's elements without a column."""
    inspector = DataSetInspector(syntax, frozenset())
    inspector.feed(written(dataset, syntax))
    others = inspector.finish().others
    encodings = repertoire(dataset.SpecificCharacterSet.encode()) if "SpecificCharacterSet" in dataset else ("iso8859",)
    return document_of(document_text(element_text(tag, element, encodings) for tag, element in others.items()))


@every_syntax
@pytest.mark.parametrize("kept_as", SYNTAXES, ids=["implicit", "explicit", "big"])
def test_elements_of_every_vr_and_depth_come_out_as_they_went_in(syntax, kept_as):
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "", "AXIAL"]
    dataset.OtherPatientNames = ["Müller^Jörg=山田", "DOE"]
    dataset.AcquisitionDateTime = "20260101120000.5+0100"
    dataset.PatientComments = "a \\ b"
    dataset.ExposureTime = 12
    dataset.SliceThickness = "1.250"
    dataset.PixelSpacing = ["0.5", "0.5"]
    dataset.FrameIncrementPointer = [0x00181063, 0x00181065]
    dataset.RecommendedDisplayFrameRateInFloat = 29.5
    dataset.RealWorldValueIntercept = -0.125
    dataset.LossyImageCompressionRatio = None
    dataset.RedPaletteColorLookupTableData = b"\x01\x02\x03\x04"
    dataset.SmallestImagePixelValue = 7
    code, modifier = Dataset(), Dataset()
    code.CodeValue, code.CodeMeaning = "T-1", "Schädel"
    modifier.CodeValue = "M-1"
    code.AnatomicRegionModifierSequence = [modifier, Dataset()]
    dataset.AnatomicRegionSequence = [code]
    dataset.ReferencedImageSequence = []
    kept = written_elements(dataset, kept_as)
    values = {int(name, 16): element for name, element in kept.items() if name != "00080005"}
    answer = read(answered(syntax, values, tuple(sorted(values))), syntax)
    if syntax.little_endian != kept_as.little_endian:
        # pydicom leaves the order of words to its caller.
        dataset.RedPaletteColorLookupTableData = b"\x02\x01\x04\x03"
    for tag in values:
        assert answer[tag].VR == dataset[tag].VR or tag == 0x00280106
        assert answer[tag].value == dataset[tag].value, tag
    assert answer.AnatomicRegionSequence[0].CodeMeaning == "Schädel"


@pytest.mark.parametrize(
    ("requested", "name", "answered_in"),
    [
        ("ISO_IR 100", "Müller^Jörg", "ISO_IR 100"),
        ("ISO_IR 100", "Διονυσιος", "ISO_IR 192"),
        ("ISO_IR 126", "Διονυσιος", "ISO_IR 126"),
        ("ISO_IR 144", "Люкceмбypг", "ISO_IR 144"),
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 87"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동", "\\ISO 2022 IR 149"),
        ("\\ISO 2022 IR 87", "Müller", "ISO_IR 192"),
        ("GB18030", "Wang^XiaoDong=王^小东", "GB18030"),
        ("ISO_IR 192", "王^小东", "ISO_IR 192"),
        ("NO SUCH SET", "Müller", "ISO_IR 192"),
        ("", "Müller", "ISO_IR 192"),
    ],
)
def test_text_is_answered_in_the_set_of_the_request_where_that_holds_it(requested, name, answered_in):
    data = answered(EXPLICIT, {0x00100010: name}, (0x00100010,), character_set=requested.encode())
    answer = read(data, EXPLICIT)
    terms = answer.SpecificCharacterSet
    assert (terms if isinstance(terms, str) else "\\".join(terms)) == answered_in
    assert answer.PatientName == name


TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
SETS = (b"ISO_IR 100", b"\\ISO 2022 IR 87", b"ISO_IR 13", b"GBK", b"\\ISO 2022 IR 58")


@given(TEXTS, st.sampled_from(SETS))
def test_no_character_set_loses_a_character(text, requested):
    data = answered(EXPLICIT, {0x00100020: text}, (0x00100020,), character_set=requested)
    (value,) = [key.value for key in decode_identifier(data, EXPLICIT) if key.tag == 0x00100020]
    assert (value or "").strip(" ") == text.strip(" ")
