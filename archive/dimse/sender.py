"""Messages on their way out of one association, with few writes: all that is sent goes through here, in order."""

from collections.abc import Iterable

from archive.dimse.outgoing import messages_to_pdus, repeated_to_pdus
from archive.dimse.transport import Transport
from archive.upper_layer.commands import CommandSet


class Sender:
    """Writes to one transport. Used by the association's thread alone. Raises `PeerGone` and `PeerTooSlow`."""

    def __init__(self, transport: Transport, fragment_bytes: int) -> None:
        """``fragment_bytes``: the longest fragment that the peer takes."""
        self._transport = transport
        self._fragment_bytes = fragment_bytes
        self._held = b""
        """PDUs that go out in front of the next message."""

    def send(self, context_id: int, messages: Iterable[tuple[CommandSet, Iterable[bytes | memoryview] | None]]) -> None:
        """Send messages, each with its data set if it has one."""
        held, self._held = self._held, b""
        for pdus in messages_to_pdus(context_id, messages, self._fragment_bytes, held):
            self._transport.send(pdus)

    def send_repeated(self, context_id: int, command: CommandSet, data_sets: Iterable[bytes]) -> None:
        """Send the same command with each of many small data sets."""
        self.flush()
        for pdus in repeated_to_pdus(context_id, command, data_sets, self._fragment_bytes):
            self._transport.send(pdus)

    def hold(self, context_id: int, command: CommandSet) -> None:
        """Send a message with the one that comes next, or with `flush`."""
        self._held += b"".join(messages_to_pdus(context_id, [(command, None)], self._fragment_bytes))

    def flush(self) -> None:
        """Send what is held: the peer is about to be waited for."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.send(held)
