"""Received bytes with our signature put in at its ordered place."""

from collections.abc import Iterable, Iterator, Sequence

from storage.instance import Splice


def spliced(chunks: Iterable[bytes | memoryview], splices: Sequence[Splice]) -> Iterator[bytes | memoryview]:
    """The chunks with the splices applied; splices are ordered by offset. Not for deflated data sets."""
    raise NotImplementedError


def spliced_deflated(chunks: Iterable[bytes | memoryview], splices: Sequence[Splice]) -> Iterator[bytes]:
    """Inflated, spliced and deflated again (PS3.5 A.5); the splices' offsets count in the inflated data set."""
    raise NotImplementedError


def spliced_length(size: int, splices: Sequence[Splice]) -> int:
    """Bytes that `spliced` yields for ``size`` bytes."""
    raise NotImplementedError
