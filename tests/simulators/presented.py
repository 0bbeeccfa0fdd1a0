"""`auth.ports.PresentedTokens` in a dictionary: what it knows ends with it."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from auth.ports import Presentation


class PresentedInMemory:
    """The same promises as `archive.records.presented.PresentedRecords`, but for those about disks and processes."""

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.presented: dict[tuple[str, str], tuple[str, datetime]] = {}
        self._clock = clock
        self._lock = threading.Lock()

    def present(self, issuer: str, token_id: str, *, node: str, until: datetime, once: bool) -> Presentation:
        if until.tzinfo is None:
            raise ValueError("a token's end is an aware time")
        with self._lock:
            oldest = self._clock() - timedelta(hours=1)
            self.presented = {key: kept for key, kept in self.presented.items() if kept[1] >= oldest}
            first, ends = self.presented.get((issuer, token_id), (None, until))
            self.presented[issuer, token_id] = (first or node, max(ends, until))
        if first is None:
            return Presentation.FIRST
        if first != node:
            return Presentation.ELSEWHERE
        return Presentation.SPENT if once else Presentation.AGAIN
