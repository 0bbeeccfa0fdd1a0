"""A throw-away copy of the records, to do things with that must leave no trace in the home."""

import sqlite3
from contextlib import closing
from pathlib import Path

from storage.errors import IndexFault


def copy_records(records: Path, copy: Path) -> None:
    """Copy the database of users, nodes and presented tokens as it is now, beside a running server or without one.

    The source is opened to be read only: the server's stays the one connection that writes and checkpoints.

    Raises:
        IndexFault: there is no database, or it cannot be read or copied.
    """
    try:
        with (
            closing(sqlite3.connect(f"{records.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as error:
        raise IndexFault(f"the records could not be copied: {error}") from error
