"""What the index answers about what was taken away: tombstones and holds. What is kept: `storage.index.reader`."""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, select

from storage.index.absent import labels_of
from storage.index.engine import IndexEngine
from storage.index.removal import Tombstone, is_held, is_known, tombstone_of, tombstones
from storage.index.schema import STUDY_HOLD, TOMBSTONE

_PAGE: Final = 500


class RemovedReader:
    """Reads through any engine, beside the writer or without one. Safe to share among threads.

    Raises:
        IndexFault: from every method; the database failed.
    """

    def __init__(self, engine: IndexEngine) -> None:
        self._engine = engine

    def tombstone(self, sop_instance_uid: str) -> Tombstone | None:
        """What became of an object that was taken away; None if none was under this UID."""
        with self._engine.reading() as connection:
            return tombstones(connection, [sop_instance_uid]).get(sop_instance_uid)

    def absent_labels(self, study_uid: str) -> frozenset[str]:
        """Labels that wait for a study of which nothing is kept."""
        with self._engine.reading() as connection:
            return labels_of(connection, study_uid)

    def of_study(self, study_uid: str, *, before: str | None = None) -> Iterator[Tombstone]:
        """What was taken away of a study, ``before`` a time (ISO 8601, UTC) if one is given, and is not erased."""
        condition = TOMBSTONE.c.study_uid == study_uid
        return self._waiting(condition if before is None else condition & (TOMBSTONE.c.time < before))

    def studies(self, before: str) -> Iterator[str]:
        """Studies of which something was taken away before a time (ISO 8601, UTC) and is not erased, in order."""
        column = TOMBSTONE.c.study_uid
        statement = select(column).where(TOMBSTONE.c.time < before, TOMBSTONE.c.erased.is_(None)).distinct()
        return (uid for (uid,) in self._paged(statement, column))

    def held(self, study_uid: str) -> bool:
        """Whether a study is on hold."""
        with self._engine.reading() as connection:
            return is_held(connection, study_uid)

    def holds(self) -> list[str]:
        """Every study on hold."""
        with self._engine.reading() as connection:
            return list(connection.scalars(select(STUDY_HOLD.c.study_uid).order_by(STUDY_HOLD.c.study_uid)))

    def knows(self, study_uid: str) -> bool:
        """Whether anything of a study is kept, or was taken away and not erased."""
        with self._engine.reading() as connection:
            return is_known(connection, study_uid)

    def _waiting(self, condition: ColumnElement[bool]) -> Iterator[Tombstone]:
        statement = select(*TOMBSTONE.c).where(condition, TOMBSTONE.c.erased.is_(None))
        return map(tombstone_of, self._paged(statement, TOMBSTONE.c.sop_instance_uid))

    def _paged(self, statement: Select[Any], first: ColumnElement[str]) -> Iterator[Any]:
        """Rows by their ``first`` column, in pages: no statement stays open while one of them is dealt with."""
        after = ""
        while rows := self._page(statement.where(first > after).order_by(first).limit(_PAGE)):
            after = rows[-1][0]
            yield from rows

    def _page(self, statement: Select[Any]) -> list[Any]:
        with self._engine.reading() as connection:
            return list(connection.execute(statement).all())
