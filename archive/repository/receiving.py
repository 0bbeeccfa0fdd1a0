"""Whatever senders bring, examined and kept before the next octet of theirs is read."""

import threading
from collections.abc import Sequence

import structlog

from archive.errors import AuditUnavailable
from archive.repository.limits import Limits
from archive.repository.store import MessageStore, Received, Sender
from archive.repository.validation import examine

_log = structlog.get_logger("strongroom.repository")


class Receiver:
    """Where the listeners bring messages. Thread-safe."""

    def __init__(self, store: MessageStore, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self.failed = threading.Event()
        """Set once nothing can be kept any more: the repository has to end, so that senders keep what they have."""
        self.failure: AuditUnavailable | None = None

    def take(self, messages: Sequence[bytes], sender: Sender) -> None:
        """Examine messages and put them on stable storage.

        Raises:
            AuditUnavailable: they could not be kept.
        """
        if not messages:
            return
        received = [Received(data, sender, examine(data, self._limits)) for data in messages]
        try:
            self._store.keep(received)
        except AuditUnavailable as error:
            self.failure = self.failure or error
            self.failed.set()
            raise
        broken = sum(not one.verdict.valid for one in received)
        if broken:
            _log.info("messages kept that break a rule", peer=sender.address, messages=broken)
