"""What auth needs from outside: where users, nodes and presented tokens are kept. Implemented by `archive.records`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

from auth.principal import NodeIdentity


@dataclass(frozen=True, slots=True)
class UserRecord:
    """A local user. ``passcode_hash`` is an argon2id string, None where the person cannot sign in by passcode."""

    name: str
    roles: frozenset[str]
    attributes: Mapping[str, str] = field(default_factory=dict)
    passcode_hash: str | None = field(default=None, repr=False)
    enabled: bool = True


class UserStore(Protocol):
    """Local users."""

    def user(self, name: str) -> UserRecord | None:
        """The user of exactly this name, None if there is none. Disabled users are returned as such."""

    def replace_hash(self, name: str, passcode_hash: str, *, instead_of: str) -> None:
        """Keep a hash made anew with stronger parameters, unless the kept one is no longer ``instead_of``.

        The passcode may have been changed, or the user removed, while the new hash was computed; that stands.
        """


class CommitmentReply(Enum):
    """Where a node is told the results of storage commitment (PS3.4 J.3.3)."""

    SAME = "same"
    """On the association that it asked on, while that lasts; else on a new one."""
    NEW = "new"
    """Always on a new one."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A registered node: its identity, and where it is reached when the archive connects to it."""

    identity: NodeIdentity
    certificate: bytes | None = field(default=None, repr=False)
    """DER; None for a plain node."""
    host: str | None = None
    port: int | None = None
    commitment: CommitmentReply = CommitmentReply.SAME


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """One certificate of a node beside the one in its record."""

    node: str
    fingerprint: str
    certificate: bytes = field(repr=False)
    """DER."""
    until: datetime | None = None
    """From then on it is not accepted any more, whatever it says itself; None: as long as it says."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """One certificate that was revoked here."""

    fingerprint: str
    serial: int
    node: str
    """Whose it was."""
    moment: datetime
    why: str


class NodeStore(Protocol):
    """Registered nodes."""

    def by_fingerprint(self, fingerprint: str) -> NodeIdentity | None:
        """The node whose certificate has this SHA-256 fingerprint (lower-case hexadecimal)."""

    def by_title(self, ae_title: str) -> NodeIdentity | None:
        """The plain (no TLS) node that may use this AE title; None if there is none or it has a certificate."""

    def title_taken(self, ae_title: str) -> bool:
        """Whether an AE title belongs to a registered node, whatever its trust."""

    def revoked(self, fingerprint: str) -> bool:
        """Whether a certificate was revoked here."""

    def pinned_certificates(self) -> tuple[bytes, ...]:
        """DER of every pinned certificate, for the TLS trust anchors."""


class Presentation(Enum):
    """How a token relates to what was presented before."""

    FIRST = "first"
    AGAIN = "again"
    """By the node that presented it first."""
    ELSEWHERE = "elsewhere"
    """By another node than the first."""
    SPENT = "spent"
    """It is good for one presentation, and had it."""


class PresentedTokens(Protocol):
    """Which verified tokens were presented, and by whom; remembered across restarts and processes."""

    def present(self, issuer: str, token_id: str, *, node: str, until: datetime, once: bool) -> Presentation:
        """Note that a token was presented; atomic, and durable on return.

        Args:
            issuer: who made the token; ids are unique within an issuer only.
            token_id: the token's own id, or a digest of what its signature covers.
            node: the presenting node (`presenter`).
            until: when the token ends, so that it need not be remembered any longer.
            once: it is good for one presentation only.
        """


def presenter(node: NodeIdentity) -> str:
    """What a token is bound to at its first use: the certificate, or the name of a node without one."""
    return node.fingerprint or f"plain:{node.name}"
