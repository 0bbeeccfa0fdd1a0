"""Rows held whole in memory: looked up by everyone without a lock, changed by one at a time, durably."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Connection

from archive.records.seal import Sealer
from archive.records.tables import RecordsDatabase, advance, create_tables, generation

Rows = TypeVar("Rows")


@dataclass(frozen=True, slots=True)
class _State(Generic[Rows]):
    rows: Rows
    generation: int


class Kept(Generic[Rows]):
    """One kind of record as of the last change.

    A change reads the new state inside its own transaction and publishes it, as one reference, after the commit: a
    reader sees the state before or after, never between, and never one that was not committed.
    """

    def __init__(
        self,
        database: RecordsDatabase,
        kind: str,
        read: Callable[[Connection], Rows],
        sealer: Sealer | None = None,
    ) -> None:
        """``sealer`` vouches for the rows; None: nobody does, as in a copy that is thrown away.

        Raises:
            RecordsDamaged: the rows are not what was sealed.
        """
        self._database = database
        self._kind = kind
        self._read = read
        self._sealer = sealer
        self._lock = threading.Lock()
        with database.writing() as connection:
            create_tables(connection)
            self._state = self._state_of(connection)

    @property
    def rows(self) -> Rows:
        """The state that holds now."""
        return self._state.rows

    @property
    def generation(self) -> int:
        """Grows with every change that counts; never falls, also not across restarts."""
        return self._state.generation

    @contextmanager
    def changing(self, *, counts: bool = True) -> Iterator[Connection]:
        """A transaction for one change; raise inside it, and nothing has happened."""
        with self._lock:
            with self._database.writing() as connection:
                # What somebody else wrote meanwhile is not vouched for by the change that comes next.
                self._check(connection)
                yield connection
                if counts:
                    advance(connection, self._kind)
                if self._sealer is not None:
                    self._sealer.seal(connection, generation(connection, self._kind))
                state = self._state_of(connection)
            self._state = state

    def refresh(self) -> None:
        """Read the database again, as after a change by another process."""
        with self._lock, self._database.reading() as connection:
            self._state = self._state_of(connection)

    def _check(self, connection: Connection) -> None:
        if self._sealer is not None:
            self._sealer.check(connection, generation(connection, self._kind))

    def _state_of(self, connection: Connection) -> _State[Rows]:
        self._check(connection)
        return _State(self._read(connection), generation(connection, self._kind))
