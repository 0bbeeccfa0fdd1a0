"""Registered nodes: kept in the database, looked up in memory. Implements `auth.ports.NodeStore`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, insert, select, update

from archive.records.kept import Kept
from archive.records.seal import sealer
from archive.records.tables import (
    NODE,
    NODE_CERTIFICATE,
    NODE_COMMITMENT,
    NODE_TITLE,
    REVOKED,
    RecordsDatabase,
    certificate_of,
    certificate_row,
    node_of,
    node_row,
    revoked_of,
    revoked_row,
)
from auth.errors import RecordExists, RecordMissing
from auth.ports import CommitmentReply, NodeCertificate, NodeRecord, Revoked
from auth.principal import NodeIdentity, NodeTrust


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Every way in which a node is looked up."""

    by_name: Mapping[str, NodeRecord]
    by_fingerprint: Mapping[str, NodeIdentity]
    plain_by_title: Mapping[str, NodeIdentity]
    record_by_title: Mapping[str, NodeRecord]
    pinned: tuple[bytes, ...]
    further: Mapping[str, tuple[NodeCertificate, ...]]
    until: Mapping[str, datetime]
    """By fingerprint: from when on a certificate is not accepted any more."""
    revoked: Mapping[str, Revoked]


class NodeRecords:
    """The nodes of one archive. Thread-safe; every change is durable when the call returns."""

    def __init__(
        self,
        database: RecordsDatabase,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        key: bytes | None = None,
    ) -> None:
        """``clock`` gives aware times; ``key`` seals the rows.

        Raises:
            RecordsDamaged: the rows are not what was sealed.
        """
        seal = sealer(key, "node", NODE, NODE_TITLE, NODE_CERTIFICATE, REVOKED)
        self._kept: Kept[_Nodes] = Kept(database, "node", _read, seal)
        self._clock = clock

    @property
    def generation(self) -> int:
        """Grows with every node that comes or goes; what was decided under another number is stale."""
        return self._kept.generation

    def by_fingerprint(self, fingerprint: str) -> NodeIdentity | None:
        """The node one of whose certificates has this SHA-256 fingerprint (lower-case hexadecimal), from memory."""
        rows = self._kept.rows
        until = rows.until.get(fingerprint)
        if until is not None and self._clock() >= until:
            return None
        return rows.by_fingerprint.get(fingerprint)

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

    def title_taken(self, ae_title: str) -> bool:
        """Whether an AE title belongs to a node, whatever its trust."""
        return ae_title in self._kept.rows.record_by_title

    def revoked(self, fingerprint: str) -> bool:
        """Whether a certificate was revoked here."""
        return fingerprint in self._kept.rows.revoked

    def further(self, name: str) -> tuple[NodeCertificate, ...]:
        """The certificates of a node beside the one in its record, those that are past their time too."""
        return self._kept.rows.further.get(name, ())

    def revocations(self) -> tuple[Revoked, ...]:
        """Every certificate that was revoked here, oldest first."""
        return tuple(sorted(self._kept.rows.revoked.values(), key=lambda one: one.moment))

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
                rows = _read(connection)
                owner = rows.by_fingerprint.get(node.identity.fingerprint)
                if node.identity.fingerprint in rows.revoked:
                    raise RecordExists("the certificate was revoked here")
                if owner is not None:
                    raise RecordExists(f"the certificate belongs to node {owner.name}")
            connection.execute(insert(NODE).values(node_row(node)))
            connection.execute(
                insert(NODE_TITLE), [{"ae_title": title, "node": node.identity.name} for title in titles]
            )
            if node.commitment is not CommitmentReply.SAME:
                reply = {"node": node.identity.name, "reply": node.commitment.value}
                connection.execute(insert(NODE_COMMITMENT).values(reply))

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
            connection.execute(delete(NODE_CERTIFICATE).where(NODE_CERTIFICATE.c.node == name))
            connection.execute(delete(NODE_COMMITMENT).where(NODE_COMMITMENT.c.node == name))
            connection.execute(delete(NODE).where(NODE.c.name == name))
        return removed

    def certify(self, name: str, fingerprint: str, certificate: bytes, until: datetime | None) -> None:
        """Give a node another certificate, which becomes the one in its record.

        Args:
            name: the node.
            fingerprint, certificate: the new one, DER.
            until: how long the former one stays good; None: as long as it says itself.

        Raises:
            RecordMissing: no node of that name.
        """
        with self._kept.changing() as connection:
            former = _read(connection).by_name.get(name)
            if former is None:
                raise RecordMissing("no node of that name")
            if former.certificate is not None and former.identity.fingerprint is not None:
                kept = NodeCertificate(name, former.identity.fingerprint, former.certificate, until)
                connection.execute(insert(NODE_CERTIFICATE).values(certificate_row(kept)))
            changed = update(NODE).where(NODE.c.name == name).values(fingerprint=fingerprint, certificate=certificate)
            connection.execute(changed)

    def revoke(self, revoked: tuple[Revoked, ...]) -> None:
        """Accept certificates no more, from now on and for good; a node may be left with none."""
        with self._kept.changing() as connection:
            for one in revoked:
                connection.execute(delete(NODE_CERTIFICATE).where(NODE_CERTIFICATE.c.fingerprint == one.fingerprint))
                of_node = update(NODE).where(NODE.c.fingerprint == one.fingerprint)
                connection.execute(of_node.values(fingerprint=None, certificate=None))
                connection.execute(insert(REVOKED).values(revoked_row(one)))

    def refresh(self) -> None:
        """Read the database again, as after a change by another process."""
        self._kept.refresh()


def _read(connection: Connection) -> _Nodes:
    titles: dict[str, set[str]] = {}
    for row in connection.execute(select(NODE_TITLE)).mappings():
        titles.setdefault(row["node"], set()).add(row["ae_title"])
    replies = {row["node"]: row["reply"] for row in connection.execute(select(NODE_COMMITMENT)).mappings()}
    records = [
        node_of(row, frozenset(titles.get(row["name"], ())), replies.get(row["name"]))
        for row in connection.execute(select(NODE).order_by(NODE.c.name)).mappings()
    ]
    identities = [record.identity for record in records]
    plain = [identity for identity in identities if identity.trust is NodeTrust.PLAIN]
    by_name = {record.identity.name: record for record in records}
    further = [certificate_of(row) for row in connection.execute(select(NODE_CERTIFICATE)).mappings()]
    fingerprints = {identity.fingerprint: identity for identity in identities if identity.fingerprint is not None}
    fingerprints |= {
        one.fingerprint: replace(by_name[one.node].identity, fingerprint=one.fingerprint) for one in further
    }
    return _Nodes(
        by_name=by_name,
        by_fingerprint=fingerprints,
        plain_by_title={title: identity for identity in plain for title in identity.ae_titles},
        record_by_title={title: record for record in records for title in record.identity.ae_titles},
        pinned=tuple(
            record.certificate
            for record in records
            if record.identity.trust is NodeTrust.PINNED and record.certificate is not None
        ),
        further={name: tuple(one for one in further if one.node == name) for name in {one.node for one in further}},
        until={one.fingerprint: one.until for one in further if one.until is not None},
        revoked={row["fingerprint"]: revoked_of(row) for row in connection.execute(select(REVOKED)).mappings()},
    )
