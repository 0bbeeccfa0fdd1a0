"""A search that finds nothing takes as long whether there is nothing, or nothing that may be seen.

A row that the policy's condition leaves out costs the database a few microseconds more than one that is not there;
two thousand askings are enough to tell the two apart. So such a search ends on a whole tick.
"""

import time
from collections.abc import Iterable, Iterator, Sized
from typing import Final, TypeVar

TICK_SECONDS: Final = 0.001
"""Several times what it takes to look for one study."""
_Page = TypeVar("_Page", bound=Sized)


class EvenTime:
    """The time of one search, from here on."""

    def __init__(self) -> None:
        self._begun = time.monotonic()

    def found_nothing(self) -> None:
        """Wait for the next tick."""
        time.sleep(TICK_SECONDS - (time.monotonic() - self._begun) % TICK_SECONDS)


def evenly(pages: Iterable[_Page]) -> Iterator[_Page]:
    """The pages as they come; where no page holds anything, their end comes on a tick."""
    search, found = EvenTime(), False
    for page in pages:
        found = found or len(page) > 0
        yield page
    if not found:
        search.found_nothing()
