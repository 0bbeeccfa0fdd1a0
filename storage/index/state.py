"""How far the index has come: the ledger position of its rows, and whether it is being rebuilt.

Whoever reads in pages asks for the `generation` before the first and after each: rows that a rebuild made anew do not
continue those of before.
"""

from typing import Final

from sqlalchemy import Connection, bindparam, delete, select, update

from storage.errors import StoreNotReady
from storage.index.prepared import Prepared
from storage.index.schema import METADATA, STATE

_POSITION: Final = "position"
_REBUILDING: Final = "rebuilding"
_GENERATION: Final = "generation"
_VALUE: Final = Prepared(select(STATE.c.value).where(STATE.c.key == bindparam("asked")))
_ADVANCE: Final = Prepared(update(STATE).where(STATE.c.key == bindparam("asked")).values(value=bindparam("reached")))


def position(connection: Connection) -> int:
    """The ledger sequence that the rows have reached; 0 if none."""
    return int(_value(connection, _POSITION) or 0)


def advance(connection: Connection, sequence: int) -> None:
    """Say that the rows have reached this ledger sequence; in the transaction that writes them. Never goes back."""
    if sequence > position(connection):
        _ADVANCE.run(connection, [{"asked": _POSITION, "reached": str(sequence)}])


def rebuilding(connection: Connection) -> bool:
    """Whether a rebuild was begun and not ended: what the rows say is not complete."""
    return _value(connection, _REBUILDING) == "yes"


def generation(connection: Connection) -> str:
    """Which rebuild the rows come from.

    Raises:
        StoreNotReady: the index is being rebuilt.
    """
    if rebuilding(connection):
        raise StoreNotReady("the index is being rebuilt")
    return _value(connection, _GENERATION) or "0"


def begin_rebuild(connection: Connection) -> None:
    """Empty the index and go back to position 0; queries are refused until `end_rebuild`."""
    for table in reversed(METADATA.sorted_tables):
        if table is not STATE:
            connection.execute(delete(table))
    _set(connection, _POSITION, "0")
    _set(connection, _GENERATION, str(int(_value(connection, _GENERATION) or 0) + 1))
    _set(connection, _REBUILDING, "yes")


def end_rebuild(connection: Connection) -> None:
    """The rows are complete again."""
    _set(connection, _REBUILDING, "no")


def _value(connection: Connection, key: str) -> str | None:
    rows = _VALUE.rows(connection, asked=key)
    return str(rows[0][0]) if rows else None


def _set(connection: Connection, key: str, value: str) -> None:
    connection.execute(delete(STATE).where(STATE.c.key == key))
    connection.execute(STATE.insert().values(key=key, value=value))
