"""Received bytes with our signature put in at its ordered place; everything else leaves as it came."""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from storage.errors import IntegrityFault
from storage.instance import Splice
from storage.integrity.element_events import StreamLimits
from storage.integrity.inflate import Inflater
from storage.transfer_syntax import TransferSyntax

_UNBOUNDED: Final = StreamLimits(inflated=1 << 62)
"""Kept data sets passed their bounds when they came in."""

_Bytes = bytes | memoryview


def outgoing(chunks: Iterable[_Bytes], syntax: TransferSyntax, splices: Sequence[Splice]) -> Iterator[_Bytes]:
    """The stored data set as it leaves in the syntax that it came in, signature and all.

    Raises:
        IntegrityFault: a splice lies beyond the data set.
        MalformedDataSet: a deflated data set cannot be inflated.
    """
    return spliced_deflated(chunks, splices) if syntax.deflated else spliced(chunks, splices)


def spliced(chunks: Iterable[_Bytes], splices: Sequence[Splice]) -> Iterator[_Bytes]:
    """The chunks with the splices applied, which are ordered by offset. Not for deflated data sets.

    Raises:
        IntegrityFault: a splice lies beyond the data set, or over another.
    """
    waiting = list(reversed(splices))
    begin = 0
    removed = 0
    for chunk in chunks:
        view = memoryview(chunk)
        at = 0
        while True:
            if removed:
                cut = min(removed, len(view) - at)
                at += cut
                removed -= cut
            if removed or not waiting or waiting[-1].offset > begin + len(view):
                break
            splice = waiting.pop()
            if splice.offset < begin + at:
                raise IntegrityFault("splices overlap")
            if begin + at < splice.offset:
                yield view[at : splice.offset - begin]
                at = splice.offset - begin
            yield splice.inserted
            removed = splice.removed
        if at < len(view):
            yield view[at:] if at else chunk
        begin += len(view)
    for splice in reversed(waiting):
        if removed or splice.removed or splice.offset != begin:
            raise IntegrityFault("a splice lies beyond the data set")
        yield splice.inserted
    if removed:
        raise IntegrityFault("a splice lies beyond the data set")


def spliced_deflated(chunks: Iterable[_Bytes], splices: Sequence[Splice]) -> Iterator[bytes]:
    """Inflated, spliced and deflated again (PS3.5 A.5); offsets count in the inflated data set.

    Raises:
        IntegrityFault: a splice lies beyond the data set.
        MalformedDataSet: the chunks cannot be inflated.
    """
    return deflated(spliced(inflated(chunks), splices))


def deflated(pieces: Iterable[_Bytes]) -> Iterator[bytes]:
    """A data set, deflated and padded (PS3.5 A.5)."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    length = 0
    for piece in pieces:
        out = deflate.compress(piece)
        if out:
            length += len(out)
            yield out
    rest = deflate.flush()
    length += len(rest)
    yield rest + b"\0" if length & 1 else rest


def inflated(chunks: Iterable[_Bytes]) -> Iterator[bytes]:
    """A kept deflated data set, inflated.

    Raises:
        MalformedDataSet: the chunks cannot be inflated.
    """
    inflater = Inflater(_UNBOUNDED)
    for chunk in chunks:
        yield from inflater.feed(chunk)
    inflater.finish()


def spliced_length(size: int, splices: Sequence[Splice]) -> int:
    """Bytes that `spliced` yields for ``size`` bytes. What deflating yields is known only once it is done."""
    return size + sum(len(splice.inserted) - splice.removed for splice in splices)
