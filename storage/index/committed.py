"""A batch of committed events becomes rows, in one transaction with the ledger position that they reach.

The same for the committer, for start-up and for a rebuild, so that the index is the same whoever wrote it.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from storage.errors import LedgerDamaged
from storage.index import state
from storage.index.engine import IndexEngine
from storage.index.writer import IndexEntry, apply, label
from storage.ports import LedgerEntry

STORED: Final = "stored"
LABELLED: Final = "labelled"
UNLABELLED: Final = "unlabelled"
AUTHORITY: Final = "authority"
KNOWN_EVENTS: Final = frozenset({STORED, LABELLED, UNLABELLED, AUTHORITY})

Committed = tuple[LedgerEntry, IndexEntry | None]
"""An event and, if it stored an object, what the index is to know of it."""


def apply_committed(engine: IndexEngine, batch: Sequence[Committed]) -> list[tuple[str, ...]]:
    """Index events in their order; for each, on what its object disagrees with the first of its study.

    Raises:
        LedgerDamaged: this release does not know an event.
        IndexFault, InstanceConflict: a fault; nothing of the batch is indexed.
    """
    differs: list[tuple[str, ...]] = []
    with engine.writing() as connection:
        for stored, run in groupby(batch, lambda committed: committed[1] is not None):
            if stored:
                differs += apply(connection, [object_ for _, object_ in run if object_ is not None])
                continue
            for entry, _ in run:
                check_known(entry)
                if entry.event in (LABELLED, UNLABELLED):
                    study_uid, text = str(entry.facts["study_uid"]), str(entry.facts["label"])
                    label(connection, study_uid, text, present=entry.event == LABELLED)
                differs.append(())
        if batch:
            state.advance(connection, batch[-1][0].sequence)
    return differs


def check_known(entry: LedgerEntry) -> None:
    """Raises `LedgerDamaged` for an event that this release does not know, and so cannot do justice to."""
    if entry.event not in KNOWN_EVENTS:
        raise LedgerDamaged(f"record {entry.sequence} of the ledger is an event that this release does not know")
