"""The audit trail as the command line reads it: by whoever may read the keyring, beside a running server or not."""

from collections.abc import Iterator

from archive.audit.trail import read_trail
from archive.audit.trail_format import IncompleteFrame, TrailRecord
from archive.home import Home
from archive.keys import load_keyring


def records_of(home: Home) -> Iterator[TrailRecord]:
    """Every record, in order; one that is being appended right now is left out.

    Raises:
        TrailDamaged: a record is not what was written.
    """
    try:
        yield from read_trail(home.trail, load_keyring(home).audit_key)
    except IncompleteFrame:
        return
