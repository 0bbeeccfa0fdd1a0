"""A clock that stands where a test has put it."""

from typing import Generic, TypeVar

_Moment = TypeVar("_Moment")


class Clock(Generic[_Moment]):
    """Says ``now``, a number of seconds or a datetime, until the test changes it."""

    def __init__(self, now: _Moment) -> None:
        self.now = now

    def __call__(self) -> _Moment:
        return self.now
