"""A batch of committed events becomes rows, together with the ledger position that they reach.

Each function works inside a transaction that the caller opened.

The same for the committer, for start-up and for a rebuild, so that the index is the same whoever wrote it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from sqlalchemy import Connection, bindparam, select

from storage.errors import LedgerDamaged
from storage.events import KNOWN_EVENTS, LABELLED, LABELS, labels_in
from storage.identifiers import ObjectId
from storage.index import state
from storage.index.prepared import Prepared
from storage.index.removal import EFFECTS, come_back
from storage.index.schema import INSTANCE
from storage.index.writer import IndexEntry, apply, label
from storage.ports import LedgerEntry

Committed = tuple[LedgerEntry, IndexEntry | None]
"""An event and, if it stored an object or brought one back, what the index is to know of it.

An event that brings several back is there once for each, and in the end once by itself.
"""

DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class KeptContent:
    """What decides whether another object under the same SOP Instance UID is the same object."""

    object_id: ObjectId
    canonical_digest: bytes
    signatures: frozenset[bytes]
    """SHA-256 of every top-level signature value of the object as it goes out: foreign ones and the archive's own."""
    ledger_sequence: int


_KEPT: Final = Prepared(
    select(
        INSTANCE.c.sop_instance_uid,
        INSTANCE.c.object_id,
        INSTANCE.c.canonical_digest,
        INSTANCE.c.signatures,
        INSTANCE.c.ledger_sequence,
    ).where(INSTANCE.c.sop_instance_uid == bindparam("uid"))
)


def kept_content(connection: Connection, sop_instance_uids: Iterable[str]) -> Mapping[str, KeptContent]:
    """The objects kept under these UIDs, by UID; unknown ones are left out."""
    rows = [row for uid in sop_instance_uids for row in _KEPT.rows(connection, uid=uid)]
    return {
        uid: KeptContent(
            ObjectId(object_id),
            digest,
            frozenset(signatures[at : at + DIGEST_BYTES] for at in range(0, len(signatures), DIGEST_BYTES)),
            sequence,
        )
        for uid, object_id, digest, signatures, sequence in rows
    }


def apply_committed(connection: Connection, batch: Sequence[Committed]) -> list[tuple[str, ...]]:
    """Index events in their order; for each, on what its object disagrees with the first of its study.

    Raises:
        LedgerDamaged: this release does not know an event.
        InstanceConflict: a fault.
    """
    differs: list[tuple[str, ...]] = []
    for stored, run in groupby(batch, lambda committed: committed[1] is not None):
        if stored:
            together = [(entry, object_) for entry, object_ in run if object_ is not None]
            objects = [object_ for _, object_ in together]
            differs += apply(connection, objects)
            come_back(
                connection,
                [str(object_.rows.instance["sop_instance_uid"]) for object_ in objects],
                [object_.address for object_ in objects],
            )
            for entry, _ in together:
                _put_labels(connection, entry)
            continue
        for entry, _ in run:
            check_known(entry)
            if entry.event in EFFECTS:
                EFFECTS[entry.event](connection, entry)
            elif entry.event in LABELS:
                study_uid, text = str(entry.facts["study_uid"]), str(entry.facts["label"])
                label(connection, study_uid, text, present=entry.event == LABELLED)
            # An object that was erased since brought its study labels all the same; so they wait for the next one.
            _put_labels(connection, entry)
            differs.append(())
    if batch:
        state.advance(connection, batch[-1][0].sequence)
    return differs


def _put_labels(connection: Connection, entry: LedgerEntry) -> None:
    """Label a study as the objects that an event stored or brought back have it."""
    for text in labels_in(entry.facts):
        label(connection, str(entry.facts["study_uid"]), text, present=True)


def check_known(entry: LedgerEntry) -> None:
    """Raises `LedgerDamaged` for an event that this release does not know, and so cannot do justice to."""
    if entry.event not in KNOWN_EVENTS:
        raise LedgerDamaged(f"record {entry.sequence} of the ledger is an event that this release does not know")
