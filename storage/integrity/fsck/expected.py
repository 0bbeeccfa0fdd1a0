"""What the index must say of one study, derived from what happened to its objects in the order of the ledger.

The first object fixes the study's row and the attributes that policy reads, the first of a series its row. Later ones
add to counts and to the lists of modalities and SOP classes; where they disagree with what is fixed, their series says.
What is taken away is counted no more, and a study of which nothing is left is begun anew by the next object. An object
that is erased says nothing any more: what it fixed is in the record that erased it.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from storage.index.text import name_parts
from storage.instance import InstanceRows, StudyFacts
from storage.integrity.fsck.vouching import label_lines

_TOLD_SCALARS: Final = (
    "study_uid",
    "patient_id",
    "study_date",
    "institution",
    "department",
    "station",
    "referring_physician",
)
_NAMES: Final = ("patient_name_norm", "patient_name_ideographic", "patient_name_phonetic")
_TOLD_SETS: Final = ("performing_physicians", "modalities", "body_parts")
_COUNTED: Final = frozenset(
    {"facts", "modalities_in_study_text", "sop_classes_in_study_text", "series_count", "instance_count"}
)
"""Of a study's row: what is not fixed, and said here anew."""

Row = Mapping[str, Any]


class ExpectedStudy:
    """One study's rows; memory grows with its series, not with its objects."""

    def __init__(self) -> None:
        self._facts: StudyFacts | None = None
        self._row: dict[str, Any] = {}
        self._modalities: set[str] = set()
        self._series: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        """By UID: row of the first object, and what later ones said otherwise."""
        self._kept: Counter[tuple[str, str]] = Counter()
        """Objects by series and SOP class."""

    def add(self, rows: InstanceRows) -> None:
        """An object is kept from now on."""
        if self._facts is None:
            self._facts = rows.facts
            self._row = {**rows.study, "sort_date": rows.facts.study_date or 0}
            self._modalities = set()
        self._modalities |= rows.facts.modalities
        uid = str(rows.series["series_uid"])
        _, otherwise = self._series.setdefault(uid, (dict(rows.series), {}))
        otherwise.update(_otherwise(self._facts, rows.facts))
        self._kept[uid, str(rows.instance["sop_class_uid"])] += 1

    def take(self, series_uid: str, sop_class_uid: str) -> None:
        """And one no longer; `settle` once all of a record are taken."""
        self._kept[series_uid, sop_class_uid] -= 1

    def settle(self) -> None:
        """Objects were taken: what nothing is left of is gone."""
        self._kept = +self._kept
        left = {series for series, _ in self._kept}
        self._series = {uid: said for uid, said in self._series.items() if uid in left}
        self._modalities = {one for row, _ in self._series.values() for one in _values(row["modality"])}
        if not left:
            self._facts = None

    def say_again(self, said: Mapping[str, Any]) -> None:
        """What was said when objects were erased, which they cannot say any more."""
        study, series, sets = said["study"], said["series"], said["sets"]
        self._row = {name: value for name, value in study.items() if name not in _COUNTED}
        told = json.loads(study["facts"])
        names = (*_TOLD_SCALARS, *_TOLD_SETS)
        values: list[Any] = [frozenset(value) if isinstance(value, list) else value for value in told[: len(names)]]
        self._facts = StudyFacts(**dict(zip(names, values, strict=True)))
        for uid, row in series.items():
            fixed = {name: value for name, value in row.items() if name not in ("instance_count", "differs")}
            self._series[uid] = (fixed, json.loads(row["differs"]))
        self._modalities = {value for value, _, current in sets["study_modality"] if current}

    @property
    def empty(self) -> bool:
        """Whether there is no object of it."""
        return not self._kept

    def study(self, labels: frozenset[str]) -> Row:
        """The study's row, but for its key and the archive's seal."""
        assert self._facts is not None
        told = [getattr(self._facts, name) for name in _TOLD_SCALARS]
        told += [sorted(getattr(self._facts, name)) for name in _TOLD_SETS]
        told.append(sorted(labels))
        return {
            **self._row,
            "labels": label_lines(labels),
            "facts": json.dumps(told, ensure_ascii=False, separators=(",", ":")),
            "modalities_in_study_text": "\\".join(sorted(self._modalities)) or None,
            "sop_classes_in_study_text": "\\".join(sorted(self._sop_classes)),
            "series_count": len(self._series),
            "instance_count": self._kept.total(),
        }

    def series(self) -> Mapping[str, Row]:
        """The rows of its series by UID, but for their keys."""
        counts: Counter[str] = Counter()
        for (uid, _), count in self._kept.items():
            counts[uid] += count
        return {
            uid: {
                **first,
                "instance_count": counts[uid],
                "differs": json.dumps(otherwise, ensure_ascii=False, sort_keys=True),
            }
            for uid, (first, otherwise) in self._series.items()
        }

    def sets(self) -> Mapping[str, set[tuple[Any, ...]]]:
        """The rows of the tables of sets, by table, but for the study's key."""
        assert self._facts is not None
        fixed, current = self._facts.modalities, self._modalities
        return {
            "study_physician": {(value,) for value in self._facts.performing_physicians},
            "study_body_part": {(value,) for value in self._facts.body_parts},
            "study_modality": {(value, int(value in fixed), int(value in current)) for value in fixed | current},
            "study_sop_class": {(value,) for value in self._sop_classes},
            "study_name_part": {(part,) for part in name_parts(*map(self._row.get, _NAMES))},
        }

    @property
    def _sop_classes(self) -> set[str]:
        return {sop_class for _, sop_class in self._kept}


def _values(text: str | None) -> list[str]:
    return text.split("\\") if text else []


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
