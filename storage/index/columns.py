"""Which attributes the index keeps, at which level, and how a data set's values become rows.

One table drives everything: what the inspection is asked for (`WANTED`), the SQL columns (`storage.index.schema`), and
what may be matched and returned (`storage.index.matching`). Predicates name attributes by the column names here; at the
study level those that policy reads have the names of `storage.instance.StudyFacts`.

A value that its VR does not allow never refuses an object: it is kept as text and its comparable form is absent. The
UIDs that file an object are the exception.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from storage.errors import DataSetMismatch, InvalidIdentifier
from storage.identifiers import Uid, uid_from_value
from storage.index.moments import date_number, time_span
from storage.index.text import DEFAULT_REPERTOIRE, Repertoire, decode, name_groups, repertoire
from storage.instance import DeclaredInstance, Inspection, InstanceKey, InstanceRows, StudyFacts


class Level(Enum):
    """The levels of the Patient Root model (PS3.4 C.6.1.1), valued as Query/Retrieve Level (0008,0052)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"

    @property
    def depth(self) -> int:
        """0 for the patient, 3 for the image."""
        return _DEPTH[self]


_DEPTH: Final = {Level.PATIENT: 0, Level.STUDY: 1, Level.SERIES: 2, Level.IMAGE: 3}


class Comparison(Enum):
    """How an attribute is matched (PS3.4 C.2.2.2)."""

    TEXT = "text"
    NAME = "name"
    DATE = "date"
    TIME = "time"
    UID = "uid"
    SET = "set"
    NONE = "returned only"


class Origin(Enum):
    """Where a column's value comes from."""

    DATA_SET = "data set"
    DERIVED = "derived"
    """Kept by the writer or computed by the reader."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute that the index knows.

    ``column`` holds what is compared; for dates and times that is a number, and their text is beside it.
    """

    tag: int
    keyword: str
    vr: str
    level: Level
    column: str
    comparison: Comparison
    origin: Origin = Origin.DATA_SET
    unique: bool = False
    """A unique key of its level (PS3.4 C.2.2.1.1)."""

    @property
    def filing(self) -> bool:
        """Whether no object is kept without it."""
        return self.comparison is Comparison.UID and self.origin is Origin.DATA_SET

    @property
    def text_column(self) -> str:
        """The column whose value is returned: absent exactly where the data set has no value."""
        return (
            f"{self.column}_text"
            if self.comparison in (Comparison.DATE, Comparison.TIME, Comparison.SET)
            else self.column
        )


def _attribute(row: str) -> Attribute:
    tag, keyword, vr, level, column, *marks = row.split()
    comparison = {"PN": Comparison.NAME, "DA": Comparison.DATE, "TM": Comparison.TIME, "UI": Comparison.UID}.get(
        vr, Comparison.TEXT
    )
    if "set" in marks:
        comparison = Comparison.SET
    if "returned" in marks:
        comparison = Comparison.NONE
    origin = Origin.DERIVED if "derived" in marks else Origin.DATA_SET
    return Attribute(int(tag, 16), keyword, vr, Level(level), column, comparison, origin, "unique" in marks)


