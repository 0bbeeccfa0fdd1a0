"""Which attributes the index keeps in columns of their own, at which level, and how each is matched.

One table drives everything: what the inspection is asked for (`WANTED`), the SQL columns (`storage.index.schema`), and
how they are matched and returned (`storage.index.matching`). Predicates name attributes by the column names here; at
the study level those that policy reads have the names of `storage.instance.StudyFacts`. What has no column is kept as
a document (`storage.index.elements`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from storage.index.text import NAME_GROUPS


class Level(Enum):
    """The levels of the Patient Root model (PS3.4 C.6.1.1), valued as Query/Retrieve Level (0008,0052)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"

    # Members are compared by identity; hashing them by it is no call into Python for each element of each object.
    __hash__ = object.__hash__

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
    MOMENT = "date and time"
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


_COMPARISONS: Final = {
    "PN": Comparison.NAME,
    "DA": Comparison.DATE,
    "TM": Comparison.TIME,
    "DT": Comparison.MOMENT,
    "UI": Comparison.UID,
}


def comparison_of(vr: str) -> Comparison:
    """How single values of a VR are matched."""
    return _COMPARISONS.get(vr, Comparison.TEXT)


def _attribute(row: str) -> Attribute:
    tag, keyword, vr, level, column, *marks = row.split()
    comparison = comparison_of(vr)
    if "set" in marks:
        comparison = Comparison.SET
    if "returned" in marks:
        comparison = Comparison.NONE
    origin = Origin.DERIVED if "derived" in marks else Origin.DATA_SET
    return Attribute(int(tag, 16), keyword, vr, Level(level), column, comparison, origin, "unique" in marks)


# Attributes with several values have none: each value is matched on its own, which a document allows.
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

ELEMENTS: Final = "elements"
"""The column of each level's document (`storage.index.elements`)."""
CHARACTER_SET: Final = 0x00080005
PERFORMING_PHYSICIANS: Final = 0x00081050
STORED: Final[Mapping[int, Attribute]] = {
    attribute.tag: attribute for attribute in ATTRIBUTES if attribute.origin is Origin.DATA_SET
}
"""Attributes whose columns hold what the data set says."""

WANTED: Final = frozenset({CHARACTER_SET, PERFORMING_PHYSICIANS} | STORED.keys())
"""Tags of the top-level elements that `storage.index.rows` reads by name."""


def columns_of(attribute: Attribute) -> list[str]:
    """The names of an attribute's columns."""
    groups = NAME_GROUPS if attribute.comparison is Comparison.NAME else ()
    return [
        *dict.fromkeys((attribute.column, attribute.text_column)),
        *(f"{attribute.column}_{group}" for group in groups),
    ]
