"""Many things in handfuls (`itertools.batched`, which Python 3.11 does not have)."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")


def batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """The items in their order, as many at a time as ``size`` says, fewer only at the end."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
