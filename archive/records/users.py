"""Local users: kept in the database, looked up in memory. Implements `auth.ports.UserStore`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from sqlalchemy import Connection, delete, insert, select, update

from archive.records.kept import Kept
from archive.records.seal import sealer
from archive.records.tables import USER, RecordsDatabase, user_of, user_row
from auth.errors import RecordExists, RecordInvalid, RecordMissing
from auth.names import checked_attributes, checked_roles, checked_username
from auth.ports import UserRecord

_HASH_PREFIX = "$argon2id$"
_MAX_HASH_LENGTH = 512


class UserRecords:
    """The users of one archive. Thread-safe; every change is durable when the call returns."""

    def __init__(
        self, database: RecordsDatabase, *, known_roles: frozenset[str] | None = None, key: bytes | None = None
    ) -> None:
        """``known_roles``: the roles that a user may be given; None: any well-formed word. ``key`` seals the rows.

        Raises:
            RecordsDamaged: the rows are not what was sealed.
        """
        self._known_roles = known_roles
        self._kept: Kept[Mapping[str, UserRecord]] = Kept(database, "user", _read, sealer(key, "user", USER))

    @property
    def generation(self) -> int:
        """Grows with every change of what a user is or may do; what was decided under another number is stale."""
        return self._kept.generation

    def user(self, name: str) -> UserRecord | None:
        """The user of exactly this name, from memory; disabled ones too."""
        return self._kept.rows.get(name)

    def all(self) -> tuple[UserRecord, ...]:
        """All users by name."""
        return tuple(user for _, user in sorted(self._kept.rows.items()))

    def add(
        self,
        name: str,
        *,
        roles: Iterable[str] = (),
        attributes: Mapping[str, str] | None = None,
        passcode_hash: str | None = None,
    ) -> UserRecord:
        """Keep a new, enabled user.

        Args:
            name: see `auth.names.checked_username`.
            roles: may be empty: a user without a role is permitted nothing.
            attributes: what policies read of the person.
            passcode_hash: from `auth.identity.passcode.hash_passcode`; None: cannot sign in by passcode.

        Raises:
            RecordInvalid: a part is not well-formed.
            RecordExists: a user of that name is there.
        """
        user = UserRecord(
            name=checked_username(name),
            roles=checked_roles(roles, self._known_roles),
            attributes=checked_attributes(attributes or {}),
            passcode_hash=_checked_hash(passcode_hash),
        )
        with self._kept.changing() as connection:
            if connection.execute(select(USER.c.name).where(USER.c.name == user.name)).first() is not None:
                raise RecordExists(f"a user `{user.name}` is already there")
            connection.execute(insert(USER).values(user_row(user)))
        return user

    def remove(self, name: str) -> None:
        """Forget a user; open associations of theirs are denied at the next operation.

        Raises:
            RecordMissing: no user of that name.
        """
        with self._kept.changing() as connection:
            if connection.execute(delete(USER).where(USER.c.name == name)).rowcount == 0:
                raise RecordMissing("no user of that name")

    def set_enabled(self, name: str, enabled: bool) -> UserRecord:
        """Disable a user, who is then refused everywhere, or enable them again.

        Raises:
            RecordMissing: no user of that name.
        """
        return self._change(name, lambda user: replace(user, enabled=enabled))

    def set_roles(self, name: str, roles: Iterable[str]) -> UserRecord:
        """Give a user these roles and no others.

        Raises:
            RecordInvalid: a role is not well-formed or not known.
            RecordMissing: no user of that name.
        """
        checked = checked_roles(roles, self._known_roles)
        return self._change(name, lambda user: replace(user, roles=checked))

    def set_passcode(self, name: str, passcode_hash: str | None) -> UserRecord:
        """Keep the hash of a new passcode; None: the user can no longer sign in by passcode.

        Raises:
            RecordInvalid: not an argon2id string.
            RecordMissing: no user of that name.
        """
        checked = _checked_hash(passcode_hash)
        return self._change(name, lambda user: replace(user, passcode_hash=checked))

    def replace_hash(self, name: str, passcode_hash: str, *, instead_of: str) -> None:
        """Keep a stronger hash of the same passcode, if the old one still is. No right changes: no new generation.

        Raises:
            RecordInvalid: not an argon2id string.
        """
        same = (USER.c.name == name) & (USER.c.passcode_hash == instead_of)
        with self._kept.changing(counts=False) as connection:
            connection.execute(update(USER).where(same).values(passcode_hash=_checked_hash(passcode_hash)))

    def refresh(self) -> None:
        """Read the database again, as after a change by another process."""
        self._kept.refresh()

    def _change(self, name: str, change: Callable[[UserRecord], UserRecord]) -> UserRecord:
        with self._kept.changing() as connection:
            row = connection.execute(select(USER).where(USER.c.name == name)).mappings().first()
            if row is None:
                raise RecordMissing("no user of that name")
            user = change(user_of(row))
            connection.execute(update(USER).where(USER.c.name == name).values(user_row(user)))
        return user


def _read(connection: Connection) -> Mapping[str, UserRecord]:
    return {row["name"]: user_of(row) for row in connection.execute(select(USER)).mappings()}


def _checked_hash(passcode_hash: str | None) -> str | None:
    """An argon2id string, so that a passcode handed over by mistake is not kept in clear."""
    if passcode_hash is not None and not (
        passcode_hash.startswith(_HASH_PREFIX) and len(passcode_hash) <= _MAX_HASH_LENGTH
    ):
        raise RecordInvalid("a passcode is kept as an argon2id string only")
    return passcode_hash
