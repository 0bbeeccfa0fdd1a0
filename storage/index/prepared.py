"""Statements of the paths that are taken often: written by SQLAlchemy once, executed by the driver itself.

What SQLAlchemy does around each execution costs ten times what such a statement costs, and the committer does it while
every sender waits for the interpreter; so does whatever it makes of each row of a long answer. What must never live
here: SQL text.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from sqlalchemy import Connection, Dialect, Insert, Select, Update
from sqlalchemy.sql.compiler import SQLCompiler

_Statement: TypeAlias = Select[Any] | Insert | Update


class _Cursor(Protocol):
    """What is asked of a driver's cursor (PEP 249)."""

    def execute(self, sql: str, parameters: Sequence[object] | Mapping[str, object], /) -> object: ...

    def fetchall(self) -> Sequence[Any]: ...

    def close(self) -> None: ...


class Prepared:
    """One statement, compiled when a dialect first needs it. Values are text, numbers and bytes, as drivers take them.

    The driver's exceptions come out as they are; `IndexEngine` translates them at its border.
    """

    def __init__(self, statement: _Statement, columns: Iterable[str] | None = None) -> None:
        """``columns``: those that an insert names; all if None."""
        self._statement: Final = statement
        self._columns = None if columns is None else list(columns)
        self._compiled: dict[str, tuple[str, tuple[str, ...] | None]] = {}

    def rows(self, connection: Connection, **values: object) -> list[tuple[Any, ...]]:
        """The rows that a selection gives."""
        cursor, (sql, order) = self._on(connection)
        try:
            cursor.execute(sql, values if order is None else [values[name] for name in order])
            return list(cursor.fetchall())
        finally:
            cursor.close()

    def run(self, connection: Connection, values: Iterable[Mapping[str, object]]) -> None:
        """Execute for each set of values."""
        cursor, (sql, order) = self._on(connection)
        try:
            for each in values:
                cursor.execute(sql, each if order is None else [each[name] for name in order])
        finally:
            cursor.close()

    def _on(self, connection: Connection) -> tuple[_Cursor, tuple[str, tuple[str, ...] | None]]:
        dialect = connection.dialect
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = self._compiled[dialect.name] = self._compile(dialect)
        cursor: _Cursor = connection.connection.cursor()
        return cursor, compiled

    def _compile(self, dialect: Dialect) -> tuple[str, tuple[str, ...] | None]:
        """The SQL, and the order of its values where the driver takes them by position."""
        compiled = self._statement.compile(dialect=dialect, column_keys=self._columns)
        assert isinstance(compiled, SQLCompiler)
        return str(compiled), None if compiled.positiontup is None else tuple(compiled.positiontup)


class Paged:
    """A selection, compiled once, and run by the driver for each page with the values that the statement left open."""

    def __init__(self, statement: Select[Any], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        assert isinstance(compiled, SQLCompiler)
        self._sql = str(compiled)
        self._order = None if compiled.positiontup is None else tuple(compiled.positiontup)
        self._values = dict(compiled.construct_params(_check=False))

    def rows(self, connection: Connection, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """One page."""
        given = {**self._values, **values}
        cursor: _Cursor = connection.connection.cursor()
        try:
            cursor.execute(self._sql, given if self._order is None else [given[name] for name in self._order])
            return list(cursor.fetchall())
        finally:
            cursor.close()
