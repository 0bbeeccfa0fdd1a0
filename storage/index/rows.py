"""How what an object says becomes rows: columns by `storage.index.columns`, and a document of everything else.

A value that its VR does not allow never refuses an object: it is kept as text and its comparable form is absent. The
UIDs that file an object are the exception.
"""

import struct
from collections.abc import Mapping
from typing import Final

from storage import non_patient
from storage.errors import DataSetMismatch, InvalidIdentifier
from storage.identifiers import Uid, uid_from_value
from storage.index.columns import (
    BY_TAG,
    CHARACTER_SET,
    ELEMENTS,
    PERFORMING_PHYSICIANS,
    STORED,
    Attribute,
    Comparison,
    Level,
    columns_of,
)
from storage.index.elements import document_text, element_text
from storage.index.levels import level_of
from storage.index.moments import date_number, time_span
from storage.index.text import DEFAULT_REPERTOIRE, NAME_GROUPS, Repertoire, decode, name_groups, repertoire
from storage.instance import DeclaredInstance, Inspection, InstanceKey, InstanceRows, StudyFacts

STUDY_UID: Final = 0x0020000D
SERIES_UID: Final = 0x0020000E
_FACT_SOURCES: Final = {"institution": 0x00080080, "department": 0x00081040, "station": 0x00081010}

_Value = str | int | None

_EMPTY: Final[Mapping[Level, Mapping[str, _Value]]] = {
    level: {name: None for one in STORED.values() if one.level is level for name in columns_of(one)} for level in Level
}


def key_of(inspection: Inspection, declared: DeclaredInstance) -> InstanceKey:
    """Where the object stands in the information model, as its own data set says.

    One without a patient is filed under its SOP class and its own UID (`storage.non_patient`).

    Raises:
        DataSetMismatch: it lacks a legal Study, Series or SOP Instance UID or SOP Class UID; it is not the object that
            the command announced (PS3.4 B.2.3); or it has a study where its SOP class has none, or none where it needs
            one of its own.
    """
    sop_instance, sop_class = (_filing_uid(inspection, tag) for tag in (0x00080018, 0x00080016))
    if (sop_class, sop_instance) != (declared.sop_class_uid, declared.sop_instance_uid):
        raise DataSetMismatch("the data set is not the object that the command announced")
    if sop_class in non_patient.CLASSES:
        if any(inspection.values.get(tag, (b"", b""))[1] for tag in (STUDY_UID, SERIES_UID)):
            # It would be patient data that no query for studies finds, and no rule about studies protects.
            raise DataSetMismatch("the data set names a study, and objects of its SOP class have none")
        return InstanceKey(sop_class, sop_instance, sop_instance, sop_class)
    study, series = (_filing_uid(inspection, tag) for tag in (STUDY_UID, SERIES_UID))
    if study in non_patient.CLASSES:
        raise DataSetMismatch("the data set's StudyInstanceUID is a SOP class")
    return InstanceKey(study, series, sop_instance, sop_class)


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
    _, character_set = values.get(CHARACTER_SET, (b"CS", b""))
    encodings = repertoire(bytes(character_set)) if character_set else DEFAULT_REPERTOIRE
    tables = {level: dict(empty) for level, empty in _EMPTY.items()}
    texts: dict[int, str] = {}
    for tag, (_, value) in values.items():
        attribute = STORED.get(tag)
        text = _text(attribute, value, encodings) if attribute is not None and value else None
        if attribute is not None and text is not None:
            texts[tag] = text
            _put(tables[attribute.level], attribute, text)
    tables[Level.IMAGE]["transfer_syntax"] = declared.transfer_syntax
    study = tables[Level.PATIENT] | tables[Level.STUDY]
    study |= {fact: texts.get(tag) for fact, tag in _FACT_SOURCES.items()}
    for level, document in _documents(inspection, encodings).items():
        (study if level is Level.STUDY else tables[level])[ELEMENTS] = document
    if key.sop_class_uid in non_patient.CLASSES:
        # What is in the place of the study is shared by all of the class: no object says anything about it.
        study = {**dict.fromkeys(study), "study_uid": key.study_uid}
        tables[Level.SERIES]["series_uid"] = key.series_uid
        return InstanceRows(study, tables[Level.SERIES], tables[Level.IMAGE], StudyFacts(key.study_uid))
    _, performers = values.get(PERFORMING_PHYSICIANS, (b"PN", b""))
    performing = decode(performers, encodings, name=True)
    date = study["study_date"]
    facts = StudyFacts(
        study_uid=key.study_uid,
        patient_id=texts.get(0x00100020),
        study_date=date if isinstance(date, int) else None,
        institution=texts.get(0x00080080),
        department=texts.get(0x00081040),
        station=texts.get(0x00081010),
        referring_physician=texts.get(0x00080090),
        performing_physicians=_values(performing),
        modalities=_values(texts.get(0x00080060)),
        body_parts=_values(texts.get(0x00180015)),
    )
    return InstanceRows(study, tables[Level.SERIES], tables[Level.IMAGE], facts)


def _documents(inspection: Inspection, encodings: Repertoire) -> Mapping[Level, str | None]:
    """Everything that has no column, by the level whose row keeps it: the patient's are the study's."""
    fragments: dict[Level, list[str]] = {Level.STUDY: [], Level.SERIES: [], Level.IMAGE: []}
    others = dict(inspection.others)
    if PERFORMING_PHYSICIANS in inspection.values:
        others[PERFORMING_PHYSICIANS] = inspection.values[PERFORMING_PHYSICIANS]
    for tag, element in others.items():
        level = level_of(tag)
        kept = fragments[Level.STUDY if level is Level.PATIENT else level]
        kept.append(element_text(tag, element, encodings))
    return {level: document_text(members) for level, members in fragments.items()}


def _text(attribute: Attribute, value: bytes, encodings: Repertoire) -> str | None:
    """The value as text without padding; None if there is none."""
    if attribute.vr == "US":
        usable = value[: len(value) // 2 * 2]
        return "\\".join(str(number) for (number,) in struct.iter_unpack("<H", usable)) or None
    return decode(value, encodings, name=attribute.vr == "PN") or None


def _put(row: dict[str, _Value], attribute: Attribute, text: str) -> None:
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
