"""What start-up does about a crash, before anything listens (DESIGN 5)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What was found and put right; all zero after a clean stop."""

    torn_bytes: int = 0
    """Cut from the ledger's end: an append that nobody was told of."""
    recovered: int = 0
    """Committed events that the audit had not been told of, and now has."""
    indexed: int = 0
    """Committed events that the index lacked, and now has."""
    swept: int = 0
    """Objects that were staged and never committed, removed."""
    rebuilt: bool = False
    """An interrupted rebuild of the index was done again."""
