"""The whole content of an index in one canonical form: two are equal where the databases say the same.

Row keys are replaced by what they stand for; the bookkeeping of the index about itself is left out.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

_KEYS = {
    "study_fk": "SELECT id, study_uid FROM study",
    "series_fk": (
        "SELECT series.id, study.study_uid || '/' || series_uid FROM series JOIN study ON study.id = series.study_fk"
    ),
}
_ITSELF = frozenset({"index_state"})
Dump = dict[str, list[dict[str, Any]]]


def index_dump(path: Path) -> Dump:
    """Every row of every table, by table, in an order that does not depend on how it came there."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        names = {column: dict(connection.execute(statement)) for column, statement in _KEYS.items()}
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            table: sorted(_rows(connection, table, names), key=repr)
            for table in sorted(tables)
            if table not in _ITSELF and not table.startswith("sqlite_")
        }


def postgresql_dump(url: str) -> Dump:
    """As `index_dump`, of an index in PostgreSQL."""
    with psycopg.connect(url) as connection:
        names = {column: dict(connection.execute(statement).fetchall()) for column, statement in _KEYS.items()}
        tables = [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        return {
            table: sorted(_rows(connection, table, names), key=repr) for table in sorted(tables) if table not in _ITSELF
        }


def _rows(connection: Any, table: str, names: dict[str, dict[int, str]]) -> list[dict[str, Any]]:
    found = connection.execute(f"SELECT * FROM {table}")
    columns = [column[0] for column in found.description]
    rows = []
    for values in found:
        row = dict(zip(columns, values, strict=True))
        row.pop("id", None)
        rows.append({name: names[name][value] if name in names else value for name, value in row.items()})
    return rows
