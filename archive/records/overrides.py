"""Broken glass: who may reach more than their role gives them at which node, until when, why, and who reviewed it.

Kept in the database, looked up in memory. An override counts from when it is kept until its end, or until it is closed;
afterwards it waits in the queue of those that nobody has reviewed. Rows are never removed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from sqlalchemy import BigInteger, Boolean, Column, Connection, String, Table, Text, insert, select, update

from archive.records.kept import Kept
from archive.records.seal import sealer
from archive.records.tables import METADATA, RecordsDatabase
from auth.errors import RecordInvalid, RecordMissing
from auth.identity.glass import checked_reason

LONGEST: Final = timedelta(minutes=60)

OVERRIDE: Final = Table(
    "record_override",
    METADATA,
    Column("id", String(8), primary_key=True),
    Column("person", String(256), nullable=False),
    Column("node", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("opened_by", String(256), nullable=False),
    Column("begins", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),
    Column("ended", Boolean, nullable=False),
    Column("reviewed_by", String(256), nullable=False),
    Column("note", Text, nullable=False),
)
"""Times in whole seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Override:
    """One breaking of the glass."""

    id: str
    person: str
    node: str
    reason: str
    opened_by: str
    """The person, or the operator who opened it for them."""
    begins: datetime
    ends: datetime
    ended: bool = False
    """Its end was told to the audit."""
    reviewed_by: str = ""
    note: str = ""


class OverrideRecords:
    """The overrides of one archive. Thread-safe; every change is durable when the call returns."""

    def __init__(
        self,
        database: RecordsDatabase,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        key: bytes | None = None,
    ) -> None:
        """``clock`` gives aware times; ``key`` seals the rows.

        Raises:
            RecordsDamaged: the rows are not what was sealed.
        """
        self._clock = clock
        seal = sealer(key, "override", OVERRIDE)
        self._kept: Kept[Mapping[str, Override]] = Kept(database, "override", _read, seal)

    def active(self, person: str, node: str) -> Override | None:
        """The override that counts for a person at a node now, from memory; None: there is none."""
        now = self._clock()
        for override in self._kept.rows.values():
            if (override.person, override.node) == (person, node) and override.begins <= now < override.ends:
                return override
        return None

    def all(self) -> tuple[Override, ...]:
        """All of them, the newest first."""
        return tuple(sorted(self._kept.rows.values(), key=lambda override: override.begins, reverse=True))

    def over(self) -> tuple[Override, ...]:
        """Those that count no more, and whose end was not told yet."""
        now = self._clock()
        return tuple(override for override in self._kept.rows.values() if not override.ended and override.ends <= now)

    def prepared(self, person: str, node: str, reason: str, opened_by: str, lasts: timedelta = LONGEST) -> Override:
        """An override that is not kept yet.

        Raises:
            RecordInvalid: no reason, or one that is none; longer than `LONGEST`, or no time at all.
        """
        if not timedelta(seconds=1) <= lasts <= LONGEST:
            raise RecordInvalid(f"glass is broken for 1 to {LONGEST.seconds // 60} minutes")
        begins = self._clock().replace(microsecond=0)
        return Override(uuid4().hex[:8], person, node, checked_reason(reason), opened_by, begins, begins + lasts)

    def keep(self, override: Override) -> None:
        """It counts from now on."""
        with self._kept.changing() as connection:
            connection.execute(insert(OVERRIDE).values(_row(override)))

    def close(self, identifier: str) -> Override:
        """It counts no more from now on. Raises `RecordMissing`."""
        now = self._clock().replace(microsecond=0)
        return self._change(identifier, lambda override: replace(override, ends=min(override.ends, now)))

    def told(self, identifier: str) -> None:
        """Its end is in the audit. Raises `RecordMissing`."""
        self._change(identifier, lambda override: replace(override, ended=True))

    def reviewed(self, identifier: str, by: str, note: str) -> Override:
        """Somebody looked at it, and says what they found.

        Raises:
            RecordMissing: no override of that id.
            RecordInvalid: it still counts, or the note is empty.
        """
        override = self.override(identifier)
        if override.ends > self._clock():
            raise RecordInvalid("it still counts: close it first")
        words = checked_reason(note)
        return self._change(identifier, lambda found: replace(found, reviewed_by=by, note=words))

    def override(self, identifier: str) -> Override:
        """The override of this id. Raises `RecordMissing`."""
        found = self._kept.rows.get(identifier)
        if found is None:
            raise RecordMissing("nobody broke the glass under that id")
        return found

    def _change(self, identifier: str, change: Callable[[Override], Override]) -> Override:
        changed = change(self.override(identifier))
        with self._kept.changing() as connection:
            connection.execute(update(OVERRIDE).where(OVERRIDE.c.id == identifier).values(_row(changed)))
        return changed


def _read(connection: Connection) -> Mapping[str, Override]:
    return {row["id"]: _override(dict(row)) for row in connection.execute(select(OVERRIDE)).mappings()}


def _override(row: dict[str, object]) -> Override:
    times = {name: datetime.fromtimestamp(int(str(row[name])), UTC) for name in ("begins", "ends")}
    return Override(**{**row, **times})  # type: ignore[arg-type]  # the columns are the fields


def _row(override: Override) -> dict[str, object]:
    names = [column.name for column in OVERRIDE.c]
    row: dict[str, object] = {name: getattr(override, name) for name in names}
    return row | {"begins": int(override.begins.timestamp()), "ends": int(override.ends.timestamp())}
