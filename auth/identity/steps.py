"""What a verification looked at, told to whoever follows it (`strongroom identity test`), and to nobody else.

A step is a sentence of ours about what held. It never quotes a secret, a token, or a peer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_FOLLOWED: Final[ContextVar[list[str] | None]] = ContextVar("followed", default=None)


def checked(what: str) -> None:
    """Say that something was looked at, and held. Costs next to nothing where nobody follows."""
    steps = _FOLLOWED.get()
    if steps is not None:
        steps.append(what)


@contextmanager
def followed() -> Iterator[list[str]]:
    """The steps of what is verified inside the block, in this thread or in a copy of its context, as they are made."""
    steps: list[str] = []
    token = _FOLLOWED.set(steps)
    try:
        yield steps
    finally:
        _FOLLOWED.reset(token)
