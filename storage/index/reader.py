"""What the index answers: matches of a query, the instances of a retrieval, and single objects.

Every answer to a person is the conjunction of what they ask and what they may see, in SQL. Answers come in pages, each
one statement that continues after the last row of the page before: no transaction is open while a page is on its way to
the peer, and what is stored meanwhile neither shifts nor repeats a row.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, Select, Text, bindparam, cast, func, select, tuple_

from storage.errors import StoreNotReady
from storage.identifiers import ObjectId, Uid
from storage.index.columns import BY_TAG, Level
from storage.index.compiler import compile_predicate
from storage.index.engine import IndexEngine
from storage.index.facts import facts_of
from storage.index.matching import FindQuery
from storage.index.moments import FIRST_DATE, LAST_DATE
from storage.index.predicate import EVERYTHING, Predicate, all_of
from storage.index.schema import INSTANCE, SERIES, STUDY
from storage.index.state import rebuilding
from storage.instance import InstanceKey, StoredInstance, StudyFacts

PAGE: Final = 500
"""Rows of a page: what a person waits for at most before the first answer, and what is held in memory."""

_BEYOND_ANY_ID: Final = 2**63 - 1


class Match:
    """One answer to a query. ``values`` are the requested attributes as text, "" where there is no value."""

    __slots__ = ("_facts", "level", "values")

    def __init__(self, level: Level, values: Mapping[int, str], facts: str) -> None:
        self.level = level
        self.values = values
        self._facts = facts

    @property
    def facts(self) -> StudyFacts:
        """What policy reads of the match's study (of a patient's newest one in reach, at the PATIENT level)."""
        return facts_of(self._facts)

    def __repr__(self) -> str:
        return f"<Match at {self.level.value}>"


@dataclass(frozen=True, slots=True)
class StudyNames:
    """How people call a study: for the audit, never for a decision. Empty where the data set had no value."""

    patient_id: str
    patient_name: str
    accession_number: str


@dataclass(frozen=True, slots=True)
class KeptInstance:
    """Everything the index knows of an object beyond what a retrieval needs; for the committer and the checker."""

    stored: StoredInstance
    canonical_digest: bytes
    signatures: frozenset[bytes]
    """SHA-256 of every top-level signature value of the object as it goes out: foreign ones and the archive's own."""
    ledger_sequence: int


