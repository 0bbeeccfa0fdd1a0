"""``strongroom rebuild``: the index made anew from objects and ledger."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from archive.cli.frame import HomeOption, JsonOption, ask, home_of, print_json, say
from archive.home import Home

_PAUSE_SECONDS = 0.2


def rebuild(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Make the index anew. Studies, labels, holds and deletions come from ledger and objects, every byte checked.

    A running server does it itself: until it is done it answers queries, retrievals and stores with A700. An index that
    cannot even be opened is set aside, and stays there for you to look at.
    """
    place = home_of(home)
    from archive.control.client import connected
    from archive.control.rebuild import rebuilt_in_words
    from archive.logs import configure_log

    configure_log("warning")
    connection = connected(place.control_socket)
    if connection is not None:
        connection.close()
    with _bar() as progress:
        if connection is None:
            events, aside = _alone(place, progress)
        else:
            events, aside = _beside_server(home, progress), None
    if as_json:
        print_json({"events": events, "set_aside": aside})
        return
    say(rebuilt_in_words(events))
    if aside:
        say(f"the damaged index is in {aside}: remove it once you have looked")


def _alone(home: Home, progress: Callable[[int, int], None]) -> tuple[int, str | None]:
    from archive.audit.events import Alert
    from archive.control.lock import HomeLock
    from archive.control.operator import Operator
    from archive.control.rebuild import rebuilt_in_words
    from archive.rebuilding import rebuilt

    with HomeLock(home.lock), rebuilt(home, progress) as (archive, outcome):
        facts = {"change": "index-rebuilt", "events": outcome.events}
        words = rebuilt_in_words(outcome.events)
        archive.tell("authority", facts, Operator.this().actor, words, Alert.SOFTWARE_CONFIGURATION)
    return outcome.events, str(outcome.set_aside) if outcome.set_aside else None


def _beside_server(home: Any, progress: Callable[[int, int], None]) -> int:
    from archive.control.protocol import Failure, OperationRefused

    ask(home, "index.rebuild")
    while True:
        state = ask(home, "index.progress")
        progress(state["done"], state["total"])
        if not state["running"]:
            break
        time.sleep(_PAUSE_SECONDS)
    if state["failure"] is not None:
        raise OperationRefused(Failure(*state["failure"]))
    return int(state["total"])


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error, where somebody looks at it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("ledger records"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("rebuild", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield progress
