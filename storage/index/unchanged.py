"""What was read of the index and is still true, because nothing was written since.

For the few things that are asked before every object and every page, each a tenth of what the object or page costs.
Where others may write the database too, everything is read each time.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy import Connection

from storage.index.engine import IndexEngine

MOST: Final = 1024
"""Answers that are remembered; more than that are read each time."""
_Read = TypeVar("_Read")


class Unchanged:
    """The answers of one engine. Safe to share among threads."""

    def __init__(self, engine: IndexEngine) -> None:
        self._engine = engine
        self._answers: tuple[int | None, dict[tuple[str, ...], Any]] = (None, {})
        """As of which change of the index, and by what was asked; put in place as one, never changed in its first."""

    def read(self, what: tuple[str, ...], reading: Callable[[Connection], _Read]) -> _Read:
        """The answer to ``what``, which one way of ``reading`` always belongs to. Raises `IndexFault`."""
        # Asked before the reading: an answer that is newer than its number is read again, never the other way round.
        changes = self._engine.changes
        asof, answers = self._answers
        if changes is None or asof != changes:
            answers = {}
            self._answers = (changes, answers)
        elif what in answers:
            found: _Read = answers[what]
            return found
        with self._engine.reading() as connection:
            answer = reading(connection)
        if len(answers) < MOST:
            answers[what] = answer
        return answer
