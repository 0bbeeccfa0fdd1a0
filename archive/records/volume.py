"""How many objects each person has retrieved today: what a volume budget is counted against, across restarts."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import BigInteger, Column, Integer, String, Table, delete, insert, select, update

from archive.records.tables import METADATA, RecordsDatabase, create_tables

VOLUME: Final = Table(
    "record_volume",
    METADATA,
    Column("person", String(256), primary_key=True),
    Column("day", Integer, primary_key=True),
    Column("objects", BigInteger, nullable=False),
)
"""``day`` is a date of UTC, YYYYMMDD."""


class VolumeRecords:
    """Objects by person and day. Thread-safe; several processes may share the database."""

    def __init__(self, database: RecordsDatabase, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """``clock`` gives aware times."""
        self._database = database
        self._clock = clock
        with database.writing() as connection:
            create_tables(connection)

    def take(self, person: str, objects: int, limit: int) -> bool:
        """Count objects for a person if they stay within the limit of a day; whether they do. All or nothing.

        Raises:
            IndexFault: the database failed, and nothing may be taken.
        """
        today = int(self._clock().astimezone(UTC).strftime("%Y%m%d"))
        row = (VOLUME.c.person == person) & (VOLUME.c.day == today)
        with self._database.writing() as connection:
            taken = connection.execute(select(VOLUME.c.objects).where(row)).scalar()
            if (taken or 0) + objects > limit:
                return False
            if taken is None:
                connection.execute(delete(VOLUME).where(VOLUME.c.day < today))
                connection.execute(insert(VOLUME).values(person=person, day=today, objects=objects))
            else:
                connection.execute(update(VOLUME).where(row).values(objects=taken + objects))
        return True
