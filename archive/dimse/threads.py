"""Threads that serve one connection after another, and make sure themselves that one of them waits for the next.

To start a thread costs its starter a wait until it runs, which is long while hundreds of others want the interpreter.
Whoever accepts connections must not be the one who waits: those who are honest stand behind a crowd in the same queue.
"""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

import structlog

_Task = Callable[[], None]
IDLE_SECONDS: Final = 0.5
"""How long a thread stays that has nothing to do, and is not the last one that waits."""
_log = structlog.get_logger("strongroom.server")


def _wake() -> None:
    """A task that is none."""


class Threads:
    """As many threads as there are tasks at one time, and one that waits. `close` it."""

    def __init__(self, name: str, *, idle_seconds: float = IDLE_SECONDS) -> None:
        """``name`` is what each thread is called. There is none before `start`."""
        self._name = name
        self._idle_seconds = idle_seconds
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = False

    def start(self) -> None:
        """Start the first one that waits. Raises `RuntimeError` where no thread can be had."""
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def run(self, task: _Task) -> None:
        """Have a task done as soon as a thread can be had, and do not wait for it. What it raises ends a thread."""
        self._tasks.put(task)

    def close(self) -> None:
        """Threads end with what they are doing; tasks that wait are still done. Idempotent."""
        with self._lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._next()) is not None:
            task()

    def _next(self) -> _Task | None:
        """The next task; None once it is time to go."""
        with self._lock:
            self._waiting += 1
        while True:
            try:
                task = self._tasks.get(timeout=self._idle_seconds)
            except Empty:
                if self._may_go():
                    return None
                continue
            if task is not None:
                break
            # Closed: the others are to find out, too, and what came behind it is still done.
            self._tasks.put(None)
            if self._tasks.qsize() == 1:
                return None
        with self._lock:
            self._waiting -= 1
            last = self._waiting == 0
        if last:
            self._follow()
        elif task is not _wake and not self._tasks.empty():
            # Of two tasks that come at once the queue wakes one thread only; the other one is woken here.
            self._tasks.put(_wake)
        return task

    def _may_go(self) -> bool:
        """Whether another one waits for the next task."""
        with self._lock:
            others = self._waiting > 1
            self._waiting -= others
        return others

    def _follow(self) -> None:
        """Have another thread wait in place of this one."""
        try:
            self.start()
        except RuntimeError as error:
            # Whoever is done first with what it has takes the next task.
            _log.warning("no thread can be had for the next connection", error=str(error))
