"""What a check was given and what it found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

MAX_FAULTS: Final = 1000
"""Faults that are told one by one; an archive that was lost as a whole has one for each object."""


class Place(Protocol):
    """Where things lie."""

    @property
    def blobs(self) -> Path:
        """The folder of objects."""

    @property
    def ledger(self) -> Path:
        """The folder of the ledger."""

    @property
    def index(self) -> Path:
        """The index's database file."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found. ``faults`` empty: what was looked at is internally consistent.

    Faults name objects by object id and ledger record, never by what they say of a patient.
    """

    objects: int
    """Objects that the ledger says are kept, each of which was looked at."""
    ledger_position: int
    """The last ledger record that was read."""
    index_position: int
    """The last ledger record that the index had reached when the check began."""
    faults: tuple[str, ...] = ()


class Findings:
    """Faults as they are found, a bounded number of them."""

    def __init__(self) -> None:
        self._faults: list[str] = []
        self._more = 0

    def add(self, fault: str) -> None:
        """One more."""
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(fault)
        else:
            self._more += 1

    @property
    def faults(self) -> tuple[str, ...]:
        """All of them, in the order in which they were found."""
        more = (f"{self._more} more faults, which are not listed",) if self._more else ()
        return (*self._faults, *more)