# Multi-valued attributes whose values would each have to be matched on their own are returned but not matched, which
# PS3.4 C.2.2.1.3 provides for; the answer then says so (FF01).
ATTRIBUTES: Final = tuple(
    _attribute(row)
    for row in """
    00100010 PatientName                      PN PATIENT patient_name
    00100020 PatientID                        LO PATIENT patient_id unique
    00100021 IssuerOfPatientID                LO PATIENT issuer_of_patient_id
    00100030 PatientBirthDate                 DA PATIENT patient_birth_date
    00100040 PatientSex                       CS PATIENT patient_sex
    00101040 PatientAddress                   LO PATIENT patient_address
    00201200 NumberOfPatientRelatedStudies    IS PATIENT patient_studies   returned derived
    00201202 NumberOfPatientRelatedSeries     IS PATIENT patient_series    returned derived
    00201204 NumberOfPatientRelatedInstances  IS PATIENT patient_instances returned derived
    0020000D StudyInstanceUID                 UI STUDY   study_uid unique
    00080020 StudyDate                        DA STUDY   study_date
    00080030 StudyTime                        TM STUDY   study_time
    00080050 AccessionNumber                  SH STUDY   accession_number
    00080090 ReferringPhysicianName           PN STUDY   referring_physician
    00081030 StudyDescription                 LO STUDY   study_description
    00101010 PatientAge                       AS STUDY   patient_age
    00200010 StudyID                          SH STUDY   study_id
    00080061 ModalitiesInStudy                CS STUDY   modalities_in_study  set derived
    00080062 SOPClassesInStudy                UI STUDY   sop_classes_in_study set derived
    00201206 NumberOfStudyRelatedSeries       IS STUDY   study_series      returned derived
    00201208 NumberOfStudyRelatedInstances    IS STUDY   study_instances   returned derived
    0020000E SeriesInstanceUID                UI SERIES  series_uid unique
    00080060 Modality                         CS SERIES  modality
    00200011 SeriesNumber                     IS SERIES  series_number
    00080021 SeriesDate                       DA SERIES  series_date
    00080031 SeriesTime                       TM SERIES  series_time
    0008103E SeriesDescription                LO SERIES  series_description
    00180015 BodyPartExamined                 CS SERIES  body_part_examined
    00200060 Laterality                       CS SERIES  laterality
    00181030 ProtocolName                     LO SERIES  protocol_name
    00080070 Manufacturer                     LO SERIES  manufacturer
    00081090 ManufacturerModelName            LO SERIES  manufacturer_model_name
    00080080 InstitutionName                  LO SERIES  institution_name
    00081040 InstitutionalDepartmentName      LO SERIES  institutional_department_name
    00081010 StationName                      SH SERIES  station_name
    00081050 PerformingPhysicianName          PN SERIES  performing_physician_name returned
    00081070 OperatorsName                    PN SERIES  operators_name    returned
    00400244 PerformedProcedureStepStartDate  DA SERIES  performed_date
    00400245 PerformedProcedureStepStartTime  TM SERIES  performed_time
    00201209 NumberOfSeriesRelatedInstances   IS SERIES  series_instances  returned derived
    00080018 SOPInstanceUID                   UI IMAGE   sop_instance_uid unique
    00080016 SOPClassUID                      UI IMAGE   sop_class_uid
    00083002 AvailableTransferSyntaxUID       UI IMAGE   transfer_syntax   derived
    00200013 InstanceNumber                   IS IMAGE   instance_number
    00080023 ContentDate                      DA IMAGE   content_date
    00080033 ContentTime                      TM IMAGE   content_time
    00080022 AcquisitionDate                  DA IMAGE   acquisition_date
    00080032 AcquisitionTime                  TM IMAGE   acquisition_time
    00200012 AcquisitionNumber                IS IMAGE   acquisition_number
    00080008 ImageType                        CS IMAGE   image_type        returned
    00280008 NumberOfFrames                   IS IMAGE   number_of_frames
    00280010 Rows                             US IMAGE   image_rows
    00280011 Columns                          US IMAGE   image_columns
    00280100 BitsAllocated                    US IMAGE   bits_allocated
    """.strip().splitlines()
)

BY_TAG: Final[Mapping[int, Attribute]] = {attribute.tag: attribute for attribute in ATTRIBUTES}
BY_KEYWORD: Final[Mapping[str, Attribute]] = {attribute.keyword: attribute for attribute in ATTRIBUTES}

SCALAR_FACTS: Final = (
    "study_uid",
    "patient_id",
    "study_date",
    "institution",
    "department",
    "station",
    "referring_physician",
)
"""Single-valued study attributes that policy reads, named as in `StudyFacts`."""
SET_FACTS: Final = ("performing_physicians", "modalities", "body_parts", "labels")
"""Set-valued ones; all but the labels are fixed by the study's first instance."""

_CHARACTER_SET: Final = 0x00080005
_STORED: Final = {attribute.tag: attribute for attribute in ATTRIBUTES if attribute.origin is Origin.DATA_SET}
_FACT_SOURCES: Final = {"institution": 0x00080080, "department": 0x00081040, "station": 0x00081010}

WANTED: Final = frozenset({_CHARACTER_SET} | _STORED.keys())
"""Tags of the top-level elements that `rows_of` reads."""

Value = str | int | None
NAME_GROUPS: Final = ("norm", "ideographic", "phonetic")


