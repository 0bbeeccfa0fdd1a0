"""An honest modality in a process of its own: a crowd's threads in the test's process would be measured with it.

    python -m tests.simulators.honest PORT MATERIAL TITLE SOURCE

Each line on standard input asks for one association with a C-ECHO; each line on standard output says what came of it.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import Requestor, client_tls

_TITLE = "CT1"


class Honest:
    """Opens associations when it is told to: seconds from nothing to a verified C-ECHO, and failures."""

    def __init__(self, archive: RunningArchive, source: str = "127.0.0.1") -> None:
        self.source = source
        self.times: list[float] = []
        self.failures: list[str] = []
        material = archive.folder / "nodes" / _TITLE
        command = [sys.executable, "-m", __name__, str(archive.port), str(material), _TITLE, source]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Honest":
        return self

    def __exit__(self, *_: object) -> None:
        # Closes its standard input, which ends it.
        self._process.communicate(timeout=60)

    @contextlib.contextmanager
    def working(self, pause: float = 0.05) -> Iterator["Honest"]:
        """Work until the end of the block."""
        over = threading.Event()

        def work() -> None:
            while not over.is_set():
                self.once()
                over.wait(pause)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield self
        finally:
            over.set()
            thread.join()

    def once(self) -> None:
        """One association."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("once\n")
        self._process.stdin.flush()
        seconds, failure = json.loads(self._process.stdout.readline())
        if failure:
            self.failures.append(failure)
        else:
            self.times.append(seconds)

    def percentile(self, share: float) -> float:
        """Of the times so far."""
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _associate(port: int, material: Path, title: str, source: str) -> tuple[float, str]:
    begun = time.monotonic()
    try:
        with Requestor(port, client_tls(material), title, source=source) as modality:
            assert modality.echo() == 0
    except Exception as error:
        return 0.0, repr(error)
    return time.monotonic() - begun, ""


if __name__ == "__main__":
    _, _port, _material, _called, _source = sys.argv
    for _ in sys.stdin:
        print(json.dumps(_associate(int(_port), Path(_material), _called, _source)), flush=True)
