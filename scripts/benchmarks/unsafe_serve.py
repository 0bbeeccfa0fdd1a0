"""`strongroom serve` with an audit trail that is kept nowhere: shows what the real one costs, and is for nothing else.

`strongroom serve` itself knows no such option and refuses it.
"""

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import archive.bootstrap
from archive.audit.checkpoint import Checkpoint
from archive.audit.events import Actor
from archive.cli import main

OPTION = "--unsafe-trail-in-memory"


class UnsafeTrailInMemory:
    """Counts records, and forgets them."""

    torn = 0
    last_checkpoint: Checkpoint | None = None

    def __init__(self, folder: Path, key: bytes, **_: object) -> None:
        self.sequence = self.ledger_position = 0
        self._lock = threading.Lock()

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Count them."""
        with self._lock:
            self.sequence += len(records)
            self.ledger_position = max([self.ledger_position, *(record.get("ledger", 0) for record in records)])

    def checkpoint(self, actor: Actor | None = None) -> None:
        """Vouch for nothing."""

    def close(self) -> None:
        """Nothing is open."""


if __name__ == "__main__":
    if OPTION not in sys.argv:
        raise SystemExit(f"say {OPTION}, so that it is seen what this is")
    sys.argv.remove(OPTION)
    archive.bootstrap.AuditTrail = UnsafeTrailInMemory  # type: ignore[assignment,misc]
    sys.exit(main())
