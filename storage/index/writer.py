"""Committed objects and labels become rows. Each function works inside a transaction that the caller opened.

The first instance of a study fixes the study's attributes: a later one that says otherwise is kept, changes nothing
that policy reads, and is reported. What must never live here: a reason to refuse an object; those are decided before
the ledger append, which is the commit point.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, select, update

from storage.errors import InstanceConflict
from storage.identifiers import ObjectId
from storage.index import absent
from storage.index.columns import SCALAR_FACTS
from storage.index.engine import seal_of
from storage.index.facts import facts_again, facts_of, facts_text, labels_text
from storage.index.prepared import Prepared
from storage.index.schema import (
    INSTANCE,
    NAME_COLUMNS,
    SERIES,
    STUDY,
    STUDY_BODY_PART,
    STUDY_MODALITY,
    STUDY_NAME_PART,
    STUDY_PHYSICIAN,
    STUDY_SOP_CLASS,
)
from storage.index.text import name_parts
from storage.index.values import join_values, split_values
from storage.instance import InstanceRows, SealedInstance, StudyFacts

_FIXED_SETS: Final = ("performing_physicians", "modalities", "body_parts")

_KNOWN_INSTANCE: Final = Prepared(
    select(INSTANCE.c.sop_instance_uid, INSTANCE.c.object_id).where(INSTANCE.c.sop_instance_uid == bindparam("uid"))
)
_KNOWN_STUDY: Final = Prepared(
    select(STUDY.c.id, STUDY.c.facts, STUDY.c.modalities_in_study_text, STUDY.c.sop_classes_in_study_text).where(
        STUDY.c.study_uid == bindparam("uid")
    )
)
_KNOWN_SERIES: Final = Prepared(
    select(SERIES.c.id, SERIES.c.differs).where(
        SERIES.c.study_fk == bindparam("study"), SERIES.c.series_uid == bindparam("uid")
    )
)
_NEW_INSTANCE: Final = Prepared(INSTANCE.insert(), [column.name for column in INSTANCE.c if not column.primary_key])
_COUNT_SERIES: Final = Prepared(
    update(SERIES)
    .where(SERIES.c.id == bindparam("row"))
    .values(instance_count=SERIES.c.instance_count + bindparam("more"), differs=bindparam("told"))
)
_COUNT_STUDY: Final = Prepared(
    update(STUDY)
    .where(STUDY.c.id == bindparam("row"))
    .values(
        series_count=STUDY.c.series_count + bindparam("more_series"),
        instance_count=STUDY.c.instance_count + bindparam("more_instances"),
        modalities_in_study_text=bindparam("modalities"),
        sop_classes_in_study_text=bindparam("sop_classes"),
    )
)


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
        received, content = sealed.received, sealed.content
        return cls(
            rows=received.rows,
            object_id=received.object_id,
            address=received.address,
            canonical_digest=content.canonical_digest,
            signatures=content.signatures,
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
    """A series' row and what the batch adds to it. ``reported``: the last value told of each differing attribute."""

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


def label(connection: Connection, study_uid: str, text: str, *, present: bool) -> None:
    """Put a label on a study or take it off, idempotently; that of a study which is gone waits for its return."""
    columns = (STUDY.c.id, STUDY.c.facts, STUDY.c.labels, STUDY.c.facts_seal)
    row = connection.execute(select(*columns).where(STUDY.c.study_uid == study_uid)).one_or_none()
    if row is None:
        if present:
            absent.put(connection, study_uid, [text])
        else:
            absent.drop(connection, study_uid, text)
        return
    facts = facts_of(row.facts)
    if (text in facts.labels) == present:
        return
    changed = replace(facts, labels=facts.labels | {text} if present else facts.labels - {text})
    said = said_for_policy(connection, changed)
    seal = seal_of(connection)
    if seal is not None and not seal.holds(row.facts, row.labels, row.facts_seal):
        # What somebody else wrote is not vouched for by the change that comes next.
        said["facts_seal"] = b""
    connection.execute(update(STUDY).where(STUDY.c.id == row.id).values(said))


def said_for_policy(connection: Connection, facts: StudyFacts) -> dict[str, Any]:
    """The columns of a study's row that policy is decided by, sealed."""
    text, labels = facts_text(facts), labels_text(facts.labels)
    seal = seal_of(connection)
    return {"facts": text, "labels": labels, "facts_seal": None if seal is None else seal.of(text, labels)}


