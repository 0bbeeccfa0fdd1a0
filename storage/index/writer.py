"""Committed objects and labels become rows. Each function works inside a transaction that the caller opened.

The first instance of a study fixes the study's attributes: a later one that says otherwise is kept, changes nothing
that policy reads, and is reported. What must never live here: a reason to refuse an object; those are decided before
the ledger append, which is the commit point.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Insert, bindparam, delete, select, tuple_, update

from storage.errors import InstanceConflict
from storage.identifiers import ObjectId
from storage.index.columns import SCALAR_FACTS
from storage.index.facts import FACT_COLUMNS, facts_of, sets_of, sets_text
from storage.index.schema import (
    INSTANCE,
    SERIES,
    STUDY,
    STUDY_BODY_PART,
    STUDY_LABEL,
    STUDY_MODALITY,
    STUDY_PHYSICIAN,
    STUDY_SOP_CLASS,
)
from storage.instance import InstanceRows, SealedInstance, StudyFacts

_FIXED_SETS: Final = ("performing_physicians", "modalities", "body_parts")


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One committed object, as the index is told of it."""

    rows: InstanceRows
    object_id: ObjectId
    address: bytes
    canonical_digest: bytes
    signatures: frozenset[bytes]
    """SHA-256 of every top-level signature value of the object as it goes out: foreign ones and the archive's own."""
    size: int
    ledger_sequence: int

    @classmethod
    def of(cls, sealed: SealedInstance, ledger_sequence: int) -> "IndexEntry":
        """The entry of an object that the ledger holds under this sequence."""
        received, trailer = sealed.received, sealed.trailer
        return cls(
            rows=received.rows,
            object_id=received.object_id,
            address=received.address,
            canonical_digest=trailer.canonical_digest,
            signatures=frozenset({*trailer.foreign_signatures, trailer.signature_value_digest}),
            size=received.size,
            ledger_sequence=ledger_sequence,
        )


@dataclass(slots=True)
class _Study:
    """A study's row and what the batch adds to it."""

    id: int
    facts: StudyFacts
    modalities: set[str]
    sop_classes: set[str]
    new_modalities: set[str] = field(default_factory=set)
    new_sop_classes: set[str] = field(default_factory=set)
    series: int = 0
    instances: int = 0


@dataclass(slots=True)
class _Series:
    """A series' row and what the batch adds to it."""

    id: int
    reported: dict[str, Any]
    instances: int = 0


def apply(connection: Connection, entries: Sequence[IndexEntry]) -> list[tuple[str, ...]]:
    """Index a batch; for each entry, the study attributes on which it disagrees with the first instance of its study.

    A disagreement is told once for each series and value: the thousandth slice says no more than the first.
    An entry whose object is indexed already changes nothing, so a batch may be applied again after a crash.

    Raises:
        InstanceConflict: another object is indexed under an entry's SOP Instance UID. The caller decided otherwise
            before the commit point, so this is a fault.
    """
    return _Batch(connection, entries).applied()


def label(connection: Connection, study_uid: str, text: str, *, present: bool) -> bool:
    """Put a label on a study or take it off, idempotently; False if there is no such study."""
    row = connection.execute(select(STUDY.c.id, STUDY.c.sets).where(STUDY.c.study_uid == study_uid)).one_or_none()
    if row is None:
        return False
    sets = sets_of(row.sets)
    if (text in sets["labels"]) == present:
        return True
    if present:
        connection.execute(STUDY_LABEL.insert().values(study_fk=row.id, value=text))
        sets["labels"] |= {text}
    else:
        connection.execute(delete(STUDY_LABEL).where(STUDY_LABEL.c.study_fk == row.id, STUDY_LABEL.c.value == text))
        sets["labels"] -= {text}
    connection.execute(update(STUDY).where(STUDY.c.id == row.id).values(sets=sets_text(sets)))
    return True


