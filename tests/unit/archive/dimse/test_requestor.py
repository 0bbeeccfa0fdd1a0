"""Associations that we open, against a real acceptor on loopback that can misbehave."""

import contextlib
import socket
import threading
import time

import pytest

from archive.dimse.requestor import Requestor
from archive.errors import NodeUnreachable
from archive.upper_layer.commands import c_store_rq
from archive.upper_layer.limits import Limits
from archive.upper_layer.negotiation import ProposedContext
from archive.upper_layer.requesting import Proposal
from auth.ports import NodeRecord
from auth.principal import NodeTrust
from storage.transfer_syntax import EXPLICIT_LITTLE
from tests.simulators.acceptor import Acceptor, Sink, refused
from tests.simulators.running_archive import free_port
from tests.simulators.subjects import node

CT = "1.2.840.10008.5.1.4.1.1.2"
PROPOSAL = Proposal("PACS2", "STRONGROOM", (ProposedContext(1, CT, (EXPLICIT_LITTLE,)),))
QUICK = Limits(connect_seconds=0.5, handshake_seconds=1, associate_seconds=1, answer_seconds=1, close_seconds=0.2)


def requestor(*, without_tls=True):
    return Requestor(None, None, QUICK, without_tls=without_tls)


def plain(port):
    return NodeRecord(node(name="PACS2", trust=NodeTrust.PLAIN), host="127.0.0.1", port=port)


@contextlib.contextmanager
def peer(*answers):
    """Takes one connection; reads something before each answer, and sends that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                for answer in answers:
                    connection.recv(65_536)
                    connection.sendall(answer)
                connection.recv(65_536)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def test_an_object_is_stored_and_the_association_released():
    with Acceptor() as acceptor:
        with requestor().associate(plain(acceptor.port), PROPOSAL) as association:
            assert dict(association.contexts) == {1: EXPLICIT_LITTLE}
            association.send(1, c_store_rq(1, CT, "1.2.3", ("WS1", 9)), [b"x" * 300_000, b"y"])
            response = association.receive_response(1)
        assert (response.status, response.message_id_being_responded_to) == (0, 1)
        assert acceptor.dispatcher.stored == [300_001]
        assert acceptor.admission.asked[0][1].calling_ae == "STRONGROOM"


@pytest.mark.parametrize(
    "record",
    [
        NodeRecord(node(name="PACS2", trust=NodeTrust.PLAIN)),
        plain(free_port()),
    ],
    ids=["no address", "nobody listens"],
)
def test_a_node_that_is_not_there_is_unreachable(record):
    with pytest.raises(NodeUnreachable):
        requestor().associate(record, PROPOSAL)


def test_a_connection_that_nobody_takes_is_given_up_in_time():
    with socket.socket() as listener, contextlib.ExitStack() as crowd:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = crowd.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        begun = time.monotonic()
        with pytest.raises(NodeUnreachable, match="no connection"):
            requestor().associate(plain(listener.getsockname()[1]), PROPOSAL)
    assert time.monotonic() - begun >= QUICK.connect_seconds


def test_a_plain_node_is_not_even_connected_to_where_that_is_off():
    with pytest.raises(NodeUnreachable, match="without TLS"):
        requestor(without_tls=False).associate(plain(1), PROPOSAL)


def test_a_rejection_is_told_by_its_numbers():
    with Acceptor(admission=refused(1, 1, 7)) as acceptor, pytest.raises(NodeUnreachable, match=r"\(1, 1, 7\)"):
        requestor().associate(plain(acceptor.port), PROPOSAL)


@pytest.mark.parametrize(
    "answers",
    [
        (b"",),
        (b"\7\0\0\0\0\4\0\0\0\0",),
        (b"\1\0\0\0\0\4\0\0\0\0",),
        (b"\2\0\0\0\0\4\0\0\0\0",),
        (b"HTTP/1.1 400 Bad Request\r\n",),
        (b"\2\0\xff\xff\xff\xff",),
    ],
    ids=["silence", "an abort", "a request", "an empty acceptance", "another protocol", "an endless acceptance"],
)
def test_a_peer_that_makes_no_sense_is_unreachable_in_time(answers):
    with peer(*answers) as port, pytest.raises(NodeUnreachable):
        requestor().associate(plain(port), PROPOSAL)


def test_a_peer_that_does_not_answer_a_request_is_given_up_in_time():
    class Silent(Sink):
        def handle(self, channel, context, command, data):
            data.drain()

    with Acceptor(dispatcher=Silent()) as acceptor:
        association = requestor().associate(plain(acceptor.port), PROPOSAL)
        association.send(1, c_store_rq(1, CT, "1.2.3"), [b"data"])
        with pytest.raises(NodeUnreachable):
            association.receive_response(1)
        association.close()


def test_a_request_in_place_of_a_response_ends_it():
    class Asking(Sink):
        def handle(self, channel, context, command, data):
            data.drain()
            channel.send(context.context_id, c_store_rq(1, CT, "1.2.3"), [b"data"])

    with Acceptor(dispatcher=Asking()) as acceptor:
        association = requestor().associate(plain(acceptor.port), PROPOSAL)
        association.send(1, c_store_rq(1, CT, "1.2.3"), [b"data"])
        with pytest.raises(NodeUnreachable):
            association.receive_response(1)


def test_what_breaks_while_it_is_sent_aborts():
    def breaks():
        yield b"x" * 400_000
        raise OSError("disk")

    with Acceptor() as acceptor:
        with pytest.raises(OSError, match="disk"), requestor().associate(plain(acceptor.port), PROPOSAL) as association:
            association.send(1, c_store_rq(1, CT, "1.2.3"), breaks())
        assert acceptor.dispatcher.stored == []
