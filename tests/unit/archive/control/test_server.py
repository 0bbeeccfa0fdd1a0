"""The control socket: whose it is, who may speak, and what a peer can do to it."""

import contextlib
import os
import socket
import threading

import pytest

from archive.control import server as control
from archive.control.client import ask, connected
from archive.control.endpoint import socket_address
from archive.control.operator import Operator
from archive.control.protocol import MAX_REQUEST_BYTES, OperationRefused
from archive.control.server import ControlServer
from archive.errors import ServerUnreachable, UsageInvalid
from auth.errors import RecordMissing


@pytest.fixture
def path(tmp_path):
    return tmp_path / "control.sock"


@pytest.fixture
def served(path):
    seen = []

    def handler(request, operator):
        seen.append((request, operator))
        match request.operation:
            case "missing":
                raise RecordMissing("no user of that name")
            case "defect":
                raise ZeroDivisionError("a secret")
            case "disk":
                raise OSError(28, "No space left on device")
        return dict(request.arguments)

    server = ControlServer(path, handler)
    server.start()
    yield seen
    server.close()
    server.close()
    assert not path.exists()


def request(path, operation="echo", **arguments):
    connection = connected(path)
    assert connection is not None
    return ask(connection, path, operation, arguments)


def raw(path):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(30)
    with socket_address(path) as address:
        connection.connect(address)
    return connection


def test_the_socket_is_the_owners_alone(path, served):
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_request_is_done_and_its_operator_is_who_the_kernel_says(path, served):
    assert request(path, word="x") == {"word": "x"}
    [(_, operator)] = served
    assert operator == Operator.of(os.getuid())


def test_refusals_come_back_with_their_number(path, served):
    with pytest.raises(OperationRefused) as refused:
        request(path, "missing")
    assert (refused.value.failure.number, refused.value.failure.message) == (352, "no user of that name")


def test_a_defect_ends_neither_the_server_nor_shows_its_inside(path, served, capsys):
    with pytest.raises(OperationRefused) as refused:
        request(path, "defect")
    assert refused.value.failure.number == 100 and "secret" not in refused.value.failure.message
    with pytest.raises(OperationRefused, match="No space left"):
        request(path, "disk")
    assert request(path, a="1") == {"a": "1"}


def test_another_user_of_the_machine_is_not_answered(path, served, monkeypatch):
    monkeypatch.setattr(control.os, "geteuid", lambda: 12345)
    monkeypatch.setattr(control, "ROOT", 54321)
    # It may be gone before it has heard anything.
    with raw(path) as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        connection.sendall(b'{"operation":"echo","arguments":{}}\n')
        assert connection.recv(100) == b""
    assert served == []


def test_a_line_without_end_is_refused_at_its_limit(path, served):
    with raw(path) as connection:
        try:
            connection.sendall(b"x" * (MAX_REQUEST_BYTES + 2))
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        except (BrokenPipeError, ConnectionResetError):
            answer = b"E107"
    assert b"107" in answer
    assert served == []
    assert request(path) == {}


def test_a_silent_peer_holds_the_socket_no_longer_than_the_deadline(path, served, monkeypatch):
    monkeypatch.setattr(control, "REQUEST_SECONDS", 0.05)
    with raw(path) as silent:
        assert request(path, a="b") == {"a": "b"}
        assert b"107" in silent.recv(4096)


def test_a_peer_that_leaves_ends_only_itself(path, served):
    for data in (b"", b"{", b"\n"):
        raw(path).close()
        with raw(path) as connection:
            connection.sendall(data)
    assert request(path) == {}


def test_requests_are_done_one_at_a_time(path):
    inside, most = [], []

    def handler(request, operator):
        inside.append(1)
        most.append(len(inside))
        inside.pop()

    server = ControlServer(path, handler)
    server.start()
    threads = [threading.Thread(target=request, args=(path,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.close()
    assert most == [1] * 8


def test_a_long_path_is_no_obstacle(tmp_path):
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    server = ControlServer(folder / "control.sock", lambda request, operator: "here")
    server.start()
    assert request(folder / "control.sock") == "here"
    server.close()


def test_a_leftover_of_a_killed_server_is_replaced(path):
    path.touch()
    server = ControlServer(path, lambda request, operator: "here")
    server.start()
    assert request(path) == "here"
    server.close()


def test_where_nobody_listens_there_is_no_connection(path):
    assert connected(path) is None
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with socket_address(path) as address:
        listener.bind(address)
    listener.close()
    assert connected(path) is None


def test_a_server_that_dies_over_a_request_is_told_as_such(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        with socket_address(path) as address:
            listener.bind(address)
        listener.listen()
        connection = connected(path)
        listener.accept()[0].close()
        with pytest.raises((ServerUnreachable, UsageInvalid)):
            ask(connection, path, "echo", {})
