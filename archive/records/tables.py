"""Tables of users and nodes, in the same database as the index, and how their rows become records.

Here: SQL only, dialect-neutral. What is well-formed is decided in `auth`; who may change it, in `archive.control`.
"""

import json
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from types import MappingProxyType
from typing import Any, Protocol

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    select,
    update,
)

from auth.ports import CommitmentReply, NodeCertificate, NodeRecord, Revoked, UserRecord
from auth.principal import IdentityDemand, NodeIdentity, NodeTrust


class RecordsDatabase(Protocol):
    """The part of the index's engine that records need."""

    def writing(self) -> AbstractContextManager[Connection]:
        """The writer connection in a transaction, committed at the end of the block, rolled back if it raises."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that only reads."""


METADATA = MetaData()

USER = Table(
    "record_user",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("roles", Text, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("passcode_hash", Text),
    Column("enabled", Boolean, nullable=False),
)

NODE = Table(
    "record_node",
    METADATA,
    Column("name", String(16), primary_key=True),
    Column("roles", Text, nullable=False),
    Column("identity", String(16), nullable=False),
    Column("identity_types", Text),
    Column("asserts_roles", Text, nullable=False),
    Column("trust", String(16), nullable=False),
    Column("fingerprint", String(64), unique=True),
    Column("certificate", LargeBinary),
    Column("host", String(253)),
    Column("port", Integer),
)

NODE_TITLE = Table(
    "record_node_title",
    METADATA,
    Column("ae_title", String(16), primary_key=True),
    Column("node", ForeignKey(NODE.c.name, ondelete="CASCADE"), nullable=False, index=True),
)
"""One node for each AE title, so that a title in a log line or as a destination means one machine."""

NODE_CERTIFICATE = Table(
    "record_node_certificate",
    METADATA,
    Column("fingerprint", String(64), primary_key=True),
    Column("node", ForeignKey(NODE.c.name, ondelete="CASCADE"), nullable=False, index=True),
    Column("certificate", LargeBinary, nullable=False),
    Column("until", String(40)),
)
"""Certificates that a node has beside the one in its row."""

REVOKED = Table(
    "record_revoked",
    METADATA,
    Column("fingerprint", String(64), primary_key=True),
    Column("serial", String(40), nullable=False),
    Column("node", String(16), nullable=False),
    Column("moment", String(40), nullable=False),
    Column("why", String(200), nullable=False),
)
"""Certificates that were revoked here; they stay when their node goes."""

NODE_COMMITMENT = Table(
    "record_node_commitment",
    METADATA,
    Column("node", ForeignKey(NODE.c.name, ondelete="CASCADE"), primary_key=True),
    Column("reply", String(16), nullable=False),
)
"""Nodes that are told the results of storage commitment otherwise than by default."""

GENERATION = Table(
    "record_generation",
    METADATA,
    Column("kind", String(16), primary_key=True),
    Column("generation", Integer, nullable=False),
)
"""Counts the changes of each kind, across processes and restarts."""


def create_tables(connection: Connection) -> None:
    """Make the tables that are missing."""
    METADATA.create_all(connection)


def generation(connection: Connection, kind: str) -> int:
    """How many changes of this kind there have been."""
    found = connection.execute(select(GENERATION.c.generation).where(GENERATION.c.kind == kind)).scalar()
    return int(found) if found is not None else 0


def advance(connection: Connection, kind: str) -> None:
    """Count one more change of this kind, in the transaction that makes it."""
    counted = update(GENERATION).where(GENERATION.c.kind == kind).values(generation=GENERATION.c.generation + 1)
    if connection.execute(counted).rowcount == 0:
        connection.execute(GENERATION.insert().values(kind=kind, generation=1))


def user_row(user: UserRecord) -> dict[str, Any]:
    """Column values of a user."""
    return {
        "name": user.name,
        "roles": _words(user.roles),
        "attributes": json.dumps(dict(user.attributes), sort_keys=True, ensure_ascii=False),
        "passcode_hash": user.passcode_hash,
        "enabled": user.enabled,
    }


def user_of(row: RowMapping) -> UserRecord:
    """The user of a row."""
    return UserRecord(
        name=row["name"],
        roles=frozenset(json.loads(row["roles"])),
        attributes=MappingProxyType(json.loads(row["attributes"])),
        passcode_hash=row["passcode_hash"],
        enabled=row["enabled"],
    )


def node_row(node: NodeRecord) -> dict[str, Any]:
    """Column values of a node, but for its titles."""
    identity = node.identity
    types = identity.identity_types
    return {
        "name": identity.name,
        "roles": _words(identity.roles),
        "identity": identity.identity.value,
        "identity_types": None if types is None else json.dumps(sorted(types)),
        "asserts_roles": _words(identity.asserts_roles),
        "trust": identity.trust.value,
        "fingerprint": identity.fingerprint,
        "certificate": node.certificate,
        "host": node.host,
        "port": node.port,
    }


def node_of(row: RowMapping, titles: frozenset[str], commitment: str | None = None) -> NodeRecord:
    """The node of a row, its titles, and how it is told of commitment if not by default."""
    types = row["identity_types"]
    identity = NodeIdentity(
        name=row["name"],
        ae_titles=titles,
        roles=frozenset(json.loads(row["roles"])),
        identity=IdentityDemand(row["identity"]),
        identity_types=None if types is None else frozenset(json.loads(types)),
        asserts_roles=frozenset(json.loads(row["asserts_roles"])),
        trust=NodeTrust(row["trust"]),
        fingerprint=row["fingerprint"],
    )
    return NodeRecord(
        identity=identity,
        certificate=row["certificate"],
        host=row["host"],
        port=row["port"],
        commitment=CommitmentReply(commitment) if commitment else CommitmentReply.SAME,
    )


def certificate_row(one: NodeCertificate) -> dict[str, Any]:
    """Column values of a node's further certificate."""
    until = None if one.until is None else one.until.isoformat()
    return {"fingerprint": one.fingerprint, "node": one.node, "certificate": one.certificate, "until": until}


def certificate_of(row: RowMapping) -> NodeCertificate:
    """The further certificate of a row."""
    until = None if row["until"] is None else datetime.fromisoformat(row["until"])
    return NodeCertificate(row["node"], row["fingerprint"], row["certificate"], until)


def revoked_row(one: Revoked) -> dict[str, Any]:
    """Column values of a revocation."""
    return {
        "fingerprint": one.fingerprint,
        "serial": f"{one.serial:x}",
        "node": one.node,
        "moment": one.moment.isoformat(),
        "why": one.why,
    }


def revoked_of(row: RowMapping) -> Revoked:
    """The revocation of a row."""
    moment = datetime.fromisoformat(row["moment"])
    return Revoked(row["fingerprint"], int(row["serial"], 16), row["node"], moment, row["why"])


def _words(words: Iterable[str]) -> str:
    return json.dumps(sorted(words))
