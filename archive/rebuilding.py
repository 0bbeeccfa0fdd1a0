"""The index made anew, also where the old one can no longer be opened. The caller holds the home's lock."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from archive.bootstrap import Archive, open_archive
from archive.home import Home
from storage.errors import IndexFault
from storage.recovery import Progress, no_progress


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did."""

    events: int
    """Ledger events that the new index was made from."""
    set_aside: Path | None
    """Where the old index is, if it could not be opened."""


@contextmanager
def rebuilt(home: Home, progress: Progress = no_progress) -> Iterator[tuple[Archive, Rebuilt]]:
    """Open a home with an index made anew, and close it at the end of the block.

    ``progress`` is told how many of how many ledger records are done.

    An index that opens is asked first how far the ledger had come: a ledger that is shorter than that has been cut, and
    rebuilding would hide it.

    Raises:
        LedgerDamaged, IntegrityFault, ObjectMissing, KeyUnavailable: what it is made from is not what was stored.
        ArchiveError, StorageError, AuthError: as `archive.bootstrap.open_archive`.
    """
    archive = None
    try:
        archive = open_archive(home, wait_for_index=False)
        if archive.repository.rebuilding:
            outcome = Rebuilt(archive.repository.finish_rebuild(progress).indexed, None)
        else:
            outcome = Rebuilt(archive.repository.rebuild(progress), None)
    except IndexFault:
        if archive is not None:
            archive.close()
        aside = _set_aside(home.index)
        archive = open_archive(home, progress=progress)
        outcome = Rebuilt(archive.repository.recovery.indexed, aside)
    except BaseException:
        if archive is not None:
            archive.close()
        raise
    try:
        yield archive, outcome
    finally:
        archive.close()


def _set_aside(index: Path) -> Path:
    """Rename the file and what SQLite left beside it, to a name that nothing has."""
    number = 1
    while (aside := index.with_name(f"{index.name}.damaged-{number}")).exists():
        number += 1
    for suffix in ("-wal", "-shm", ""):
        beside = index.with_name(index.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    folder = os.open(index.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return aside
