"""What time it is, where nobody says otherwise."""

from datetime import UTC, datetime


def now() -> datetime:
    """The present, with its offset."""
    return datetime.now(UTC)
