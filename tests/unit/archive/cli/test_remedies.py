"""Every error that an operator can meet says what to do."""

import pytest

import archive.audit.trail_format  # noqa: F401  (defines an error of its own)
from archive.cli.remedies import with_remedy
from archive.control.protocol import Failure
from archive.errors import ArchiveError, AuditUnavailable, TrailDamaged
from auth.errors import AuthError
from storage.errors import StorageError

ANSWERED_ON_THE_WIRE = {204, 205, 207, 208, 231, 301, 310, 311, 312, 313, 314, 315, 330, 331, 332, 333, 334}
"""Of these only peers hear, as a status or a rejection."""


def every(kind):
    for one in kind.__subclasses__():
        yield one
        yield from every(one)


KINDS = [StorageError, AuthError, *every(StorageError), *every(AuthError), AuditUnavailable, TrailDamaged]
OURS = [
    kind for kind in [*KINDS, *every(TrailDamaged)] if kind.__module__.split(".")[0] in ("archive", "storage", "auth")
]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_error_says_what_to_do(kind):
    if kind.number not in ANSWERED_ON_THE_WIRE:
        assert with_remedy(Failure(kind.number, "what is wrong")).startswith("what is wrong: ")


def test_numbers_are_unique():
    kinds = [kind for kind in {*OURS, ArchiveError, *every(ArchiveError)} if "number" in vars(kind)]
    numbers = [kind.number for kind in kinds]
    assert len(numbers) == len(set(numbers))
    assert all(kind.__doc__ for kind in kinds)
