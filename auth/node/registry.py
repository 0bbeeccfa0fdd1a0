"""What a well-formed node registration is, and the defaults that follow. Pure; `archive.records.nodes` keeps it."""

import re
from collections.abc import Iterable
from datetime import datetime

from auth.errors import RecordInvalid
from auth.names import checked_roles, checked_title
from auth.node.peer import checked_registration, fingerprint_of
from auth.ports import CommitmentReply, NodeRecord
from auth.principal import IdentityDemand, NodeIdentity, NodeTrust

MAX_TITLES = 64
IDENTITY_TYPES = frozenset({1, 2, 3, 4, 5})
"""PS3.7 Table D.3-14."""
ROLES_WITHOUT_A_PERSON = frozenset({"modality", "service"})
"""A node that has only these may leave out who is at it: a machine sends, no person looks."""

_HOST = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z.:_-]{0,251}[0-9A-Za-z:_])?|::[0-9A-Fa-f:.]{0,43}", re.ASCII)


def default_demand(roles: frozenset[str]) -> IdentityDemand:
    """Identity is required, and optional where a node's only roles are modality and service."""
    return IdentityDemand.OPTIONAL if roles and roles <= ROLES_WITHOUT_A_PERSON else IdentityDemand.REQUIRED


def register(
    name: str,
    *,
    trust: NodeTrust,
    certificate: bytes | None = None,
    ae_titles: Iterable[str] = (),
    roles: Iterable[str] = (),
    identity: IdentityDemand | None = None,
    identity_types: Iterable[int] | None = None,
    asserts_roles: Iterable[str] = (),
    host: str | None = None,
    port: int | None = None,
    commitment: CommitmentReply = CommitmentReply.SAME,
    known_roles: frozenset[str] | None = None,
    now: datetime,
) -> NodeRecord:
    """Make the record of a node, every part of it checked.

    Args:
        name: its AE title, also its name; belongs to ``ae_titles`` whether given there or not.
        trust: issued and pinned nodes have a certificate (DER), plain ones have none.
        identity: None: `default_demand`.
        identity_types: None: every configured one.
        asserts_roles: the most that a bare user name from this node can have.
        host, port: where the archive connects to it; both or neither.
        commitment: where it is told the results of storage commitment.
        known_roles: the roles that exist; None: any well-formed word.
        now: a pinned certificate must be valid then and usable by a TLS client.

    Raises:
        RecordInvalid: a part is not well-formed, or the parts do not go together.
        CertificateRefused: the certificate could never be accepted.
    """
    if trust is NodeTrust.FACILITY:
        raise RecordInvalid("a node of the facility is known by its certificate, and not registered")
    title = checked_title(name)
    titles = frozenset({title, *(checked_title(other) for other in ae_titles)})
    if len(titles) > MAX_TITLES:
        raise RecordInvalid(f"more than {MAX_TITLES} AE titles")
    if (certificate is None) != (trust is NodeTrust.PLAIN):
        raise RecordInvalid("an issued or pinned node has a certificate, a plain one has none")
    if certificate is not None:
        checked_registration(certificate, now)
    types = None if identity_types is None else frozenset(identity_types)
    if types is not None and not (types and types <= IDENTITY_TYPES):
        raise RecordInvalid("user identity types are 1 to 5 (PS3.7 Table D.3-14), at least one")
    if (host is None) != (port is None):
        raise RecordInvalid("a node is reached by host and port, both or neither")
    if host is not None and _HOST.fullmatch(host) is None:
        raise RecordInvalid("the host is neither a host name nor an address")
    if port is not None and not 0 < port < 65536:
        raise RecordInvalid("a port is 1 to 65535")
    own_roles = checked_roles(roles, known_roles)
    node = NodeIdentity(
        name=title,
        ae_titles=titles,
        roles=own_roles,
        identity=identity or default_demand(own_roles),
        identity_types=types,
        asserts_roles=checked_roles(asserts_roles, known_roles),
        trust=trust,
        fingerprint=None if certificate is None else fingerprint_of(certificate),
    )
    return NodeRecord(identity=node, certificate=certificate, host=host, port=port, commitment=commitment)
