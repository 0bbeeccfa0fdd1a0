"""What the index must say of one study, derived from its objects in the order in which the ledger stored them.

The first object fixes the study's row and the attributes that policy reads, the first of a series its row. Later ones
add to counts and to the lists of modalities and SOP classes; where they disagree with what is fixed, their series says.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from storage.instance import InstanceRows, StudyFacts

_TOLD_SCALARS: Final = (
    "study_uid",
    "patient_id",
    "study_date",
    "institution",
    "department",
    "station",
    "referring_physician",
)
_TOLD_SETS: Final = ("performing_physicians", "modalities", "body_parts")

Row = Mapping[str, Any]


class ExpectedStudy:
    """One study's rows; memory grows with its series, not with its objects."""

    def __init__(self) -> None:
        self._first: InstanceRows | None = None
        self._modalities: set[str] = set()
        self._sop_classes: set[str] = set()
        self._series: dict[str, tuple[Row, dict[str, Any], list[int]]] = {}
        """By UID: row of the first object, what later ones said otherwise, and a count."""
        self._instances = 0

    def add(self, rows: InstanceRows) -> None:
        """The next object."""
        if self._first is None:
            self._first = rows
        self._instances += 1
        self._modalities |= rows.facts.modalities
        self._sop_classes.add(str(rows.instance["sop_class_uid"]))
        uid = str(rows.series["series_uid"])
        _, otherwise, count = self._series.setdefault(uid, (rows.series, {}, [0]))
        count[0] += 1
        otherwise.update(_otherwise(self._first.facts, rows.facts))

    @property
    def empty(self) -> bool:
        """Whether there is no object of it."""
        return self._first is None

    def study(self, labels: frozenset[str]) -> Row:
        """The study's row, but for its key."""
        assert self._first is not None
        facts = self._first.facts
        told = [getattr(facts, name) for name in _TOLD_SCALARS]
        told += [sorted(getattr(facts, name)) for name in _TOLD_SETS]
        told.append(sorted(labels))
        return {
            **self._first.study,
            "sort_date": facts.study_date or 0,
            "facts": json.dumps(told, ensure_ascii=False, separators=(",", ":")),
            "modalities_in_study_text": "\\".join(sorted(self._modalities)) or None,
            "sop_classes_in_study_text": "\\".join(sorted(self._sop_classes)),
            "series_count": len(self._series),
            "instance_count": self._instances,
        }

    def series(self) -> Mapping[str, Row]:
        """The rows of its series by UID, but for their keys."""
        return {
            uid: {
                **first,
                "instance_count": count[0],
                "differs": json.dumps(otherwise, ensure_ascii=False, sort_keys=True),
            }
            for uid, (first, otherwise, count) in self._series.items()
        }

    def sets(self, labels: frozenset[str]) -> Mapping[str, set[tuple[Any, ...]]]:
        """The rows of the tables of sets, by table, but for the study's key."""
        assert self._first is not None
        facts = self._first.facts
        return {
            "study_label": {(value,) for value in labels},
            "study_physician": {(value,) for value in facts.performing_physicians},
            "study_body_part": {(value,) for value in facts.body_parts},
            "study_modality": {(value, int(value in facts.modalities)) for value in self._modalities},
            "study_sop_class": {(value,) for value in self._sop_classes},
        }


def _otherwise(fixed: StudyFacts, later: StudyFacts) -> dict[str, Any]:
    """What a later object says other than the first."""
    found: dict[str, Any] = {}
    for name in _TOLD_SCALARS:
        if getattr(later, name) != getattr(fixed, name):
            found[name] = getattr(later, name)
    for name in _TOLD_SETS:
        if getattr(later, name) - getattr(fixed, name):
            found[name] = sorted(getattr(later, name))
    return found
