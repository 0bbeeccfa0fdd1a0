"""Which tokens were presented, and by which node, kept in the database. Implements `auth.ports.PresentedTokens`.

Every presentation is one transaction that takes the database's write lock before it looks, so that of any number of
threads and processes with one token exactly one is the first; and it is on stable storage before the caller hears.
"""

import hashlib
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import BigInteger, Column, Connection, LargeBinary, String, Table, delete, insert, select, update

from archive.records.tables import METADATA, RecordsDatabase, create_tables
from auth.ports import Presentation

KEPT_BEYOND_SECONDS: Final = 3600
"""For which a token is remembered after its end: verifiers allow for clocks that differ, and ours may be put right."""
PRUNED_EACH_SECONDS: Final = 600
"""At most so long a row stays that no longer counts, while tokens are presented."""

PRESENTED: Final = Table(
    "record_presented",
    METADATA,
    Column("issuer", String(1024), primary_key=True),
    Column("token", LargeBinary(32), primary_key=True),
    Column("node", String(128), nullable=False),
    Column("until", BigInteger, nullable=False, index=True),
)
"""``token`` is the SHA-256 of the token's id, which may name a person or open a session elsewhere; ``until`` is in
whole seconds since 1970, rounded up."""


class PresentedRecords:
    """The tokens presented to one archive. Thread-safe; several processes may share the database."""

    def __init__(self, database: RecordsDatabase, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """``clock`` gives aware times."""
        self._database = database
        self._clock = clock
        self._prune_at = 0
        with database.writing() as connection:
            create_tables(connection)

    def present(self, issuer: str, token_id: str, *, node: str, until: datetime, once: bool) -> Presentation:
        """Note that a token was presented (`auth.ports.PresentedTokens.present`).

        Raises:
            ValueError: ``until`` has no time zone.
            StorageError: the database failed; whether the token is noted is not known, and it must not be believed.
        """
        if until.tzinfo is None:
            raise ValueError("a token's end is an aware time")
        ends = math.ceil(until.timestamp())
        token = hashlib.sha256(token_id.encode("utf-8", "surrogatepass")).digest()
        this = (PRESENTED.c.issuer == issuer) & (PRESENTED.c.token == token)
        with self._database.writing() as connection:
            # 1 What ended long ago is as if it had never been, whether or not its row is still there.
            oldest = math.floor(self._clock().timestamp()) - KEPT_BEYOND_SECONDS
            self._prune(connection, oldest)
            before = connection.execute(select(PRESENTED.c.node, PRESENTED.c.until).where(this)).first()
            if before is not None and before.until < oldest:
                connection.execute(delete(PRESENTED).where(this))
                before = None
            # 2 Nobody presented it.
            if before is None:
                connection.execute(insert(PRESENTED).values(issuer=issuer, token=token, node=node, until=ends))
                return Presentation.FIRST
            # 3 Somebody did; a token that comes with a later end is remembered until then.
            if before.until < ends:
                connection.execute(update(PRESENTED).where(this).values(until=ends))
            if before.node != node:
                return Presentation.ELSEWHERE
            return Presentation.SPENT if once else Presentation.AGAIN

    def _prune(self, connection: Connection, oldest: int) -> None:
        """Forget what ended before, now and then; another process may do the same."""
        if oldest >= self._prune_at:
            connection.execute(delete(PRESENTED).where(PRESENTED.c.until < oldest))
            self._prune_at = oldest + PRUNED_EACH_SECONDS
