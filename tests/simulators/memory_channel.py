"""An association without a network: what a requestor sends is given, what it is answered is kept."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from archive.dimse.channel import AcceptedContext, Report
from archive.errors import LimitExceeded, PeerGone
from archive.session import AssociationSession
from archive.upper_layer.commands import NO_DATA_SET, CommandSet, Element, Field


@dataclass
class Sent:
    """One message of ours."""

    context_id: int
    command: CommandSet
    data: bytes | None

    @property
    def status(self) -> int:
        return self.command.status


class MemoryData:
    """A data set in fragments; `vanishes` after so many, as a peer does."""

    def __init__(self, data: bytes, fragment: int = 64, vanishes: int | None = None) -> None:
        self._fragments = [data[at : at + fragment] for at in range(0, len(data), fragment)]
        self._vanishes = vanishes
        self._taken = 0
        self._allowed: int | None = None
        self.limits: list[int] = []

    def limit(self, data_set_bytes: int, name: str = "data_set_bytes") -> None:
        self.limits.append(data_set_bytes)
        self._allowed = data_set_bytes

    def __iter__(self) -> Iterator[memoryview]:
        while self._fragments:
            if self._taken == self._vanishes:
                raise PeerGone("the connection ended")
            fragment = bytearray(self._fragments.pop(0))
            self._taken += 1
            if self._allowed is not None:
                self._allowed -= len(fragment)
                if self._allowed < 0:
                    raise LimitExceeded("too long")
            with memoryview(fragment) as view:
                yield view
            fragment[:] = bytes(len(fragment))

    def drain(self) -> None:
        for _ in self:
            pass

    @property
    def drained(self) -> bool:
        return not self._fragments


class MemoryChannel:
    """Implements `archive.dimse.channel.Channel`."""

    def __init__(self, session: AssociationSession, *contexts: AcceptedContext) -> None:
        self.session = session
        self.contexts: Mapping[int, AcceptedContext] = {context.context_id: context for context in contexts}
        self.sent: list[Sent] = []
        self.posted: list[Report] = []
        self.cancel_after: int | None = None
        """Cancel once this many messages were sent."""
        self.store_status: Callable[[Sent], int] = lambda message: 0

    def send(self, context_id: int, command: CommandSet, data: Iterable[bytes | memoryview] | None = None) -> None:
        encoded = None if data is None else b"".join(bytes(piece) for piece in data)
        assert command.has_data_set == (encoded is not None)
        # As the requestor reads it: encoded, and decoded again.
        self.sent.append(Sent(context_id, CommandSet.decode(command.encode()), encoded))

    def send_with_next(self, context_id: int, command: CommandSet) -> None:
        self.send(context_id, command)

    def send_many(self, context_id: int, messages: Iterable[tuple[CommandSet, bytes | None]]) -> None:
        for command, data in messages:
            self.send(context_id, command, None if data is None else [data])

    def send_repeated(self, context_id: int, command: CommandSet, data_sets: Iterable[bytes]) -> None:
        for data in data_sets:
            self.send(context_id, command, [data])

    def receive_response(self, context_id: int) -> CommandSet:
        last = self.sent[-1]
        return CommandSet.build(
            {
                Element.FIELD: Field.C_STORE_RSP,
                Element.MESSAGE_ID_RESPONDED_TO: last.command.message_id,
                Element.DATA_SET_TYPE: NO_DATA_SET,
                Element.STATUS: self.store_status(last),
            }
        )

    over = False
    """The association has ended."""

    def post(self, report: Report) -> bool:
        if not self.over:
            self.posted.append(report)
        return not self.over

    def cancel_requested(self, message_id: int) -> bool:
        return self.cancel_after is not None and len(self.sent) >= self.cancel_after

    @property
    def last(self) -> Sent:
        return self.sent[-1]

    def of(self, field: Field) -> list[Sent]:
        """What was sent of one kind."""
        return [message for message in self.sent if message.command.field == field]


def request(field: Field, sop_class: str, *, data_set: bool = True, **more: str | bytes | int) -> CommandSet:
    """A request as it arrives; ``more`` by element name."""
    values: dict[int, bytes | int | str] = {
        Element.AFFECTED_SOP_CLASS_UID: sop_class,
        Element.FIELD: field,
        Element.MESSAGE_ID: 7,
        Element.DATA_SET_TYPE: 1 if data_set else NO_DATA_SET,
    }
    values |= {Element[name.upper()]: value for name, value in more.items()}
    return CommandSet.decode(CommandSet.build(values).encode())
