"""Listening, draining and closing."""

import socket
import threading

import pytest

from archive.dimse.server import DicomServer, Endpoint
from archive.errors import AuditUnavailable, ListenFailed
from tests.simulators.acceptor import (
    ECHO,
    PATIENCE,
    SHORT,
    Acceptor,
    Audit,
    OpenDoor,
    Sink,
    p_data,
    request_command,
    wait_until,
)


def test_an_address_that_is_taken_is_named_and_nothing_stays_open():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        endpoints = [Endpoint("127.0.0.1", 0, None), Endpoint("127.0.0.1", port, None)]
        server = DicomServer(endpoints, SHORT, OpenDoor(), Sink(), Audit())
        with pytest.raises(ListenFailed, match=str(port)):
            server.listen()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("accept-")]


def test_a_drained_server_takes_nobody_and_lets_a_request_finish():
    begun, go_on = threading.Event(), threading.Event()

    def serve(channel, context, request, data):
        begun.set()
        assert go_on.wait(PATIENCE)
        channel.send(context.context_id, request)

    with Acceptor(dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        half_open = acceptor.connect()
        wait_until(lambda: acceptor.server.connections == (0, 1, 1), "accepted")
        peer.send(p_data((1, 3, request_command(0x21))))
        assert begun.wait(PATIENCE)
        drained: list[bool] = []
        thread = threading.Thread(target=lambda: drained.append(acceptor.server.drain(PATIENCE)))
        thread.start()
        assert half_open.pdu()[0] == 0
        half_open.socket.close()
        with pytest.raises(ConnectionError):
            acceptor.connect()
        go_on.set()
        assert peer.pdu()[0] == 4, "the answer"
        assert peer.pdu()[0] == 7, "the end"
        peer.socket.close()
        thread.join(PATIENCE)
        assert drained == [True]


def test_a_request_that_does_not_finish_is_cut_when_the_time_is_over():
    def serve(channel, context, request, data):
        wait_until(lambda: channel.cancel_requested(1), "never: the connection is cut")

    with Acceptor(dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(0x21))))
        assert not acceptor.server.drain(0.1)
        assert peer.pdu()[0] in (0, 7)


def test_a_busy_association_ends_between_two_requests_when_the_server_drains():
    with Acceptor() as acceptor, acceptor.associated() as peer:
        drained: list[bool] = []
        thread = threading.Thread(target=lambda: drained.append(acceptor.server.drain(PATIENCE)))
        thread.start()
        kind = 4
        while kind == 4:
            # Never idle for as long as a second, which is when an idle association looks.
            peer.send(p_data((1, 3, ECHO)))
            kind, _ = peer.pdu()
        assert kind == 7
        peer.socket.close()
        thread.join(PATIENCE)
        assert drained == [True]


def test_close_ends_every_connection_and_may_be_repeated():
    with Acceptor() as acceptor:
        peers = [acceptor.connect(), acceptor.associated()]
        acceptor.server.close()
        acceptor.server.close()
        for peer in peers:
            while peer.pdu()[0]:
                pass
            peer.socket.close()


def test_an_audit_that_fails_takes_no_thread_with_it(monkeypatch):
    with Acceptor() as acceptor:

        def fail(*events):
            raise AuditUnavailable("disk full")

        monkeypatch.setattr(acceptor.audit, "record", fail)
        with acceptor.connect() as peer:
            peer.send(b"junk junk junk")
            assert peer.abort()
        with acceptor.requestor() as honest:
            assert honest.echo() == 0


def test_a_tls_context_that_cannot_be_made_costs_one_connection():
    def broken():
        raise OSError("no certificate")

    server = DicomServer([Endpoint("127.0.0.1", 0, broken)], SHORT, OpenDoor(), Sink(), Audit())
    server.listen()
    try:
        with socket.create_connection(server.addresses[0], PATIENCE) as peer:
            assert peer.recv(1) == b""
        wait_until(lambda: server.connections == (0, 0, 0), "left")
    finally:
        server.close()
