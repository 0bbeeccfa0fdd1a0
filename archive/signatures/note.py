"""A Key Object note over a study: what is kept of it, each object with its signature and MAC, signed (PS3.15 A.4, C.4).

Whoever has the note can tell whether the study is complete and unaltered, also where objects lost their signatures.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from struct import pack
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as Items

from storage.identifiers import Uid, new_uid
from storage.instance import InstanceKey
from storage.transfer_syntax import EXPLICIT_LITTLE

KEY_OBJECT: Final = "1.2.840.10008.5.1.4.1.1.88.59"
_COPIED: Final = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
)
"""Of the patient and the study, as the study's first object has it; type 2 elements are empty where it has none."""


@dataclass(frozen=True, slots=True)
class Referenced:
    """One object of the study."""

    key: InstanceKey
    signature_uid: str
    signature_value: bytes
    tags: tuple[int, ...]
    """What the MAC is over."""
    mac: bytes
    """SHA-256."""
    mac_syntax: str


@dataclass(frozen=True, slots=True)
class Note:
    """A note that is not signed yet."""

    sop_instance_uid: Uid
    data: bytes
    """Explicit VR little endian."""


def key_object_note(first: Dataset, objects: Sequence[Referenced], archive: str, moment: datetime) -> Note:
    """Compose the note (PS3.3 A.35.4, PS3.16 TID 2010).

    Args:
        first: the study's first object, for what is said of patient and study.
        objects: every object, in the order in which they are to stand.
        archive: our AE title, as the series' equipment.
        moment: when, aware.
    """
    uid, local = new_uid(), moment.astimezone()
    note = Dataset()
    for keyword in _COPIED:
        setattr(note, keyword, first.get(keyword, None))
    if not note.get("SpecificCharacterSet"):
        del note.SpecificCharacterSet
    note.InstanceCreationDate = note.SeriesDate = note.ContentDate = local.strftime("%Y%m%d")
    note.InstanceCreationTime = note.SeriesTime = note.ContentTime = local.strftime("%H%M%S.%f")
    note.TimezoneOffsetFromUTC = local.strftime("%z")
    note.SOPClassUID, note.SOPInstanceUID, note.SeriesInstanceUID = KEY_OBJECT, uid, new_uid()
    note.Modality, note.SeriesNumber, note.InstanceNumber = "KO", 1, 1
    note.Manufacturer, note.StationName = "Strongroom", archive
    note.ReferencedPerformedProcedureStepSequence = Items()
    note.ValueType, note.ContinuityOfContent = "CONTAINER", "SEPARATE"
    note.ConceptNameCodeSequence = Items([_code("113030", "DCM", "Manifest")])
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    note.ContentTemplateSequence = Items([template])
    note.ContentSequence = Items([_content(one.key) for one in objects])
    note.CurrentRequestedProcedureEvidenceSequence = Items([_evidence(objects)])
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, note)
    return Note(uid, stream.getvalue())


def first_of(pieces: Iterable[bytes], syntax: str) -> Dataset:
    """The header of a data set, for `key_object_note`."""
    name = syntax.encode() + b"\0" * (len(syntax) & 1)
    meta = pack("<HH2sH", 0x0002, 0x0010, b"UI", len(name)) + name
    return dcmread(io.BytesIO(bytes(128) + b"DICM" + meta + b"".join(pieces)), stop_before_pixels=True)


def _evidence(objects: Sequence[Referenced]) -> Dataset:
    """The study's item of (0040,A375), by series, with the macros of PS3.3 Table C.17-3a."""
    study = Dataset()
    study.StudyInstanceUID = objects[0].key.study_uid
    study.ReferencedSeriesSequence = Items()
    in_series = sorted(objects, key=lambda one: one.key.series_uid)
    for series_uid, members in groupby(in_series, key=lambda one: one.key.series_uid):
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedSOPSequence = Items([_proved(one) for one in members])
        study.ReferencedSeriesSequence.append(series)
    return study


def _proved(one: Referenced) -> Dataset:
    item, signature, mac = _reference(one.key), Dataset(), Dataset()
    signature.DigitalSignatureUID, signature.Signature = one.signature_uid, one.signature_value
    item.ReferencedDigitalSignatureSequence = Items([signature])
    mac.MACCalculationTransferSyntaxUID = one.mac_syntax or EXPLICIT_LITTLE
    mac.MACAlgorithm, mac.DataElementsSigned, mac.MAC = "SHA256", list(one.tags), one.mac
    item.ReferencedSOPInstanceMACSequence = Items([mac])
    return item


def _content(key: InstanceKey) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "COMPOSITE"
    item.ReferencedSOPSequence = Items([_reference(key)])
    return item


def _reference(key: InstanceKey) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = key.sop_class_uid, key.sop_instance_uid
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
