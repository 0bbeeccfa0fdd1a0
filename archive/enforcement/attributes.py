"""Between the names that policies use and those of the data set: attributes of a study, and attributes to hide."""

from collections.abc import Iterable, Mapping
from typing import Final

from pydicom.datadict import tag_for_keyword

from storage.instance import InstanceRows, StudyFacts


class UnknownKeyword(Exception):
    """A policy hides something that is no attribute of the data dictionary; nothing is shown until it is right."""


def is_keyword(word: str) -> bool:
    """Whether a word is a keyword of the DICOM data dictionary (PS3.6 6), so that a policy may hide it."""
    return _tag(word) is not None


def hidden_tags(keywords: Iterable[str]) -> frozenset[int]:
    """The tags of attributes to hide.

    Raises:
        UnknownKeyword: one of them is none.
    """
    tags = set()
    for keyword in keywords:
        tag = _tag(keyword)
        if tag is None:
            raise UnknownKeyword(f"{keyword} is no keyword of the data dictionary")
        tags.add(tag)
    return frozenset(tags)


def resource_of(facts: StudyFacts) -> Mapping[str, object]:
    """What policy reads of a study, by the names of ``schema.cedarschema``; absent values are left out."""
    values: dict[str, object] = {
        "study_uid": facts.study_uid,
        "patient_id": facts.patient_id,
        "study_date": facts.study_date,
        "institution": facts.institution,
        "department": facts.department,
        "station": facts.station,
        "referring_physician": facts.referring_physician,
        "performing_physicians": facts.performing_physicians,
        "modalities": facts.modalities,
        "body_parts": facts.body_parts,
        "labels": facts.labels,
    }
    return {name: value for name, value in values.items() if value is not None}


_OF_SERIES: Final = {
    "protocol": "protocol_name",
    "series_description": "series_description",
    "manufacturer": "manufacturer",
    "model": "manufacturer_model_name",
}
"""Attributes of an object that label rules read, and the columns of its series."""


def object_of(rows: InstanceRows) -> Mapping[str, object]:
    """What label rules read of an object that arrives, by the names of the schema; absent values are left out."""
    values = {name: rows.series[column] for name, column in _OF_SERIES.items()}
    values |= {"study_description": rows.study["study_description"], "sop_class": rows.instance["sop_class_uid"]}
    of_study = {name: value for name, value in resource_of(rows.facts).items() if name != "labels"}
    return of_study | {name: value for name, value in values.items() if value is not None}


def _tag(keyword: str) -> int | None:
    """The dictionary has entries without a keyword; they answer to no word."""
    tag = tag_for_keyword(keyword) if keyword else None
    return None if tag is None else int(tag)
