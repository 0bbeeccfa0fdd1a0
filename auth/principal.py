"""Who is asking: the node, the person, and how sure we are. Verified once, then carried unchanged (frozen)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import MappingProxyType


class IdentityDemand(Enum):
    """Whether a node must say who is at it (PS3.7 D.3.3.7)."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    """An offered identity is verified, and a bad one refused."""
    NONE = "none"
    """An offered identity is not read; the association runs as the node alone."""


class NodeTrust(Enum):
    """Why a node's certificate is believed."""

    ISSUED = "issued"
    """By our node CA."""
    PINNED = "pinned"
    """This very certificate, byte for byte; it validates nothing else."""
    FACILITY = "facility"
    """By an authority of the facility: a node that nobody registered, named for its key."""
    PLAIN = "plain"
    """No TLS at all: only under the word ``insecure``."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """A registered peer: the machine behind a certificate, and what its registration allows."""

    name: str
    """Its registered AE title, and the name that policy and audit use."""
    ae_titles: frozenset[str]
    roles: frozenset[str]
    identity: IdentityDemand
    identity_types: frozenset[int] | None
    """User identity types it may use (PS3.7 Table D.3-14); None: every configured one."""
    asserts_roles: frozenset[str]
    """Roles that a bare username (type 1) from this node can have at most; empty: type 1 is not believed."""
    trust: NodeTrust
    fingerprint: str | None
    """SHA-256 of its certificate (DER), lower-case hexadecimal."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A person whose identity was verified."""

    name: str
    roles: frozenset[str]
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Assurance:
    """How the person and the node were verified; policy may demand more of either."""

    identity_type: int | None
    """PS3.7 user identity type, None without a person."""
    tls: bool
    verified_by: str | None = None
    """The provider that vouched: ``local``, a directory, an issuer."""
    valid_until: datetime | None = None
    """From then on the identity is past its time, and the association is refused its next operation; None: never."""
