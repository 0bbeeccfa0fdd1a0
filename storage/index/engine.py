"""The database under the index and the records: one writer, many readers, all through SQLAlchemy.

Here: how it is used, whatever it is, and SQLite in write-ahead mode. SQLite up to 3.51.2 can corrupt such a database
when two connections write and checkpoint at once, so there is exactly one connection that may write, behind a lock, and
every other one is opened read-only. PostgreSQL is in `storage.index.postgresql`. What must never live here: table
names.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Dialect, Engine, NullPool, QueuePool, StaticPool, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from storage.errors import IndexFault
from storage.index import schema
from storage.index.facts import FactsSeal

BUSY_SECONDS: Final = 10.0
"""How long a statement waits for a lock that another connection holds."""
READERS: Final = 8
"""Connections that read at one time; each is held for one page."""


_VOUCHING: Final = "facts_seal"

IndexConnection = Connection
"""For whoever hands a connection on without asking it anything."""


def seal_of(connection: Connection) -> FactsSeal | None:
    """What vouches for studies that are written by this connection; None where nothing does."""
    found = connection.get_execution_options().get(_VOUCHING)
    return found if isinstance(found, FactsSeal) else None


class IndexEngine:
    """One database. Make it with `open`, `open_read_only` or `storage.index.postgresql.open_postgresql`; `close` it.

    Safe to share among threads.
    """

    def __init__(
        self,
        readers: Engine,
        writer: Connection | None,
        *,
        path: Path | None = None,
        failures: tuple[type[Exception], ...] = (sqlite3.Error,),
        seal: FactsSeal | None = None,
        alone: bool = False,
    ) -> None:
        """Not to be called.

        Args:
            readers: connections that cannot write.
            writer: the one that can; None: nothing is written.
            path: the file that is left behind as one when all is closed, if it is a file.
            failures: what the driver raises.
            seal: what vouches for what policy reads of studies; None: nothing does.
            alone: nobody else can write the database while this engine is open.
        """
        self._path = path
        self._readers = readers
        self._writer = writer.execution_options(**{_VOUCHING: seal}) if writer is not None else None
        self.seal = seal
        self._failures: tuple[type[Exception], ...] = (SQLAlchemyError, *failures)
        self._alone = alone
        self._changes = 0
        self._writing = threading.Lock()
        self._writing_thread: int | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        prepare: Callable[[Connection], None] | None = schema.prepare,
        durable: bool = True,
        seal: FactsSeal | None = None,
    ) -> "IndexEngine":
        """Open for writing, the only opener that does; make the database if there is none.

        Args:
            path: the database file.
            prepare: makes what is missing, in the first transaction. None: a database whose tables others make.
            durable: each transaction is on stable storage when it ends. If not, a power loss may undo the last ones, in
                their order, but never a part of one: enough for what can be told again.
            seal: what vouches for what policy reads of studies; None: nothing does.

        Raises:
            IndexFault: the file is not a database, or one of another version.
        """
        path = path.absolute()
        # Made before SQLite does, so that it and the files beside it, which copy its mode, are the owner's alone.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with _translated((SQLAlchemyError, sqlite3.Error)):
            writer = _writing_engine(path, durable=durable).connect()
        return cls(_reading_engine(path, pooled=True), writer, path=path, seal=seal, alone=True).prepared(prepare)

    @classmethod
    def open_read_only(cls, path: Path) -> "IndexEngine":
        """Open beside a live server, or without one. No connection outlives a `reading` block, nothing is written.

        Raises:
            IndexFault: there is no database, or it cannot be read.
        """
        engine = cls(_reading_engine(path.absolute(), pooled=False), None, path=path.absolute())
        with engine.reading() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").all()
        return engine

    def prepared(self, prepare: Callable[[Connection], None] | None) -> "IndexEngine":
        """This engine, after a first transaction in which something is made ready; closed if that fails."""
        try:
            with self.writing() as connection:
                if prepare is not None:
                    prepare(connection)
        except BaseException:
            self._disconnect()
            raise
        return self

    @property
    def dialect(self) -> Dialect:
        """What SQL the database speaks."""
        return self._readers.dialect

    @property
    def changes(self) -> int | None:
        """Another number once a transaction was written: what was read before may be old. None: that is not known."""
        return self._changes if self._alone else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that cannot write. No transaction: each statement sees the newest committed state.

        Raises:
            IndexFault: the database failed.
        """
        with _translated(self._failures), self._readers.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """The writer inside a transaction: committed at the end of the block, undone if it raises. Not to be nested.

        Raises:
            IndexFault: the database failed, or it was opened read-only.
        """
        if self._writing_thread == threading.get_ident():
            raise IndexFault("a transaction of the index is begun inside another")
        with self._writing:
            if self._writer is None:
                raise IndexFault("the index is closed, or was opened to be read only")
            self._writing_thread = threading.get_ident()
            try:
                with _translated(self._failures), self._writer.begin():
                    yield self._writer
            finally:
                # After the end of the transaction, so that nobody who reads before it takes that for what is new.
                self._changes += 1
                self._writing_thread = None

    def close(self) -> None:
        """Release everything; after the writer nothing is left beside the database file. Idempotent.

        Raises:
            IndexFault: what is in the write-ahead log could not be brought into the file; the log is kept.
        """
        with self._writing:
            written = self._disconnect()
            if written and self._path is not None:
                _fold_log(self._path)

    def _disconnect(self) -> bool:
        """Close the connections; whether there was a writer."""
        self._readers.dispose()
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            writer.engine.dispose()
        return writer is not None


def _fold_log(path: Path) -> None:
    """Turn the database back into one plain file.

    Left in write-ahead mode, it would make a later read-only opener leave a -wal and a -shm behind. A reader that stays
    for longer than we wait keeps them until the next close, which loses nothing.
    """
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise IndexFault(f"the index could not be closed: {error}") from error


@contextmanager
def _translated(failures: tuple[type[Exception], ...]) -> Iterator[None]:
    """Let no exception of the database layer out."""
    try:
        yield
    except failures as error:
        # The statement and its parameters, which name patients, are left out, and so is what PostgreSQL says of a row.
        origin = getattr(error, "orig", None) or error
        state = getattr(origin, "sqlstate", None)
        said = f"SQLSTATE {state}" if state else str(origin) if isinstance(origin, sqlite3.Error) else ""
        raise IndexFault(f"the index failed: {type(origin).__name__}: {said}") from error


def _writing_engine(path: Path, *, durable: bool) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    engine = create_engine("sqlite+pysqlite://", creator=connect, poolclass=StaticPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver's own BEGIN would come late and deferred: take the write lock at the start or not at all.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _reading_engine(path: Path, *, pooled: bool) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        return connection

    if pooled:
        return create_engine(
            "sqlite+pysqlite://",
            creator=connect,
            poolclass=QueuePool,
            pool_size=READERS,
            max_overflow=0,
            pool_timeout=30,
        )
    return create_engine("sqlite+pysqlite://", creator=connect, poolclass=NullPool)
