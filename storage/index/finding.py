"""The matches of a query, page by page, at each level of the information model.

A page is one statement that continues after the last row of the page before: no transaction is open while a page is on
its way to the peer, and what is stored meanwhile neither shifts nor repeats a row.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, Select, Table, Text, bindparam, cast, func, select, tuple_

from storage.index.columns import BY_TAG, ELEMENTS, Level
from storage.index.compiler import compile_predicate
from storage.index.elements import VALUE, document_of, key_of_tag
from storage.index.engine import IndexEngine
from storage.index.facts import facts_of
from storage.index.levels import level_of
from storage.index.matching import FindQuery
from storage.index.moments import FIRST_DATE, LAST_DATE
from storage.index.predicate import Predicate, all_of
from storage.index.prepared import Paged
from storage.index.schema import INSTANCE, SERIES, STUDY
from storage.instance import StudyFacts

_BEYOND_ANY_ID: Final = 2**63 - 1


class Match:
    """One answer to a query. Made by the thousand, so it is as little as can be."""

    __slots__ = ("_facts", "_query", "key", "row")

    def __init__(self, query: FindQuery, key: int, facts: str, row: Sequence[Any]) -> None:
        self._query = query
        self._facts = facts
        self.key = key
        """Which row of its level this is, for `IndexReader.speaker`; a patient's is that of its newest study."""
        self.row = row
        """The values of the query's returned attributes, in their order: text, "" where there is none. Of an element
        without a column its member of a document (`storage.index.elements`), None where there is none."""

    @property
    def level(self) -> Level:
        """What kind of thing matched."""
        return self._query.level

    @property
    def values(self) -> Mapping[int, Any]:
        """``row`` by tag."""
        return dict(zip(self._query.returned, self.row, strict=True))

    @property
    def facts(self) -> StudyFacts:
        """What policy reads of the match's study (of a patient's newest one in reach, at the PATIENT level)."""
        return facts_of(self._facts)

    def __repr__(self) -> str:
        return f"<Match at {self.level.value}>"


def matches(engine: IndexEngine, query: FindQuery, scope: Predicate, page: int) -> Iterator[list[Match]]:
    """The matches of a query within a scope, in pages of at most ``page``, none empty.

    Studies come newest first, patients by their ID, series and images as they were stored.
    """
    match query.level:
        case Level.PATIENT:
            return _patients(engine, query, scope, page)
        case Level.STUDY:
            return _studies(engine, query, scope, page)
        case _:
            return _below(engine, query, scope, page)


def _studies(engine: IndexEngine, query: FindQuery, scope: Predicate, page: int) -> Iterator[list[Match]]:
    """Newest first by (study date, row).

    A range of dates is read as a range of the index and then, since unknown dates match, as the undated ones at its
    end: one condition with OR would read the index to its end for every query of the last few days.
    """
    shape = _Shape(query)
    statement = shape.select(STUDY.c.id, STUDY.c.sort_date).where(
        compile_predicate(all_of(query.predicate, scope), Level.STUDY, engine.dialect.name),
        tuple_(STUDY.c.sort_date, STUDY.c.id) < tuple_(bindparam("date", 0), bindparam("id", 0)),
    )
    statement = statement.order_by(STUDY.c.sort_date.desc(), STUDY.c.id.desc()).limit(page)
    spans: list[tuple[int | None, int]] = [(None, LAST_DATE)]
    if query.dates is not None:
        spans = [query.dates, (None, FIRST_DATE)] if query.dates[0] > FIRST_DATE else [(None, query.dates[1])]
    for first, last in spans:
        # A bound that excludes nothing would still make the planner prefer this index to that of a name.
        bounded = statement if first is None else statement.where(STUDY.c.sort_date >= first)
        paged = Paged(bounded, engine.dialect)
        date, after = last, _BEYOND_ANY_ID
        while rows := _page(engine, paged, date=date, id=after):
            after, date = rows[-1][0], rows[-1][1]
            yield shape.matches(rows)
            if len(rows) < page:
                break


def _below(engine: IndexEngine, query: FindQuery, scope: Predicate, page: int) -> Iterator[list[Match]]:
    shape = _Shape(query)
    key = SERIES.c.id if query.level is Level.SERIES else INSTANCE.c.id
    statement = shape.select(key, key).where(
        compile_predicate(all_of(query.predicate, scope), query.level, engine.dialect.name), key > bindparam("after", 0)
    )
    paged = Paged(statement.order_by(key).limit(page), engine.dialect)
    after = 0
    while rows := _page(engine, paged, after=after):
        after = rows[-1][0]
        yield shape.matches(rows)
        if len(rows) < page:
            return