class IndexReader:
    """Reads through any engine, beside the writer or without one. Safe to share among threads.

    Raises:
        IndexFault: from every method; the database failed.
    """

    def __init__(self, engine: IndexEngine) -> None:
        self._engine = engine

    def find(self, query: FindQuery, scope: Predicate, page: int = PAGE) -> Iterator[list[Match]]:
        """The matches of a query within a scope, in pages, none empty.

        Studies come newest first, patients by their ID, series and images as they were stored.

        Raises:
            StoreNotReady: the index is being rebuilt.
        """
        self._check_complete()
        match query.level:
            case Level.PATIENT:
                return self._patients(query, scope, page)
            case Level.STUDY:
                return self._studies(query, scope, page)
            case _:
                return self._below(query, scope, page)

    def instances(self, predicate: Predicate, scope: Predicate, page: int = PAGE) -> Iterator[StoredInstance]:
        """The instances that a predicate selects within a scope, in the order in which they were stored.

        Raises:
            StoreNotReady: the index is being rebuilt.
        """
        self._check_complete()
        return (kept.stored for kept in self._kept(all_of(predicate, scope), page))

    def count(self, predicate: Predicate, scope: Predicate) -> int:
        """How many instances `instances` would yield now. Raises as it."""
        self._check_complete()
        condition = compile_predicate(all_of(predicate, scope), Level.IMAGE)
        with self._engine.reading() as connection:
            counted = select(func.count()).select_from(_joined(Level.IMAGE)).where(condition)
            return connection.execute(counted).scalar_one()

    def study_facts(self, study_uid: str) -> StudyFacts | None:
        """What policy reads of a study; None if there is no such study."""
        with self._engine.reading() as connection:
            text = connection.execute(select(STUDY.c.facts).where(STUDY.c.study_uid == study_uid)).scalar()
        return facts_of(text) if text is not None else None

    def study_names(self, study_uids: Iterable[str]) -> dict[str, StudyNames]:
        """Patient and accession number of studies, by UID; unknown ones are left out."""
        names: dict[str, StudyNames] = {}
        statement = select(STUDY.c.study_uid, STUDY.c.patient_id, STUDY.c.patient_name, STUDY.c.accession_number)
        wanted = iter(study_uids)
        while uids := list(islice(wanted, PAGE)):
            with self._engine.reading() as connection:
                rows = connection.execute(statement.where(STUDY.c.study_uid.in_(uids))).all()
            names |= {uid: StudyNames(*(value or "" for value in values)) for uid, *values in rows}
        return names

    def lookup(self, sop_instance_uids: Iterable[str]) -> dict[str, KeptInstance]:
        """The objects kept under these SOP Instance UIDs, by UID; unknown ones are left out. At most some thousands."""
        with self._engine.reading() as connection:
            statement = _instance_statement().where(INSTANCE.c.sop_instance_uid.in_(list(sop_instance_uids)))
            rows = connection.execute(statement).all()
        return {kept.stored.key.sop_instance_uid: kept for kept in _kept_instances(rows)}

    def kept(self, page: int = PAGE) -> Iterator[KeptInstance]:
        """Every object in the index, in the order of storing, also while it is being rebuilt."""
        return self._kept(EVERYTHING, page)

    def _check_complete(self) -> None:
        with self._engine.reading() as connection:
            if rebuilding(connection):
                raise StoreNotReady("the index is being rebuilt")

    def _kept(self, predicate: Predicate, page: int) -> Iterator[KeptInstance]:
        condition = compile_predicate(predicate, Level.IMAGE)
        statement = _instance_statement().where(condition, INSTANCE.c.id > bindparam("after"))
        statement = statement.order_by(INSTANCE.c.id).limit(page)
        after = 0
        while rows := self._page(statement, {"after": after}):
            after = rows[-1].id
            yield from _kept_instances(rows)
            if len(rows) < page:
                return

    def _studies(self, query: FindQuery, scope: Predicate, page: int) -> Iterator[list[Match]]:
        """Newest first by (study date, row).

        A range of dates is read as a range of the index and then, since unknown dates match, as the undated ones at
        its end: one condition with OR would read the index to its end for every query of the last few days.
        """
        newest_first = (STUDY.c.sort_date.desc(), STUDY.c.id.desc())
        statement = _find_statement(query, STUDY.c.sort_date, STUDY.c.id).where(
            compile_predicate(all_of(query.predicate, scope), Level.STUDY),
            tuple_(STUDY.c.sort_date, STUDY.c.id) < tuple_(bindparam("date"), bindparam("id")),
        )
        statement = statement.order_by(*newest_first).limit(page)
        spans: list[tuple[int | None, int]] = [(None, LAST_DATE)]
        if query.dates is not None:
            spans = [query.dates, (None, FIRST_DATE)] if query.dates[0] > FIRST_DATE else [(None, query.dates[1])]
        for first, last in spans:
            # A bound that excludes nothing would still make the planner prefer this index to that of a name.
            bounded = statement if first is None else statement.where(STUDY.c.sort_date >= first)
            position = {"date": last, "id": _BEYOND_ANY_ID}
            while rows := self._page(bounded, position):
                position = {"date": rows[-1][0], "id": rows[-1][1]}
                yield _matches(query, rows, 2)
                if len(rows) < page:
                    break

    def _below(self, query: FindQuery, scope: Predicate, page: int) -> Iterator[list[Match]]:
        key = SERIES.c.id if query.level is Level.SERIES else INSTANCE.c.id
        statement = _find_statement(query, key).where(
            compile_predicate(all_of(query.predicate, scope), query.level), key > bindparam("after")
        )
        statement = statement.order_by(key).limit(page)
        after = 0
        while rows := self._page(statement, {"after": after}):
            after = rows[-1][0]
            yield _matches(query, rows, 1)
            if len(rows) < page:
                return

    def _patients(self, query: FindQuery, scope: Predicate, page: int) -> Iterator[list[Match]]:
        """Patients are the distinct Patient IDs of studies in reach; each speaks through its last stored one.

        A study without a Patient ID belongs to nobody who could be named (PS3.4 C.2.2.1.1: no unique key is empty).
        """
        reach = (
            select(
                func.max(STUDY.c.id).label("newest"),
                func.count().label("patient_studies"),
                func.sum(STUDY.c.series_count).label("patient_series"),
                func.sum(STUDY.c.instance_count).label("patient_instances"),
            )
            .where(
                compile_predicate(all_of(query.predicate, scope), Level.PATIENT),
                STUDY.c.patient_id > bindparam("after"),
            )
            .group_by(STUDY.c.patient_id)
            .order_by(STUDY.c.patient_id)
            .limit(page)
            .subquery()
        )
        counts = {BY_TAG[tag].column: reach.c.get(BY_TAG[tag].column) for tag in query.returned}
        columns = [_text_of(tag, counts.get(BY_TAG[tag].column)) for tag in query.returned]
        source = reach.join(STUDY, STUDY.c.id == reach.c.newest)
        statement = select(STUDY.c.patient_id.label("key"), STUDY.c.facts, *columns).select_from(source)
        statement = statement.order_by(STUDY.c.patient_id)
        after = ""
        while rows := self._page(statement, {"after": after}):
            after = rows[-1][0]
            yield _matches(query, rows, 1)
            if len(rows) < page:
                return

    def _page(self, statement: Select[Any], values: Mapping[str, Any]) -> list[Any]:
        with self._engine.reading() as connection:
            return list(connection.execute(statement, values).all())


