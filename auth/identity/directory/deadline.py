"""One absolute end for everything that is asked of a directory on behalf of one person."""

import time

from auth.errors import ProviderUnavailable


class Deadline:
    """Counts down from its making. Waits are given what is left, so that many short ones do not add up."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, awaited: str) -> float:
        """Seconds that remain to wait for the directory to do what ``awaited`` says; always more than none.

        Raises:
            ProviderUnavailable: none remain.
        """
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise too_slow(awaited)
        return seconds


def too_slow(awaited: str) -> ProviderUnavailable:
    """The refusal that says for what the directory was given up."""
    return ProviderUnavailable(f"the directory did not {awaited} in time")
