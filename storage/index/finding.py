"""The matches of a query, page by page, at each level of the information model.

A page is one statement that continues after the last row of the page before: no transaction is open while a page is on
its way to the peer, and what is stored meanwhile neither shifts nor repeats a row.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Dialect,
    FromClause,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    func,
    literal,
    select,
    tuple_,
)

from storage.index.columns import BY_TAG, ELEMENTS, Level
from storage.index.compiler import compile_predicate
from storage.index.elements import VALUE, document_of, key_of_tag
from storage.index.engine import IndexEngine
from storage.index.facts import FactsSeal, sealed_facts
from storage.index.levels import level_of
from storage.index.matching import FindQuery
from storage.index.moments import FIRST_DATE, LAST_DATE
from storage.index.narrowing import narrowed
from storage.index.parameters import Apart
from storage.index.predicate import Predicate, all_of
from storage.index.prepared import Paged
from storage.index.schema import INSTANCE, SERIES, STUDY
from storage.instance import StudyFacts

_BEYOND_ANY_ID: Final = 2**63 - 1


class Match:
    """One answer to a query. Made by the thousand, so it is as little as can be."""

    __slots__ = ("_found", "_query", "_seal", "key", "row")

    def __init__(
        self, query: FindQuery, key: int, found: Sequence[Any], row: Sequence[Any], seal: FactsSeal | None
    ) -> None:
        self._query = query
        self._found = found
        self._seal = seal
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
        return sealed_facts(self._seal, *self._found[_KEYS:_VALUES])

    def __repr__(self) -> str:
        return f"<Match at {self.level.value}>"


def matches(engine: IndexEngine, query: FindQuery, scope: Predicate, page: int) -> Iterator[list[Match]]:
    """The matches of a query within a scope, in pages of at most ``page``, none empty.

    Studies come newest first, patients by their ID, series and images as they were stored.
    """
    apart = Apart(narrowed(engine, query))
    shape = _shape(query.level, query.returned)
    arguments = apart.arguments(engine.dialect.name)
    for position in _positions(query):
        bounded = "first" in position
        paged = _statement(engine.dialect, query.level, query.returned, apart.predicate, scope, page, bounded)
        while True:
            with engine.reading() as connection:
                rows = paged.rows(connection, {**arguments, **position})
            if rows:
                yield shape.matches(query, rows, engine.seal)
            if len(rows) < page:
                break
            position = {**position, "id": rows[-1][0], "order": rows[-1][1]}


def _positions(query: FindQuery) -> Iterator[dict[str, object]]:
    """Where to begin reading; at the STUDY level newest first, by (study date, row).

    A range of dates is read as a range of the index and then, since unknown dates match, as the undated ones at its
    end: one condition with OR would read the index to its end for every query of the last few days.
    """
    if query.level is not Level.STUDY:
        yield {"id": 0, "order": "" if query.level is Level.PATIENT else 0}
    elif query.dates is None:
        yield {"id": _BEYOND_ANY_ID, "order": LAST_DATE}
    elif query.dates[0] <= FIRST_DATE:
        yield {"id": _BEYOND_ANY_ID, "order": query.dates[1]}
    else:
        # A bound that excludes nothing would make the planner prefer this index to that of a name, so only here.
        yield {"id": _BEYOND_ANY_ID, "order": query.dates[1], "first": query.dates[0]}
        yield {"id": _BEYOND_ANY_ID, "order": FIRST_DATE}


@lru_cache(maxsize=512)
def _statement(
    dialect: Dialect,
    level: Level,
    returned: tuple[int, ...],
    predicate: Predicate,
    scope: Predicate,
    page: int,
    bounded: bool,
) -> Paged:
    """One page of a level: everything that two queries of the same form have in common."""
    condition = compile_predicate(all_of(predicate, scope), level, dialect.name)
    if level is Level.PATIENT:
        statement = _patients(returned, condition, page)
    elif level is Level.STUDY:
        statement = _shape(level, returned).select(STUDY.c.id, STUDY.c.sort_date).where(condition, _older())
        statement = statement.order_by(STUDY.c.sort_date.desc(), STUDY.c.id.desc()).limit(page)
        if bounded:
            # The upper end says nothing new: PostgreSQL estimates a range by two ends of one column, and takes the row
            # comparison for another condition, by which a week in the middle of all years looked like thousands.
            statement = statement.where(STUDY.c.sort_date >= _given("first"), STUDY.c.sort_date <= _given("order"))
    else:
        key = SERIES.c.id if level is Level.SERIES else INSTANCE.c.id
        statement = _shape(level, returned).select(key, key).where(condition, key > _given("id"))
        statement = statement.order_by(key).limit(page)
    return Paged(statement, dialect)


def _given(name: str) -> BindParameter[int]:
    """A number that is given when the statement runs."""
    return bindparam(name, 0, type_=BigInteger())


def _older() -> ColumnElement[bool]:
    here = tuple_(_given("order"), _given("id"))
    older: ColumnElement[bool] = tuple_(STUDY.c.sort_date, STUDY.c.id) < here
    return older


def _patients(returned: tuple[int, ...], condition: ColumnElement[bool], page: int) -> Select[Any]:
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
        .where(condition, STUDY.c.patient_id > bindparam("order", ""))
        .group_by(STUDY.c.patient_id)
        .order_by(STUDY.c.patient_id)
        .limit(page)
        .subquery()
    )
    shape = _Shape(Level.PATIENT, returned, {name: reach.c[name] for name in _PATIENT_COUNTS})
    source = reach.join(STUDY, STUDY.c.id == reach.c.newest)
    return shape.select(STUDY.c.id, STUDY.c.patient_id, source=source).order_by(STUDY.c.patient_id)


_PATIENT_COUNTS: Final = ("patient_studies", "patient_series", "patient_instances")
_DERIVED: Final[Mapping[str, ColumnElement[Any]]] = {
    "study_series": STUDY.c.series_count,
    "study_instances": STUDY.c.instance_count,
    "series_instances": SERIES.c.instance_count,
}


_UNCOUNTED: Final[Mapping[str, ColumnElement[Any]]] = {name: literal(0) for name in _PATIENT_COUNTS}
"""For the places of values in a row; the statement of patients has the counts themselves."""
_FACTS: Final = (STUDY.c.facts, STUDY.c.labels, STUDY.c.facts_seal)
_KEYS: Final = 2
"""Before the values of a row: its key, and what it is ordered by; then come the facts of its study."""
_VALUES: Final = _KEYS + len(_FACTS)


class _Shape:
    """What is selected for queries of one level and the same attributes, and how a row of it becomes a match."""

    def __init__(
        self, level: Level, returned: tuple[int, ...], derived: Mapping[str, ColumnElement[Any]] = _DERIVED
    ) -> None:
        self._level = level
        self._returned = returned
        self._derived = derived
        tables: dict[str, ColumnElement[Any]] = {}
        self._columns: list[ColumnElement[Any]] = []
        self._places: list[tuple[int, str | None]] = []
        """For each returned tag: the place of its value, and in a document there its name."""
        for tag in returned:
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
        rows = joined(self._level) if source is None else source
        return select(key, order, *_FACTS, *self._columns, *self._documents).select_from(rows)

    def matches(self, query: FindQuery, rows: list[tuple[Any, ...]], seal: FactsSeal | None) -> list[Match]:
        """Rows as matches of a query."""
        if not self._documents:
            return [Match(query, row[0], row, row[_VALUES:], seal) for row in rows]
        return [Match(query, row[0], row, self._with_elements(query, row[_VALUES:]), seal) for row in rows]

    def _with_elements(self, query: FindQuery, values: Sequence[Any]) -> list[Any]:
        documents = [document_of(text) for text in values[len(self._columns) :]]
        row: list[Any] = []
        for tag, (place, name) in zip(self._returned, self._places, strict=True):
            if name is None:
                row.append(values[place])
                continue
            element = documents[place].get(name)
            wanted = query.sequences.get(tag)
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


@lru_cache(maxsize=512)
def _shape(level: Level, returned: tuple[int, ...]) -> _Shape:
    return _Shape(level, returned, _DERIVED if level is not Level.PATIENT else {**_DERIVED, **_UNCOUNTED})


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
