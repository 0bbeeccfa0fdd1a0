"""What a server's processes use up: processor time, memory, and what they do while nobody asks anything."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from threading import Event, Thread
from typing import TypeVar

import psutil

from benchmarks.servers import Server
from tests.simulators.scu import IMPLICIT, VERIFICATION, Requestor

MIB = 1024 * 1024
_Said = TypeVar("_Said")
_IDLE_ASSOCIATIONS, _IDLE_SECONDS = 50, 10.0
_PEAK_INTERVAL_SECONDS = 0.02


def processes(server: Server) -> list[psutil.Process]:
    """The server's process and all below it."""
    top = psutil.Process(server.process.pid)
    return [top, *top.children(recursive=True)]


def _of_each(server: Server, asked: Callable[[psutil.Process], _Said]) -> Iterator[_Said]:
    """What is said of each process; one that ends meanwhile, as a server that forks has them, says nothing."""
    for process in processes(server):
        with suppress(psutil.NoSuchProcess):
            yield asked(process)


def processor_seconds(server: Server) -> float:
    """User and system time of the whole server so far, ended children included."""
    spent = _of_each(server, psutil.Process.cpu_times)
    return sum(times.user + times.system + times.children_user + times.children_system for times in spent)


def memory_bytes(server: Server) -> int:
    """What the whole server keeps in memory, shared pages counted once (proportional set size)."""
    return sum(int(info.pss) for info in _of_each(server, psutil.Process.memory_full_info))


class Peak:
    """The most memory that a server keeps while the block runs, beyond what it kept before, in MiB."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._over = Event()
        self._before = self._most = 0
        self._watch = Thread(target=self._look, daemon=True)

    @property
    def mebibytes(self) -> float:
        """Known after the block; at least a tenth, since it is divided by."""
        return max((self._most - self._before) / MIB, 0.1)

    def __enter__(self) -> "Peak":
        self._before = self._most = memory_bytes(self._server)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._over.wait(_PEAK_INTERVAL_SECONDS):
            self._most = max(self._most, memory_bytes(self._server))


def associating(server: Server, count: int = 300, uncounted: int = 50) -> float:
    """Associations per second, one after another, each with a TLS handshake and released in order.

    The first ones are not counted: a server that has just started is busy with that, whichever it is.
    """
    tls = server.tls("SENDER")

    def associate(number: int) -> None:
        for _ in range(number):
            with Requestor(server.port, tls, "SENDER", server.title, [(VERIFICATION, [IMPLICIT])]):
                pass

    associate(uncounted)
    begun = time.perf_counter()
    associate(count)
    return count / (time.perf_counter() - begun)


def idling(server: Server) -> float:
    """Share of one processor, in percent, that the server uses for associations on which nothing happens."""
    tls = server.tls("SENDER")
    with ExitStack() as held:
        for _ in range(_IDLE_ASSOCIATIONS):
            held.enter_context(Requestor(server.port, tls, "SENDER", server.title, [(VERIFICATION, [IMPLICIT])]))
        time.sleep(1)
        before = processor_seconds(server)
        time.sleep(_IDLE_SECONDS)
        used = processor_seconds(server) - before
    # The clock of processor time ticks in hundredths.
    return max(100 * used / _IDLE_SECONDS, 0.1)