_DERIVED: Final[Mapping[str, ColumnElement[Any]]] = {
    "study_series": STUDY.c.series_count,
    "study_instances": STUDY.c.instance_count,
    "series_instances": SERIES.c.instance_count,
}


def _joined(level: Level) -> FromClause:
    """The rows of a level with those above them."""
    rows: FromClause = STUDY
    if level in (Level.SERIES, Level.IMAGE):
        rows = SERIES.join(STUDY, SERIES.c.study_fk == STUDY.c.id)
    if level is Level.IMAGE:
        rows = INSTANCE.join(rows, INSTANCE.c.series_fk == SERIES.c.id)
    return rows


def _text_of(tag: int, derived: ColumnElement[Any] | None = None) -> ColumnElement[Any]:
    """An attribute's value as text, "" where there is none; done in SQL, where it is cheapest."""
    attribute = BY_TAG[tag]
    source = derived if derived is not None else _DERIVED.get(attribute.column)
    if source is not None:
        return cast(source, Text)
    table = {Level.SERIES: SERIES, Level.IMAGE: INSTANCE}.get(attribute.level, STUDY)
    return func.coalesce(table.c[attribute.text_column], "")


def _find_statement(query: FindQuery, *keys: ColumnElement[Any]) -> Select[Any]:
    columns = [_text_of(tag) for tag in query.returned]
    return select(*keys, STUDY.c.facts, *columns).select_from(_joined(query.level))


def _matches(query: FindQuery, rows: list[Any], keys: int) -> list[Match]:
    tags, level, values = query.returned, query.level, keys + 1
    return [Match(level, dict(zip(tags, row[values:], strict=True)), row[keys]) for row in rows]


def _instance_statement() -> Select[Any]:
    columns = (
        INSTANCE.c.id,
        STUDY.c.study_uid.label("study"),
        SERIES.c.series_uid,
        INSTANCE.c.sop_instance_uid,
        INSTANCE.c.sop_class_uid,
        INSTANCE.c.object_id,
        INSTANCE.c.address,
        INSTANCE.c.transfer_syntax,
        INSTANCE.c.size,
        INSTANCE.c.canonical_digest,
        INSTANCE.c.signatures,
        INSTANCE.c.ledger_sequence,
    )
    return select(*columns, STUDY.c.facts).select_from(_joined(Level.IMAGE))


def _kept_instances(rows: Iterable[Any]) -> Iterator[KeptInstance]:
    text, facts = None, None
    for row in rows:
        if facts is None or row.facts != text:
            text, facts = row.facts, facts_of(row.facts)
        signatures = row.signatures
        yield KeptInstance(
            stored=StoredInstance(
                key=InstanceKey(Uid(row.study), Uid(row.series_uid), Uid(row.sop_instance_uid), Uid(row.sop_class_uid)),
                object_id=ObjectId(row.object_id),
                address=row.address,
                transfer_syntax=row.transfer_syntax,
                size=row.size,
                facts=facts,
            ),
            canonical_digest=row.canonical_digest,
            signatures=frozenset(signatures[at : at + 32] for at in range(0, len(signatures), 32)),
            ledger_sequence=row.ledger_sequence,
        )