def key_of(inspection: Inspection, declared: DeclaredInstance) -> InstanceKey:
    """Where the object stands in the information model, as its own data set says.

    Raises:
        DataSetMismatch: it lacks a legal Study, Series or SOP Instance UID or SOP Class UID, or it is not the object
            that the command announced (PS3.4 B.2.3).
    """
    key = InstanceKey(*(_filing_uid(inspection, tag) for tag in (0x0020000D, 0x0020000E, 0x00080018, 0x00080016)))
    if (key.sop_class_uid, key.sop_instance_uid) != (declared.sop_class_uid, declared.sop_instance_uid):
        raise DataSetMismatch("the data set is not the object that the command announced")
    return key


def _filing_uid(inspection: Inspection, tag: int) -> Uid:
    keyword = BY_TAG[tag].keyword
    _, value = inspection.values.get(tag, (b"UI", b""))
    if not value:
        raise DataSetMismatch(f"the data set has no {keyword}")
    try:
        return uid_from_value(value)
    except InvalidIdentifier:
        raise DataSetMismatch(f"the data set's {keyword} is not a UID") from None


def rows_of(inspection: Inspection, declared: DeclaredInstance) -> InstanceRows:
    """What the index will keep of an object. Raises `DataSetMismatch` as `key_of`, and nothing else."""
    key = key_of(inspection, declared)
    values = inspection.values
    _, character_set = values.get(_CHARACTER_SET, (b"CS", b""))
    encodings = repertoire(bytes(character_set)) if character_set else DEFAULT_REPERTOIRE
    tables = {level: dict(empty) for level, empty in _EMPTY.items()}
    texts: dict[int, str] = {}
    for tag, (_, value) in values.items():
        attribute = _STORED.get(tag)
        text = _text(attribute, value, encodings) if attribute is not None and value else None
        if attribute is not None and text is not None:
            texts[tag] = text
            _put(tables[attribute.level], attribute, text)
    tables[Level.IMAGE]["transfer_syntax"] = declared.transfer_syntax
    study = tables[Level.PATIENT] | tables[Level.STUDY]
    study |= {fact: texts.get(tag) for fact, tag in _FACT_SOURCES.items()}
    date = study["study_date"]
    facts = StudyFacts(
        study_uid=key.study_uid,
        patient_id=texts.get(0x00100020),
        study_date=date if isinstance(date, int) else None,
        institution=texts.get(0x00080080),
        department=texts.get(0x00081040),
        station=texts.get(0x00081010),
        referring_physician=texts.get(0x00080090),
        performing_physicians=_values(texts.get(0x00081050)),
        modalities=_values(texts.get(0x00080060)),
        body_parts=_values(texts.get(0x00180015)),
    )
    return InstanceRows(study, tables[Level.SERIES], tables[Level.IMAGE], facts)


def _text(attribute: Attribute, value: bytes, encodings: Repertoire) -> str | None:
    """The value as text without padding; None if there is none."""
    if attribute.vr == "US":
        usable = value[: len(value) // 2 * 2]
        return "\\".join(str(number) for (number,) in struct.iter_unpack("<H", usable)) or None
    return decode(value, encodings, name=attribute.vr == "PN") or None


def columns_of(attribute: Attribute) -> list[str]:
    """The names of an attribute's columns."""
    groups = NAME_GROUPS if attribute.comparison is Comparison.NAME else ()
    return [
        *dict.fromkeys((attribute.column, attribute.text_column)),
        *(f"{attribute.column}_{group}" for group in groups),
    ]


_EMPTY: Final[Mapping[Level, Mapping[str, Value]]] = {
    level: {name: None for one in _STORED.values() if one.level is level for name in columns_of(one)} for level in Level
}


def _put(row: dict[str, Value], attribute: Attribute, text: str) -> None:
    """Set the columns of one attribute."""
    row[attribute.text_column] = text
    if attribute.comparison is Comparison.DATE:
        row[attribute.column] = date_number(text)
    elif attribute.comparison is Comparison.TIME:
        span = time_span(text)
        row[attribute.column] = span[0] if span is not None else None
    elif attribute.comparison is Comparison.NAME:
        for group, normal in zip(NAME_GROUPS, name_groups(text), strict=True):
            row[f"{attribute.column}_{group}"] = normal or None


def _values(text: str | None) -> frozenset[str]:
    """The values of a multi-valued element, empty ones left out."""
    parts = (part.strip(" ") for part in (text or "").split("\\"))
    return frozenset(part for part in parts if part)
