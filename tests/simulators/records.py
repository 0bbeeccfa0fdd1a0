"""Records for tests: the stores of `auth.ports` in plain dictionaries, and a throw-away database for the real ones."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from auth.ports import NodeRecord, UserRecord
from auth.principal import IdentityDemand, NodeIdentity, NodeTrust


class MemoryUsers:
    """`auth.ports.UserStore` without a database."""

    def __init__(self, *users: UserRecord) -> None:
        self.users: dict[str, UserRecord] = {user.name: user for user in users}

    def user(self, name: str) -> UserRecord | None:
        return self.users.get(name)

    def replace_hash(self, name: str, passcode_hash: str, *, instead_of: str) -> None:
        user = self.users.get(name)
        if user is not None and user.passcode_hash == instead_of:
            self.users[name] = replace(user, passcode_hash=passcode_hash)


class MemoryNodes:
    """`auth.ports.NodeStore` without a database."""

    def __init__(self, *nodes: NodeRecord) -> None:
        self.nodes: dict[str, NodeRecord] = {node.identity.name: node for node in nodes}
        self.revoked_fingerprints: set[str] = set()

    def by_fingerprint(self, fingerprint: str) -> NodeIdentity | None:
        found = [n.identity for n in self.nodes.values() if n.identity.fingerprint == fingerprint]
        return found[0] if found else None

    def by_title(self, ae_title: str) -> NodeIdentity | None:
        plain = [n.identity for n in self.nodes.values() if n.identity.trust is NodeTrust.PLAIN]
        found = [identity for identity in plain if ae_title in identity.ae_titles]
        return found[0] if found else None

    def owner_of(self, ae_title: str) -> NodeRecord | None:
        return next((n for n in self.nodes.values() if ae_title in n.identity.ae_titles), None)

    def title_taken(self, ae_title: str) -> bool:
        return any(ae_title in n.identity.ae_titles for n in self.nodes.values())

    def revoked(self, fingerprint: str) -> bool:
        return fingerprint in self.revoked_fingerprints

    def pinned_certificates(self) -> tuple[bytes, ...]:
        pinned = [n for n in self.nodes.values() if n.identity.trust is NodeTrust.PINNED]
        return tuple(n.certificate for n in pinned if n.certificate is not None)


class MemoryDatabase:
    """What `archive.records` needs of the index's engine: one SQLite connection that keeps everything in memory."""

    def __init__(self) -> None:
        self.engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def node_identity(name: str = "CT1", **changes: object) -> NodeIdentity:
    """A plain node that must say who is at it, with what a test changes."""
    values: dict[str, object] = {
        "name": name,
        "ae_titles": frozenset({name}),
        "roles": frozenset(),
        "identity": IdentityDemand.REQUIRED,
        "identity_types": None,
        "asserts_roles": frozenset(),
        "trust": NodeTrust.PLAIN,
        "fingerprint": None,
    }
    return NodeIdentity(**(values | changes))  # type: ignore[arg-type]


def user_record(name: str = "anna", roles: tuple[str, ...] = (), **changes: object) -> UserRecord:
    """An enabled user, with what a test changes."""
    attributes: Mapping[str, str] = {}
    values: dict[str, object] = {"name": name, "roles": frozenset(roles), "attributes": attributes}
    return UserRecord(**(values | changes))  # type: ignore[arg-type]
