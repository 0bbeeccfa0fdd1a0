"""Which masked instances have left, and of which originals: so that one that comes back is known for what it is.

Rows are only ever added. A masked instance's UID says nothing of its original without this table or the archive's key.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Column, Connection, String, Table, insert, select

from archive.records.tables import METADATA, RecordsDatabase, create_tables

PREFIX: Final = "2.25."
"""Of every masked UID (`storage.confidentiality.mask`)."""
_PAGE: Final = 500

MASKED: Final = Table(
    "record_masked",
    METADATA,
    Column("masked", String(64), primary_key=True),
    Column("original", String(64), nullable=False),
)


class MaskedRecords:
    """The map from masked SOP Instance UIDs to those of their originals. Thread-safe."""

    def __init__(self, database: RecordsDatabase) -> None:
        self._database = database
        with database.writing() as connection:
            create_tables(connection)

    def keep(self, originals: Mapping[str, str]) -> None:
        """Remember the originals by masked UID, durably; what is known already stays.

        Raises:
            IndexFault: the database failed; nothing of these may leave.
        """
        known = self._known(originals)
        new = [
            {"masked": masked, "original": original} for masked, original in originals.items() if masked not in known
        ]
        if new:
            with self._database.writing() as connection:
                there = _known(connection, [row["masked"] for row in new])
                missing = [row for row in new if row["masked"] not in there]
                if missing:
                    connection.execute(insert(MASKED), missing)

    def original(self, masked: str) -> str | None:
        """The original of a masked instance; None: no masked instance of that UID has left."""
        if not masked.startswith(PREFIX):
            return None
        with self._database.reading() as connection:
            found = connection.execute(select(MASKED.c.original).where(MASKED.c.masked == masked)).scalar()
        return None if found is None else str(found)

    def _known(self, masked: Iterable[str]) -> set[str]:
        uids = list(masked)
        known: set[str] = set()
        for start in range(0, len(uids), _PAGE):
            with self._database.reading() as connection:
                known |= _known(connection, uids[start : start + _PAGE])
        return known


def _known(connection: Connection, uids: list[str]) -> set[str]:
    return {row.masked for row in connection.execute(select(MASKED.c.masked).where(MASKED.c.masked.in_(uids)))}
