"""Nodes, people and sessions as admission would have made them."""

from collections.abc import Iterable
from datetime import UTC, datetime

from archive.enforcement.standing import RegisteredStanding
from archive.session import AssociationSession
from auth.identity.chain import Chain
from auth.identity.passcode import LocalPasscodes
from auth.identity.username import AssertedUsers
from auth.ports import NodeStore, UserStore
from auth.principal import Assurance, IdentityDemand, NodeIdentity, NodeTrust, Principal

FINGERPRINT = "5e" * 32


def node(*roles: str, name: str = "WS1", trust: NodeTrust = NodeTrust.ISSUED) -> NodeIdentity:
    """A registered node."""
    return NodeIdentity(
        name=name,
        ae_titles=frozenset({name}),
        roles=frozenset(roles),
        identity=IdentityDemand.OPTIONAL,
        identity_types=None,
        asserts_roles=frozenset(),
        trust=trust,
        fingerprint=None if trust is NodeTrust.PLAIN else FINGERPRINT,
    )


def person(*roles: str, name: str = "alice", **attributes: str) -> Principal:
    """A verified person."""
    return Principal(name, frozenset(roles), attributes)


def assurance(who: Principal | None) -> Assurance:
    """A person by passcode over TLS, or a node over TLS."""
    return Assurance(2, True, "local") if who else Assurance(None, True)


def session(at: NodeIdentity | Iterable[str], who: Principal | None = None) -> AssociationSession:
    """An admitted association, at a node or at one with these roles."""
    machine = at if isinstance(at, NodeIdentity) else node(*at)
    return AssociationSession(
        node=machine,
        principal=who,
        assurance=assurance(who),
        calling_ae=machine.name,
        called_ae="STRONGROOM",
        peer_address="127.0.0.1",
        correlation_id="c0ffee",
        established=datetime(2026, 1, 1, tzinfo=UTC),
    )


def standing(nodes: NodeStore, users: UserStore) -> RegisteredStanding:
    """By the registers, for people whom the archive itself vouches for."""
    people = Chain([AssertedUsers(users), LocalPasscodes(users)])
    return RegisteredStanding(nodes, people, lambda: datetime.now(UTC))


class Unthrottled:
    """Lets every attempt be examined, and forgets how it ended."""

    def admit(self, name: str | int, source: str) -> None:
        pass

    def failed(self, name: str | int, source: str) -> None:
        pass

    def succeeded(self, name: str | int, source: str) -> None:
        pass
