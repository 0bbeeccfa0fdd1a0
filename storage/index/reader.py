"""What the index answers: matches of a query, the instances of a retrieval, and single objects.

Every answer to a person is the conjunction of what they ask and what they may see, in SQL. Answers come in pages, each
one statement that continues after the last row of the page before: no transaction is open while a page is on its way to
the peer, and what is stored meanwhile neither shifts nor repeats a row.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Select, bindparam, func, select

from storage.errors import StoreNotReady
from storage.identifiers import ObjectId, Uid
from storage.index.columns import Level
from storage.index.compiler import compile_predicate
from storage.index.engine import IndexEngine
from storage.index.facts import sealed_facts
from storage.index.finding import Match, joined, matches
from storage.index.matching import FindQuery
from storage.index.predicate import EVERYTHING, Predicate, all_of
from storage.index.prepared import Prepared
from storage.index.schema import INSTANCE, SERIES, STUDY
from storage.index.state import generation
from storage.index.unchanged import Unchanged
from storage.instance import InstanceKey, StoredInstance, StudyFacts

PAGE: Final = 500
"""Rows of a page: what a person waits for at most before the first answer, and what is held in memory."""

_Row = TypeVar("_Row")

_FACTS: Final = (STUDY.c.facts, STUDY.c.labels, STUDY.c.facts_seal)
_STUDY_FACTS: Final = Prepared(select(*_FACTS).where(STUDY.c.study_uid == bindparam("uid")))
"""Asked before each object of a retrieval."""


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
        self._unchanged = Unchanged(engine)

    def find(self, query: FindQuery, scope: Predicate, page: int = PAGE) -> Iterator[list[Match]]:
        """The matches of a query within a scope, in pages, none empty.

        Studies come newest first, patients by their ID, series and images as they were stored.

        Raises:
            StoreNotReady: the index is being rebuilt.
        """
        return self._of_one_index(self._generation(), matches(self._engine, query, scope, page))

    def speaker(self, match: Match) -> StoredInstance | None:
        """The object that says what a match says: itself, or the first one that is kept of a series or study."""
        key = {Level.IMAGE: INSTANCE.c.id, Level.SERIES: SERIES.c.id}.get(match.level, STUDY.c.id)
        statement = _instance_statement().where(key == match.key).order_by(INSTANCE.c.id).limit(1)
        with self._engine.reading() as connection:
            rows = connection.execute(statement).all()
        return next((kept.stored for kept in self._kept_instances(rows)), None)

    def instances(self, predicate: Predicate, scope: Predicate, page: int = PAGE) -> Iterator[StoredInstance]:
        """The instances that a predicate selects within a scope, in the order in which they were stored.

        Raises:
            StoreNotReady: the index is being rebuilt.
        """
        pages = self._of_one_index(self._generation(), self._kept_pages(all_of(predicate, scope), page))
        return (kept.stored for rows in pages for kept in rows)

    def count(self, predicate: Predicate, scope: Predicate) -> int:
        """How many instances `instances` would yield now. Raises as it."""
        self._generation()
        condition = compile_predicate(all_of(predicate, scope), Level.IMAGE, self._engine.dialect.name)
        with self._engine.reading() as connection:
            counted = select(func.count()).select_from(joined(Level.IMAGE)).where(condition)
            return connection.execute(counted).scalar_one()

    def study_facts(self, study_uid: str) -> StudyFacts | None:
        """What policy reads of a study; None if there is no such study."""
        return self._unchanged.read(("facts", study_uid), lambda connection: self._study_facts(connection, study_uid))

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
        return {kept.stored.key.sop_instance_uid: kept for kept in self._kept_instances(rows)}

    def kept(self, page: int = PAGE) -> Iterator[KeptInstance]:
        """Every object in the index, in the order of storing, also while it is being rebuilt."""
        return (kept for rows in self._kept_pages(EVERYTHING, page) for kept in rows)

    def _study_facts(self, connection: Connection, study_uid: str) -> StudyFacts | None:
        rows = _STUDY_FACTS.rows(connection, uid=study_uid)
        return sealed_facts(self._engine.seal, *rows[0]) if rows else None

    def _generation(self) -> str:
        return self._unchanged.read(("generation",), generation)

    def _of_one_index(self, began: str, pages: Iterator[list[_Row]]) -> Iterator[list[_Row]]:
        """Pages as long as no rebuild began since the first: what it makes does not continue what was there."""
        for page in pages:
            if self._generation() != began:
                raise StoreNotReady("the index was rebuilt meanwhile")
            yield page
        if self._generation() != began:
            raise StoreNotReady("the index was rebuilt meanwhile")

    def _kept_pages(self, predicate: Predicate, page: int) -> Iterator[list[KeptInstance]]:
        condition = compile_predicate(predicate, Level.IMAGE, self._engine.dialect.name)
        statement = _instance_statement().where(condition, INSTANCE.c.id > bindparam("after"))
        statement = statement.order_by(INSTANCE.c.id).limit(page)
        after = 0
        while rows := self._page(statement, after):
            after = rows[-1].id
            yield list(self._kept_instances(rows))
            if len(rows) < page:
                return

    def _page(self, statement: Select[Any], after: int) -> list[Any]:
        with self._engine.reading() as connection:
            return list(connection.execute(statement, {"after": after}).all())

    def _kept_instances(self, rows: Iterable[Any]) -> Iterator[KeptInstance]:
        said, facts = None, None
        for row in rows:
            if facts is None or (row.facts, row.labels, row.facts_seal) != said:
                said = (row.facts, row.labels, row.facts_seal)
                facts = sealed_facts(self._engine.seal, *said)
            signatures = row.signatures
            yield KeptInstance(
                stored=StoredInstance(
                    key=InstanceKey(
                        Uid(row.study), Uid(row.series_uid), Uid(row.sop_instance_uid), Uid(row.sop_class_uid)
                    ),
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
    return select(*columns, *_FACTS).select_from(joined(Level.IMAGE))