class _Batch:
    """One call of `apply`: a handful of statements, whatever the number of entries."""

    def __init__(self, connection: Connection, entries: Sequence[IndexEntry]) -> None:
        self._connection = connection
        self._entries = entries
        self._studies: dict[str, _Study] = {}
        self._series: dict[tuple[int, str], _Series] = {}

    def applied(self) -> list[tuple[str, ...]]:
        new = self._new_entries()
        if not new:
            return [()] * len(self._entries)
        self._studies = self._known_studies(new)
        self._insert_studies(new)
        self._series = self._known_series(new)
        self._insert_series(new)
        differs = {at: self._count(entry) for at, entry in new.items()}
        _NEW_INSTANCE.run(self._connection, [self._instance_row(entry) for entry in new.values()])
        self._write_series()
        self._write_studies()
        return [differs.get(at, ()) for at in range(len(self._entries))]

    def _new_entries(self) -> dict[int, IndexEntry]:
        """Those that are not indexed yet, by their place in the batch."""
        uids = {_instance_uid(entry) for entry in self._entries}
        indexed: dict[str, str] = {}
        for uid in uids:
            indexed.update(_KNOWN_INSTANCE.rows(self._connection, uid=uid))
        new = {}
        for at, entry in enumerate(self._entries):
            uid = _instance_uid(entry)
            if uid not in indexed:
                indexed[uid] = entry.object_id
                new[at] = entry
            elif indexed[uid] != entry.object_id:
                raise InstanceConflict("another object is indexed under this SOP Instance UID")
        return new

    def _known_studies(self, new: Mapping[int, IndexEntry]) -> dict[str, _Study]:
        uids = {entry.rows.facts.study_uid for entry in new.values()}
        return {
            uid: _Study(key, facts_again(facts), split_values(held), split_values(classes))
            for uid in uids
            for key, facts, held, classes in _KNOWN_STUDY.rows(self._connection, uid=uid)
        }

    def _insert_studies(self, new: Mapping[int, IndexEntry]) -> None:
        """The first entry of each study that is not there fixes it."""
        first: dict[str, IndexEntry] = {}
        for entry in new.values():
            if entry.rows.facts.study_uid not in self._studies:
                first.setdefault(entry.rows.facts.study_uid, entry)
        if not first:
            return
        facts_by_uid = {
            uid: replace(entry.rows.facts, labels=absent.taken(self._connection, uid)) for uid, entry in first.items()
        }
        rows = [
            {
                **entry.rows.study,
                **said_for_policy(self._connection, facts_by_uid[uid]),
                "sort_date": entry.rows.facts.study_date or 0,
                "series_count": 0,
                "instance_count": 0,
            }
            for uid, entry in first.items()
        ]
        inserted = self._connection.execute(STUDY.insert().returning(STUDY.c.id, STUDY.c.study_uid), rows)
        facts_by_key = {row.id: facts_by_uid[row.study_uid] for row in inserted}
        self._insert_set(STUDY_PHYSICIAN, {key: facts.performing_physicians for key, facts in facts_by_key.items()})
        self._insert_set(STUDY_BODY_PART, {key: facts.body_parts for key, facts in facts_by_key.items()})
        names = {uid: [entry.rows.study[it] for it in NAME_COLUMNS] for uid, entry in first.items()}
        parts = {key: name_parts(*names[facts.study_uid]) for key, facts in facts_by_key.items()}
        self._insert_set(STUDY_NAME_PART, parts)
        self._insert_set(STUDY_MODALITY, {key: facts.modalities for key, facts in facts_by_key.items()}, **_FIXED)
        for key, facts in facts_by_key.items():
            self._studies[facts.study_uid] = _Study(key, facts, set(facts.modalities), set())

    def _known_series(self, new: Mapping[int, IndexEntry]) -> dict[tuple[int, str], _Series]:
        wanted = {self._series_key(entry) for entry in new.values()}
        return {
            (study, uid): _Series(key, json.loads(differs))
            for study, uid in wanted
            for key, differs in _KNOWN_SERIES.rows(self._connection, study=study, uid=uid)
        }

    def _insert_series(self, new: Mapping[int, IndexEntry]) -> None:
        first: dict[tuple[int, str], IndexEntry] = {}
        for entry in new.values():
            if (key := self._series_key(entry)) not in self._series:
                first.setdefault(key, entry)
        if not first:
            return
        rows = [
            {**entry.rows.series, "study_fk": study_fk, "instance_count": 0, "differs": "{}"}
            for (study_fk, _), entry in first.items()
        ]
        returned = (SERIES.c.id, SERIES.c.study_fk, SERIES.c.series_uid)
        for key, study_fk, uid in self._connection.execute(SERIES.insert().returning(*returned), rows):
            self._series[study_fk, uid] = _Series(key, {})
        for entry in first.values():
            self._studies[entry.rows.facts.study_uid].series += 1

    def _count(self, entry: IndexEntry) -> tuple[str, ...]:
        """Note what an entry adds to its study and series; what it differs in that its series was not told of."""
        facts = entry.rows.facts
        study, series = self._studies[facts.study_uid], self._series[self._series_key(entry)]
        study.instances += 1
        series.instances += 1
        study.new_modalities |= facts.modalities - study.modalities
        study.new_sop_classes |= {str(entry.rows.instance["sop_class_uid"])} - study.sop_classes
        differing = _differing(study.facts, facts)
        news = {name: value for name, value in differing.items() if series.reported.get(name, _UNREPORTED) != value}
        series.reported |= news
        return tuple(sorted(news))

    def _instance_row(self, entry: IndexEntry) -> dict[str, Any]:
        return {
            **entry.rows.instance,
            "series_fk": self._series[self._series_key(entry)].id,
            "object_id": entry.object_id,
            "address": entry.address,
            "canonical_digest": entry.canonical_digest,
            "signatures": b"".join(sorted(entry.signatures)),
            "size": entry.size,
            "ledger_sequence": entry.ledger_sequence,
        }

    def _series_key(self, entry: IndexEntry) -> tuple[int, str]:
        return self._studies[entry.rows.facts.study_uid].id, str(entry.rows.series["series_uid"])

    def _write_series(self) -> None:
        rows = [
            {"row": series.id, "more": series.instances, "told": _json(series.reported)}
            for series in self._series.values()
        ]
        _COUNT_SERIES.run(self._connection, rows)

    def _write_studies(self) -> None:
        rows = [
            {
                "row": study.id,
                "more_series": study.series,
                "more_instances": study.instances,
                "modalities": join_values(study.modalities | study.new_modalities),
                "sop_classes": join_values(study.sop_classes | study.new_sop_classes),
            }
            for study in self._studies.values()
        ]
        _COUNT_STUDY.run(self._connection, rows)
        for study in self._studies.values():
            self._add_modalities(study)
        self._insert_set(STUDY_SOP_CLASS, {study.id: study.new_sop_classes for study in self._studies.values()})

    def _add_modalities(self, study: _Study) -> None:
        """Those that nothing in the study had at present; one that its first instance fixed has its row already."""
        new = study.new_modalities
        if not new:
            return
        again = update(STUDY_MODALITY).where(STUDY_MODALITY.c.study_fk == study.id, STUDY_MODALITY.c.value.in_(new))
        returned = self._connection.execute(again.values(current=True).returning(STUDY_MODALITY.c.value))
        self._insert_set(STUDY_MODALITY, {study.id: new - set(returned.scalars())}, **_LATER)

    def _insert_set(self, table: Table, values: Mapping[int, Iterable[str]], **more: bool) -> None:
        rows = [{"study_fk": key, "value": value, **more} for key, held in values.items() for value in held]
        if rows:
            self._connection.execute(table.insert(), rows)


_UNREPORTED: Final = object()
_FIXED: Final = {"fixed": True, "current": True}
_LATER: Final = {"fixed": False, "current": True}


def _differing(fixed: StudyFacts, later: StudyFacts) -> dict[str, Any]:
    """The later instance's own values of the facts that it would have set otherwise."""
    found: dict[str, Any] = {
        name: getattr(later, name) for name in SCALAR_FACTS if getattr(later, name) != getattr(fixed, name)
    }
    for name in _FIXED_SETS:
        if not getattr(later, name) <= getattr(fixed, name):
            found[name] = sorted(getattr(later, name))
    return found


def _instance_uid(entry: IndexEntry) -> str:
    return str(entry.rows.instance["sop_instance_uid"])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
