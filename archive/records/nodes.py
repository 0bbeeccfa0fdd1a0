"""Registered nodes: kept in the database, looked up in memory. Implements `auth.ports.NodeStore`."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from archive.records.kept import Kept
from archive.records.tables import NODE, NODE_TITLE, RecordsDatabase, node_of, node_row
from auth.errors import RecordExists, RecordMissing
from auth.ports import NodeRecord
from auth.principal import NodeIdentity, NodeTrust


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Every way in which a node is looked up."""

    by_name: Mapping[str, NodeRecord]
    by_fingerprint: Mapping[str, NodeIdentity]
    plain_by_title: Mapping[str, NodeIdentity]
    record_by_title: Mapping[str, NodeRecord]
    pinned: tuple[bytes, ...]


class NodeRecords:
    """The nodes of one archive. Thread-safe; every change is durable when the call returns."""

    def __init__(self, database: RecordsDatabase) -> None:
        self._kept: Kept[_Nodes] = Kept(database, "node", _read)

    @property
    def generation(self) -> int:
        """Grows with every node that comes or goes; what was decided under another number is stale."""
        return self._kept.generation

    def by_fingerprint(self, fingerprint: str) -> NodeIdentity | None:
        """The node whose certificate has this SHA-256 fingerprint (lower-case hexadecimal), from memory."""
        return self._kept.rows.by_fingerprint.get(fingerprint)

    def by_title(self, ae_title: str) -> NodeIdentity | None:
        """The plain (no TLS) node that may use this AE title; None if there is none or it has a certificate."""
        return self._kept.rows.plain_by_title.get(ae_title)

    def pinned_certificates(self) -> tuple[bytes, ...]:
        """DER of every pinned certificate; the same object until nodes change."""
        return self._kept.rows.pinned

    def node(self, name: str) -> NodeRecord | None:
        """The node of exactly this name, from memory."""
        return self._kept.rows.by_name.get(name)

    def owner_of(self, ae_title: str) -> NodeRecord | None:
        """The node that an AE title belongs to, whatever its trust."""
        return self._kept.rows.record_by_title.get(ae_title)

    def all(self) -> tuple[NodeRecord, ...]:
        """All nodes by name."""
        return tuple(node for _, node in sorted(self._kept.rows.by_name.items()))

    def add(self, node: NodeRecord) -> None:
        """Keep a node that `auth.node.registry.register` made.

        Raises:
            RecordExists: one of its AE titles or its certificate belongs to a node already.
        """
        titles = sorted(node.identity.ae_titles | {node.identity.name})
        with self._kept.changing() as connection:
            taken = connection.execute(select(NODE_TITLE).where(NODE_TITLE.c.ae_title.in_(titles))).mappings().first()
            if taken is not None:
                raise RecordExists(f"AE title {taken['ae_title']} belongs to node {taken['node']}")
            if node.identity.fingerprint is not None:
                same = select(NODE.c.name).where(NODE.c.fingerprint == node.identity.fingerprint)
                owner = connection.execute(same).scalar()
                if owner is not None:
                    raise RecordExists(f"the certificate belongs to node {owner}")
            connection.execute(insert(NODE).values(node_row(node)))
            connection.execute(
                insert(NODE_TITLE), [{"ae_title": title, "node": node.identity.name} for title in titles]
            )

    def remove(self, name: str) -> NodeRecord:
        """Forget a node: it is not admitted again, and open associations of it are denied at the next operation.

        Raises:
            RecordMissing: no node of that name.
        """
        with self._kept.changing() as connection:
            removed = _read(connection).by_name.get(name)
            if removed is None:
                raise RecordMissing("no node of that name")
            connection.execute(delete(NODE_TITLE).where(NODE_TITLE.c.node == name))
            connection.execute(delete(NODE).where(NODE.c.name == name))
        return removed

    def refresh(self) -> None:
        """Read the database again, as after a change by another process."""
        self._kept.refresh()


def _read(connection: Connection) -> _Nodes:
    titles: dict[str, set[str]] = {}
    for row in connection.execute(select(NODE_TITLE)).mappings():
        titles.setdefault(row["node"], set()).add(row["ae_title"])
    records = [
        node_of(row, frozenset(titles.get(row["name"], ())))
        for row in connection.execute(select(NODE).order_by(NODE.c.name)).mappings()
    ]
    identities = [record.identity for record in records]
    plain = [identity for identity in identities if identity.trust is NodeTrust.PLAIN]
    return _Nodes(
        by_name={record.identity.name: record for record in records},
        by_fingerprint={identity.fingerprint: identity for identity in identities if identity.fingerprint is not None},
        plain_by_title={title: identity for identity in plain for title in identity.ae_titles},
        record_by_title={title: record for record in records for title in record.identity.ae_titles},
        pinned=tuple(
            record.certificate
            for record in records
            if record.identity.trust is NodeTrust.PINNED and record.certificate is not None
        ),
    )
