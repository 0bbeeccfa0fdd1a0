"""A keyed seal over each kind of record: what decides who may do what is what this archive wrote, or nothing is served.

One MAC over all rows of a kind and its generation: a row that was changed, added, taken away or brought
from elsewhere is found when the rows are read. What it cannot show is a whole database set back to an earlier state;
the ledger can (``authority`` events).
"""

import hmac
import json
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Column, Connection, LargeBinary, String, Table, select

from archive.errors import RecordsDamaged
from archive.records.tables import METADATA

SEAL: Final = Table(
    "record_seal",
    METADATA,
    Column("kind", String(16), primary_key=True),
    Column("mac", LargeBinary(32), nullable=False),
)


def sealer(key: bytes | None, kind: str, *tables: Table) -> "Sealer | None":
    """What vouches for one kind of record under a key of the archive; None where no key is given."""
    return None if key is None else Sealer(key, kind, tables)


class Sealer:
    """Seals and checks one kind of record."""

    def __init__(self, key: bytes, kind: str, tables: Sequence[Table]) -> None:
        self._key = hmac.digest(key, b"records", "sha256")
        self._kind = kind
        self._tables = tables

    def seal(self, connection: Connection, generation: int) -> None:
        """Vouch for the rows as they are, in the transaction that changed them."""
        mac = self._mac(connection, generation)
        changed = SEAL.update().where(SEAL.c.kind == self._kind).values(mac=mac)
        if connection.execute(changed).rowcount == 0:
            connection.execute(SEAL.insert().values(kind=self._kind, mac=mac))

    def check(self, connection: Connection, generation: int) -> None:
        """Hold the rows to their seal; rows that never were have none.

        Raises:
            RecordsDamaged: they are not what this archive wrote.
        """
        found = connection.execute(select(SEAL.c.mac).where(SEAL.c.kind == self._kind)).scalar()
        if found is None and generation == 0 and not any(self._rows(connection)):
            return
        if found is None or not hmac.compare_digest(bytes(found), self._mac(connection, generation)):
            raise RecordsDamaged(f"the records of each {self._kind} are not what this archive wrote")

    def _mac(self, connection: Connection, generation: int) -> bytes:
        said = [self._kind, generation, [[table.name for table in self._tables], *self._rows(connection)]]
        text = json.dumps(said, ensure_ascii=True, separators=(",", ":"), default=bytes.hex)
        return hmac.digest(self._key, text.encode("ascii"), "sha256")

    def _rows(self, connection: Connection) -> list[list[list[object]]]:
        return [
            [list(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for table in self._tables
        ]
