"""The index in PostgreSQL: the same engine, tables and statements as on SQLite.

One archive writes at a time, held to that by an advisory lock of the server. Text compares by code point, as on SQLite,
whatever the database's own collation is (`storage.index.schema`).
"""

from collections.abc import Callable
from typing import Final

import psycopg
from sqlalchemy import Connection, QueuePool, StaticPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from storage.errors import IndexFault
from storage.index import schema
from storage.index.engine import READERS, IndexEngine
from storage.index.facts import FactsSeal

CONNECT_SECONDS: Final = 10
"""How long a server gets to answer."""
_LOCK: Final = 0x5374726F6E67
"""The advisory lock of whoever writes an index ("Strong")."""
_LOCK_SECONDS: Final = 5
"""How long to wait for that lock: a writer that ended keeps it until the server has seen its connection go."""


def open_postgresql(
    url: str,
    *,
    prepare: Callable[[Connection], None] | None = schema.prepare,
    durable: bool = True,
    seal: FactsSeal | None = None,
) -> IndexEngine:
    """Open for writing; make the tables if there are none.

    Args:
        url: as libpq takes it, ``postgresql://…``; a database that exists, and a role that may make tables in it.
        prepare: makes what is missing, in the first transaction.
        durable: each transaction is on stable storage when it ends; see `IndexEngine.open`.
        seal: likewise.

    Raises:
        IndexFault: there is no such database, it has another version, or another archive writes it.
    """
    try:
        writer = create_engine("postgresql+psycopg://", creator=lambda: _writing(url, durable), poolclass=StaticPool)
        connection = writer.connect()
    except SQLAlchemyError as error:
        raise IndexFault(f"the index cannot be opened: {getattr(error, 'orig', None) or error}") from error
    readers = create_engine(
        "postgresql+psycopg://",
        creator=lambda: _reading(url),
        poolclass=QueuePool,
        pool_size=READERS,
        max_overflow=0,
        pool_timeout=30,
        pool_pre_ping=True,
        isolation_level="AUTOCOMMIT",
    )
    return IndexEngine(readers, connection, failures=(psycopg.Error,), seal=seal).prepared(prepare)


def _writing(url: str, durable: bool) -> psycopg.Connection:
    connection = psycopg.connect(url, connect_timeout=CONNECT_SECONDS, application_name="strongroom index")
    connection.execute(f"SET synchronous_commit = {'on' if durable else 'off'}")
    connection.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
    connection.commit()
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    except psycopg.errors.LockNotAvailable:
        connection.close()
        raise IndexFault("another archive writes this index") from None
    connection.execute("RESET lock_timeout")
    connection.commit()
    return connection


def _reading(url: str) -> psycopg.Connection:
    connection = psycopg.connect(
        url,
        connect_timeout=CONNECT_SECONDS,
        application_name="strongroom queries",
        autocommit=True,
        # A statement that the server plans without its values cannot use an index for the beginning of a name.
        prepare_threshold=None,
    )
    connection.execute("SET default_transaction_read_only = on")
    return connection