def _patients(engine: IndexEngine, query: FindQuery, scope: Predicate, page: int) -> Iterator[list[Match]]:
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
            compile_predicate(all_of(query.predicate, scope), Level.PATIENT, engine.dialect.name),
            STUDY.c.patient_id > bindparam("after", ""),
        )
        .group_by(STUDY.c.patient_id)
        .order_by(STUDY.c.patient_id)
        .limit(page)
        .subquery()
    )
    shape = _Shape(query, {name: reach.c[name] for name in _PATIENT_COUNTS})
    statement = shape.select(STUDY.c.id, STUDY.c.patient_id, source=reach.join(STUDY, STUDY.c.id == reach.c.newest))
    paged = Paged(statement.order_by(STUDY.c.patient_id), engine.dialect)
    after = ""
    while rows := _page(engine, paged, after=after):
        after = rows[-1][1]
        yield shape.matches(rows)
        if len(rows) < page:
            return


def _page(engine: IndexEngine, paged: Paged, **position: object) -> list[tuple[Any, ...]]:
    with engine.reading() as connection:
        return paged.rows(connection, **position)


_PATIENT_COUNTS: Final = ("patient_studies", "patient_series", "patient_instances")
_DERIVED: Final[Mapping[str, ColumnElement[Any]]] = {
    "study_series": STUDY.c.series_count,
    "study_instances": STUDY.c.instance_count,
    "series_instances": SERIES.c.instance_count,
}


_KEYS: Final = 3
"""Before the values of a row: its key, what it is ordered by, and the facts of its study."""


class _Shape:
    """What is selected for a query, and how a row of it becomes a match."""

    def __init__(self, query: FindQuery, derived: Mapping[str, ColumnElement[Any]] = _DERIVED) -> None:
        self._query = query
        self._derived = derived
        tables: dict[str, ColumnElement[Any]] = {}
        self._columns: list[ColumnElement[Any]] = []
        self._places: list[tuple[int, str | None]] = []
        """For each returned tag: the place of its value, and in a document there its name."""
        for tag in query.returned:
            if tag in BY_TAG:
                self._places.append((len(self._columns), None))
                self._columns.append(self._text_of(tag))
                continue
            table = _table_of(level_of(tag))
            if table.name not in tables:
                tables[table.name] = table.c[ELEMENTS]
            self._places.append((list(tables).index(table.name), key_of_tag(tag)))
        self._documents = list(tables.values())

    def select(
        self, key: ColumnElement[Any], order: ColumnElement[Any], *, source: FromClause | None = None
    ) -> Select[Any]:
        """Key, order, facts and values of rows of the query's level."""
        rows = joined(self._query.level) if source is None else source
        return select(key, order, STUDY.c.facts, *self._columns, *self._documents).select_from(rows)

    def matches(self, rows: list[tuple[Any, ...]]) -> list[Match]:
        """Rows as matches."""
        query = self._query
        if not self._documents:
            return [Match(query, row[0], row[2], row[_KEYS:]) for row in rows]
        return [Match(query, row[0], row[2], self._with_elements(row[_KEYS:])) for row in rows]

    def _with_elements(self, values: Sequence[Any]) -> list[Any]:
        documents = [document_of(text) for text in values[len(self._columns) :]]
        row: list[Any] = []
        for tag, (place, name) in zip(self._query.returned, self._places, strict=True):
            if name is None:
                row.append(values[place])
                continue
            element = documents[place].get(name)
            wanted = self._query.sequences.get(tag)
            if element is not None and wanted is not None:
                element = {**element, VALUE: wanted.of(element.get(VALUE, []))}
            row.append(element)
        return row

    def _text_of(self, tag: int) -> ColumnElement[Any]:
        """An attribute's value as text, "" where there is none; done in SQL, where it is cheapest."""
        attribute = BY_TAG[tag]
        source = self._derived.get(attribute.column)
        if source is not None:
            return cast(source, Text)
        return func.coalesce(_table_of(attribute.level).c[attribute.text_column], "")


def _table_of(level: Level) -> Table:
    return {Level.SERIES: SERIES, Level.IMAGE: INSTANCE}.get(level, STUDY)


def joined(level: Level) -> FromClause:
    """The rows of a level with those above them."""
    rows: FromClause = STUDY
    if level in (Level.SERIES, Level.IMAGE):
        rows = SERIES.join(STUDY, SERIES.c.study_fk == STUDY.c.id)
    if level is Level.IMAGE:
        rows = INSTANCE.join(rows, INSTANCE.c.series_fk == SERIES.c.id)
    return rows
