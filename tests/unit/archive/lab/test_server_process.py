"""A server of a lab that does not come up, or does not want to end."""

import sys

import pytest

from archive.lab.server_process import ServerProcess
from archive.lab.system import free_port

LISTENS = """
import signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    listener.accept()[0].close()
"""


def test_a_server_that_ends_at_once_is_told_with_what_it_said(tmp_path):
    said = tmp_path / "out"
    said.write_text("of an earlier run\n")
    with pytest.raises(RuntimeError, match=r"(?s)sh does not answer: .*no such realm"):
        ServerProcess(["/bin/sh", "-c", "echo no such realm; exit 1"], free_port(), said)
    assert said.read_text() == "of an earlier run\nno such realm\n"


def test_a_server_that_does_not_want_to_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("archive.lab.server_process.STOP_SECONDS", 0.2)
    port = free_port()
    server = ServerProcess([sys.executable, "-c", LISTENS, str(port)], port, tmp_path / "out")
    server.stop()
    server.stop()
    with pytest.raises(RuntimeError, match="does not answer"):
        ServerProcess(["/bin/true"], port, tmp_path / "out")
