"""What auth needs from outside: where users and nodes are kept. Implemented by `archive.records`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A registered node: its identity, and where it is reached when the archive connects to it."""

    identity: NodeIdentity
    certificate: bytes | None = field(default=None, repr=False)
    """DER; None for a plain node."""
    host: str | None = None
    port: int | None = None


class NodeStore(Protocol):
    """Registered nodes."""

    def by_fingerprint(self, fingerprint: str) -> NodeIdentity | None:
        """The node whose certificate has this SHA-256 fingerprint (lower-case hexadecimal)."""

    def by_title(self, ae_title: str) -> NodeIdentity | None:
        """The plain (no TLS) node that may use this AE title; None if there is none or it has a certificate."""

    def pinned_certificates(self) -> tuple[bytes, ...]:
        """DER of every pinned certificate, for the TLS trust anchors."""
