"""Requests for storage commitment that have not had their result yet: kept across restarts, until told or given up.

A request is on stable storage before the one who asked hears that it was taken (PS3.4 J.3.2.1), and stays until the
result has been delivered. What it asks about, and with which failures decided at once, is opaque here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Integer, RowMapping, String, Table, Text, delete, insert, select, update

from archive.records.tables import METADATA, RecordsDatabase, create_tables

COMMITMENT: Final = Table(
    "record_commitment",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("node", String(16), nullable=False, index=True),
    Column("calling_ae", String(16), nullable=False),
    Column("transaction_uid", String(64), nullable=False, index=True),
    # JSON: what was asked, by whom; and the result once there is one.
    Column("asked", Text, nullable=False),
    Column("result", Text),
    # In milliseconds since 1970.
    Column("received", BigInteger, nullable=False),
    Column("next_attempt", BigInteger, nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
)


@dataclass(frozen=True, slots=True)
class PendingCommitment:
    """One request that waits for its result, or for somebody to take it."""

    id: int
    node: str
    calling_ae: str
    """The AE title that asked, and that is told."""
    transaction_uid: str
    asked: Mapping[str, Any]
    result: Mapping[str, Any] | None
    received: datetime
    attempts: int
    """How often its delivery has failed."""


class CommitmentRecords:
    """The requests of one archive. Thread-safe; every change is durable when the call returns.

    Raises:
        StorageError: from every method; the database failed.
    """

    def __init__(self, database: RecordsDatabase) -> None:
        self._database = database
        with database.writing() as connection:
            create_tables(connection)

    def add(
        self, node: str, calling_ae: str, transaction_uid: str, asked: Mapping[str, Any], received: datetime
    ) -> int:
        """Keep a request, due at once; its id. ``received`` is aware."""
        moment = _milliseconds(received)
        row = insert(COMMITMENT).values(
            node=node,
            calling_ae=calling_ae,
            transaction_uid=transaction_uid,
            asked=json.dumps(asked),
            received=moment,
            next_attempt=moment,
            attempts=0,
        )
        with self._database.writing() as connection:
            key = connection.execute(row).inserted_primary_key
        return int(key[0]) if key else 0

    def in_use(self, node: str, transaction_uid: str) -> bool:
        """Whether a request of this node under this Transaction UID waits for its result."""
        mine = (COMMITMENT.c.node == node) & (COMMITMENT.c.transaction_uid == transaction_uid)
        with self._database.reading() as connection:
            return connection.execute(select(COMMITMENT.c.id).where(mine).limit(1)).first() is not None

    def due(self, moment: datetime, limit: int) -> list[PendingCommitment]:
        """Those whose next attempt has come, the longest waiting first."""
        statement = select(COMMITMENT).where(COMMITMENT.c.next_attempt <= _milliseconds(moment))
        statement = statement.order_by(COMMITMENT.c.next_attempt, COMMITMENT.c.id).limit(limit)
        with self._database.reading() as connection:
            return [_pending(row) for row in connection.execute(statement).mappings()]

    def settled(self, key: int, result: Mapping[str, Any]) -> None:
        """Keep the result of a request, so that every delivery says the same."""
        self._update(key, result=json.dumps(result))

    def postponed(self, key: int, attempts: int, until: datetime) -> None:
        """Nobody took the result; it is due again then."""
        self._update(key, attempts=attempts, next_attempt=_milliseconds(until))

    def recalled(self, moment: datetime) -> None:
        """What was handed to associations, which ended with an earlier run, is due: all that nobody failed to take."""
        handed = (COMMITMENT.c.attempts == 0) & (COMMITMENT.c.next_attempt > _milliseconds(moment))
        with self._database.writing() as connection:
            connection.execute(update(COMMITMENT).where(handed).values(next_attempt=_milliseconds(moment)))

    def done(self, key: int) -> None:
        """The result was delivered, or given up: forget the request."""
        with self._database.writing() as connection:
            connection.execute(delete(COMMITMENT).where(COMMITMENT.c.id == key))

    def _update(self, key: int, **values: object) -> None:
        with self._database.writing() as connection:
            connection.execute(update(COMMITMENT).where(COMMITMENT.c.id == key).values(**values))


def _pending(row: RowMapping) -> PendingCommitment:
    return PendingCommitment(
        id=row["id"],
        node=row["node"],
        calling_ae=row["calling_ae"],
        transaction_uid=row["transaction_uid"],
        asked=json.loads(row["asked"]),
        result=None if row["result"] is None else json.loads(row["result"]),
        received=datetime.fromtimestamp(row["received"] / 1000, UTC),
        attempts=row["attempts"],
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