class _Batch:
    """One call of `apply`: three statements read what is there, the rest is written in bulk."""

    def __init__(self, connection: Connection, entries: Sequence[IndexEntry]) -> None:
        self._connection = connection
        self._entries = entries
        self._indexed = self._read_instances()
        self._studies = self._read_studies()
        self._series = self._read_series()
        self._new: list[dict[str, Any]] = []

    def applied(self) -> list[tuple[str, ...]]:
        differs = [self._add(entry) for entry in self._entries]
        if self._new:
            self._connection.execute(INSTANCE.insert(), self._new)
            self._write_series()
            self._write_studies()
        return differs

    def _read_instances(self) -> dict[str, str]:
        uids = {str(entry.rows.instance["sop_instance_uid"]) for entry in self._entries}
        found = select(INSTANCE.c.sop_instance_uid, INSTANCE.c.object_id).where(
            INSTANCE.c.sop_instance_uid.in_(list(uids))
        )
        return dict(self._connection.execute(found).tuples().all())

    def _read_studies(self) -> dict[str, _Study]:
        uids = {entry.rows.facts.study_uid for entry in self._entries}
        columns = (STUDY.c.id, STUDY.c.modalities_in_study_text, STUDY.c.sop_classes_in_study_text, *FACT_COLUMNS)
        found = self._connection.execute(select(*columns).where(STUDY.c.study_uid.in_(list(uids))))
        studies = (
            _Study(key, facts_of(tuple(facts)), _split(modalities), _split(sop_classes))
            for key, modalities, sop_classes, *facts in found
        )
        return {study.facts.study_uid: study for study in studies}

    def _read_series(self) -> dict[tuple[int, str], _Series]:
        wanted = {
            (study.id, str(entry.rows.series["series_uid"]))
            for entry in self._entries
            if (study := self._studies.get(entry.rows.facts.study_uid)) is not None
        }
        columns = (SERIES.c.id, SERIES.c.study_fk, SERIES.c.series_uid, SERIES.c.differs)
        found = select(*columns).where(tuple_(SERIES.c.study_fk, SERIES.c.series_uid).in_(list(wanted)))
        return {
            (study_fk, uid): _Series(key, json.loads(differs))
            for key, study_fk, uid, differs in self._connection.execute(found)
        }

    def _add(self, entry: IndexEntry) -> tuple[str, ...]:
        uid = str(entry.rows.instance["sop_instance_uid"])
        if uid in self._indexed:
            if self._indexed[uid] != entry.object_id:
                raise InstanceConflict("another object is indexed under this SOP Instance UID")
            return ()
        self._indexed[uid] = entry.object_id
        study = self._studies.get(entry.rows.facts.study_uid) or self._insert_study(entry)
        series = self._series.get((study.id, str(entry.rows.series["series_uid"]))) or self._insert_series(entry, study)
        study.instances += 1
        series.instances += 1
        study.new_modalities |= entry.rows.facts.modalities - study.modalities
        study.new_sop_classes |= {str(entry.rows.instance["sop_class_uid"])} - study.sop_classes
        self._new.append(
            {
                **entry.rows.instance,
                "series_fk": series.id,
                "object_id": entry.object_id,
                "address": entry.address,
                "canonical_digest": entry.canonical_digest,
                "signatures": b"".join(sorted(entry.signatures)),
                "size": entry.size,
                "ledger_sequence": entry.ledger_sequence,
            }
        )
        differing = _differing(study.facts, entry.rows.facts)
        news = {name: value for name, value in differing.items() if series.reported.get(name, _UNREPORTED) != value}
        if news:
            series.reported |= news
            reported = update(SERIES).where(SERIES.c.id == series.id).values(differs=_json(series.reported))
            self._connection.execute(reported)
        return tuple(sorted(news))

    def _insert_study(self, entry: IndexEntry) -> _Study:
        facts = entry.rows.facts
        row = dict(entry.rows.study)
        row["sets"] = sets_text({"labels": frozenset(), **{name: getattr(facts, name) for name in _FIXED_SETS}})
        row |= {"sort_date": facts.study_date or 0, "series_count": 0, "instance_count": 0}
        key = _inserted(self._connection, STUDY.insert().values(row))
        for table, values in ((STUDY_PHYSICIAN, facts.performing_physicians), (STUDY_BODY_PART, facts.body_parts)):
            if values:
                self._connection.execute(table.insert(), [{"study_fk": key, "value": value} for value in values])
        if facts.modalities:
            fixed = [{"study_fk": key, "value": value, "fixed": True} for value in facts.modalities]
            self._connection.execute(STUDY_MODALITY.insert(), fixed)
        study = self._studies[facts.study_uid] = _Study(key, facts, set(facts.modalities), set())
        return study

    def _insert_series(self, entry: IndexEntry, study: _Study) -> _Series:
        row = {**entry.rows.series, "study_fk": study.id, "instance_count": 0, "differs": "{}"}
        series = _Series(_inserted(self._connection, SERIES.insert().values(row)), {})
        self._series[study.id, str(entry.rows.series["series_uid"])] = series
        study.series += 1
        return series

    def _write_series(self) -> None:
        counted = [{"key": series.id, "more": series.instances} for series in self._series.values() if series.instances]
        count = SERIES.c.instance_count + bindparam("more")
        self._connection.execute(
            update(SERIES).where(SERIES.c.id == bindparam("key")).values(instance_count=count), counted
        )

    def _write_studies(self) -> None:
        for study in self._studies.values():
            if not study.instances:
                continue
            values: dict[str, Any] = {
                "series_count": STUDY.c.series_count + study.series,
                "instance_count": STUDY.c.instance_count + study.instances,
                "modalities_in_study_text": _join(study.modalities | study.new_modalities),
                "sop_classes_in_study_text": _join(study.sop_classes | study.new_sop_classes),
            }
            self._connection.execute(update(STUDY).where(STUDY.c.id == study.id).values(values))
            if study.new_modalities:
                later = [{"study_fk": study.id, "value": value, "fixed": False} for value in study.new_modalities]
                self._connection.execute(STUDY_MODALITY.insert(), later)
            if study.new_sop_classes:
                classes = [{"study_fk": study.id, "value": value} for value in study.new_sop_classes]
                self._connection.execute(STUDY_SOP_CLASS.insert(), classes)


_UNREPORTED: Final = object()


def _differing(fixed: StudyFacts, later: StudyFacts) -> dict[str, Any]:
    """The later instance's own values of the facts that it would have set otherwise."""
    found: dict[str, Any] = {
        name: getattr(later, name) for name in SCALAR_FACTS if getattr(later, name) != getattr(fixed, name)
    }
    for name in _FIXED_SETS:
        if not getattr(later, name) <= getattr(fixed, name):
            found[name] = sorted(getattr(later, name))
    return found


def _inserted(connection: Connection, statement: Insert) -> int:
    key: tuple[int, ...] = connection.execute(statement).inserted_primary_key or ()
    return key[0]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _split(text: str | None) -> set[str]:
    return set(text.split("\\")) if text else set()


def _join(values: set[str]) -> str | None:
    return "\\".join(sorted(values)) or None
