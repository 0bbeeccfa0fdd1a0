"""Reading a kept data set again, for whoever wants its elements: inflated if it is deflated, and as often as needed."""

from collections.abc import Callable, Iterable
from typing import Final

from storage.integrity.element_events import Consumer, Event, StreamLimits
from storage.integrity.element_stream import ElementStream
from storage.integrity.inflate import Inflater
from storage.transfer_syntax import TransferSyntax

Chunks = Callable[[], Iterable[bytes | memoryview]]
"""Begins to read the data set anew each time it is called."""

DEFAULT_LIMITS: Final = StreamLimits()


class Several:
    """Consumers that are told of the same events."""

    def __init__(self, *consumers: Consumer) -> None:
        self._consumers = consumers

    def events(self, window: bytes, offset: int, events: list[Event]) -> None:
        for consumer in self._consumers:
            consumer.events(window, offset, events)

    def piece(self, data: memoryview) -> None:
        for consumer in self._consumers:
            consumer.piece(data)


def read(chunks: Chunks, syntax: TransferSyntax, consumer: Consumer, limits: StreamLimits = DEFAULT_LIMITS) -> int:
    """Tell the consumer of every element, in the encoding that they stand in; bytes of the (inflated) data set.

    Raises:
        MalformedDataSet: it is not a data set in its transfer syntax.
        DataSetLimitExceeded: it crosses one of the limits.
    """
    stream = ElementStream(syntax, consumer, limits)
    inflater = Inflater(limits) if syntax.deflated else None
    for chunk in chunks():
        if inflater is None:
            stream.feed(chunk)
            continue
        for inflated in inflater.feed(chunk):
            stream.feed(inflated)
    if inflater is not None:
        inflater.finish()
    stream.finish()
    return stream.offset
