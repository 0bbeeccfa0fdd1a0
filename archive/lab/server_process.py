"""One program that serves on loopback for as long as a lab lasts."""

import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

START_SECONDS: Final = 10.0
STOP_SECONDS: Final = 5.0


class ServerProcess:
    """A server that answers. Not thread-safe; whoever starts it stops it."""

    def __init__(
        self, command: Sequence[str], port: int, output: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it in a session of its own, and wait until somebody answers on this port of 127.0.0.1.

        Args:
            command: the program and its arguments.
            port: where it will listen.
            output: gets what it says, behind what is there already.
            environment: None: ours.

        Raises:
            RuntimeError: it does not answer, with the end of what it said; it does not run any more.
        """
        with output.open("ab") as said:
            self._process = subprocess.Popen(  # noqa: S603  (a program of the system, no shell)
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        if not self._answers(port):
            self.stop()
            raise RuntimeError(f"{Path(command[0]).name} does not answer: {output.read_text()[-500:].strip()}")

    def stop(self) -> None:
        """End it, and wait until it has ended; idempotent."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self, port: int) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            except OSError:
                time.sleep(0.02)
            else:
                return True
        return False
