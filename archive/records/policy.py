"""Which policy set was put in force last, under seal: so that one that was changed past every verb is told of."""

from sqlalchemy import Column, Connection, String, Table, delete, insert, select

from archive.records.kept import Kept
from archive.records.seal import sealer
from archive.records.tables import METADATA, RecordsDatabase

ADOPTED = Table("record_policy", METADATA, Column("fingerprint", String(64), primary_key=True))


class PolicyRecord:
    """The fingerprint of the policies in force. Thread-safe."""

    def __init__(self, database: RecordsDatabase, *, key: bytes | None = None) -> None:
        """``key`` seals it.

        Raises:
            RecordsDamaged: it is not what was sealed.
        """
        self._kept: Kept[str] = Kept(database, "policy", _read, sealer(key, "policy", ADOPTED))

    @property
    def fingerprint(self) -> str:
        """Of the set that was adopted last; empty where none ever was."""
        return self._kept.rows

    def adopt(self, fingerprint: str) -> None:
        """This set is in force from now on."""
        if fingerprint != self.fingerprint:
            with self._kept.changing() as connection:
                connection.execute(delete(ADOPTED))
                connection.execute(insert(ADOPTED).values(fingerprint=fingerprint))


def _read(connection: Connection) -> str:
    return str(connection.execute(select(ADOPTED.c.fingerprint)).scalar() or "")
