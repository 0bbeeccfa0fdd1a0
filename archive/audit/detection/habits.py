"""Memory of bounded size: what a rule knows of each person or source, the least recently seen forgotten first."""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Generic, TypeVar

SUBJECTS: Final = 4096
"""People, sources or nodes that one rule remembers."""
HOURS: Final = 336
"""Past hours of activity of one person that are remembered."""
HABIT_HOURS: Final = 8
"""Of them, from which on there is a habit: fewer, and one excess would be the measure of the next."""

Value = TypeVar("Value")


class Remembered(Generic[Value]):
    """A value for each of the `SUBJECTS` seen last."""

    def __init__(self, new: Callable[[], Value], most: int = SUBJECTS) -> None:
        self._new = new
        self._most = most
        self._values: OrderedDict[str, Value] = OrderedDict()

    def of(self, subject: str) -> Value:
        """The subject's value, a new one if there is none."""
        value = self._values.get(subject)
        if value is None:
            value = self._values[subject] = self._new()
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        self._values.move_to_end(subject)
        return value

    def items(self) -> list[tuple[str, Value]]:
        """Every subject with its value, the most recently seen last."""
        return list(self._values.items())


@dataclass(slots=True)
class Hours:
    """How much somebody did in the present hour, and in past ones; hours without activity do not count."""

    hour: int = -1
    present: int = 0
    past: deque[int] = field(default_factory=lambda: deque(maxlen=HOURS))
    alerted: bool = False
    """In the present hour."""

    def add(self, hour: int, amount: int) -> None:
        """Count what was done in an hour, by its number."""
        if hour != self.hour:
            if self.present:
                self.past.append(self.present)
            self.hour, self.present, self.alerted = hour, 0, False
        self.present += amount

    @property
    def habit(self) -> float:
        """The median of past hours; 0 while there is no habit."""
        return median(self.past) if len(self.past) >= HABIT_HOURS else 0.0
