"""One association as its services see it: channel, data sets, cancels, and its ends."""

import dataclasses
import threading

import pytest

from archive.dimse.association import Association
from archive.dimse.channel import Peer
from archive.dimse.transport import Transport
from archive.errors import LimitExceeded
from archive.upper_layer.commands import SubOperations, c_find_rsp, c_store_rq, retrieve_rsp
from archive.upper_layer.negotiation import AssociationAnswer, ContextResult
from tests.simulators.acceptor import (
    ECHO,
    RELEASE_RQ,
    SHORT,
    STORE,
    Acceptor,
    OpenDoor,
    Sink,
    cancel_command,
    p_data,
    request_bytes,
    request_command,
    socket_pair,
    wait_until,
)
from tests.simulators.scu import CT, IMPLICIT, STUDY_FIND, STUDY_GET, VERIFICATION, Requestor, identifier

FIND, GET = 0x20, 0x10


def requestor(acceptor: Acceptor, **options) -> Requestor:
    contexts = [(VERIFICATION, [IMPLICIT]), (STUDY_FIND, [IMPLICIT]), (STUDY_GET, [IMPLICIT]), (CT, [IMPLICIT])]
    return Requestor(acceptor.port, None, "WS1", contexts=contexts, **options)


def test_echo_and_store_are_answered_whatever_the_fragments():
    with Acceptor() as acceptor, requestor(acceptor) as scu:
        assert scu.echo() == 0
        for size in (0, 1, 10, 131_066, 131_067, 400_000):
            assert scu.store(CT, "1.2.3", bytes(size)).status == 0
        assert scu.store(CT, "1.2.3", bytes(3_000), fragment=2).status == 0
        assert scu.echo() == 0
    assert acceptor.dispatcher.stored == [0, 1, 10, 131_066, 131_067, 400_000, 3_000]


def test_what_the_service_did_not_read_of_a_data_set_is_drained():
    def serve(channel, context, request, data):
        channel.send(context.context_id, c_find_rsp(request, 0xA700))

    with Acceptor(dispatcher=Sink(serve)) as acceptor, requestor(acceptor) as scu:
        for _ in range(3):
            assert scu.find(STUDY_FIND, bytes(300_000))[1].status == 0xA700
        assert scu.echo() == 0


def test_a_data_set_can_be_read_in_two_goes():
    sizes = []

    def serve(channel, context, request, data):
        sizes.append(len(next(iter(data))))
        sizes.append(sum(len(fragment) for fragment in data))
        data.drain()
        channel.send(context.context_id, c_find_rsp(request, 0))

    with Acceptor(dispatcher=Sink(serve)) as acceptor, requestor(acceptor) as scu:
        assert scu.find(STUDY_FIND, bytes(300_000))[1].status == 0
    assert sum(sizes) == 300_000


def test_a_data_set_beyond_what_its_service_allows_ends_the_association():
    caught = []

    def serve(channel, context, request, data):
        data.limit(10)
        try:
            data.drain()
        except LimitExceeded as error:
            caught.append(error)
            raise

    with Acceptor(dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(FIND, data=True)), (1, 2, bytes(11))))
        assert peer.abort() == (2, 6)
    assert caught


@pytest.mark.parametrize("max_pdu", [128, 1_000, 16_384, 0], ids=["128", "1000", "16384", "unlimited"])
def test_no_pdu_is_longer_than_the_requestor_takes(max_pdu):
    data = bytes(range(256)) * 1_200

    def serve(channel, context, request, incoming):
        incoming.drain()
        channel.send_many(context.context_id, [(c_find_rsp(request, 0xFF00, has_identifier=True), b"match")] * 10)
        channel.send(context.context_id, c_find_rsp(request, 0xFF00, has_identifier=True), (data,))
        channel.send(context.context_id, c_find_rsp(request, 0))

    with Acceptor(dispatcher=Sink(serve)) as acceptor, requestor(acceptor, max_pdu=max_pdu) as scu:
        lengths = []
        whole = scu._pdu
        scu._pdu = lambda: (lambda pdu: (lengths.append(len(pdu[1])), pdu)[1])(whole())
        found, final = scu.find(STUDY_FIND, b"keys")
    assert found == [b"match"] * 10 + [data]
    assert final.status == 0
    assert max(lengths[:-1]) <= (max_pdu or SHORT.pdu_bytes)


def sub_operations(count: int):
    """A C-GET service of so many objects, that stops where it is cancelled; and what it saw."""
    statuses: list[int] = []

    def serve(channel, context, request, data):
        data.drain()
        store = next(each for each in channel.contexts.values() if each.abstract_syntax == CT)
        for number in range(count):
            if channel.cancel_requested(request.message_id):
                channel.send(
                    context.context_id, retrieve_rsp(request, 0xFE00, SubOperations(number, 0, 0, count - number))
                )
                return
            channel.send(store.context_id, c_store_rq(number + 1, CT, f"1.2.{number}"), (b"object",))
            statuses.append(channel.receive_response(store.context_id).status)
        channel.send(context.context_id, retrieve_rsp(request, 0, SubOperations(count, 0, 0)))

    return serve, statuses


def test_sub_operations_are_answered_one_by_one():
    serve, statuses = sub_operations(20)
    with Acceptor(dispatcher=Sink(serve)) as acceptor, requestor(acceptor) as scu:
        objects, responses = scu.get(STUDY_GET, identifier("STUDY", {}))
    assert [each.data for each in objects] == [b"object"] * 20
    assert statuses == [0] * 20
    assert responses[-1].status == 0


def test_a_cancel_between_a_sub_operation_and_its_response_is_remembered():
    serve, statuses = sub_operations(20)
    with Acceptor(dispatcher=Sink(serve)) as acceptor, requestor(acceptor) as scu:
        scu.begin(STUDY_GET, GET, b"keys")
        first = scu.receive()
        scu._send(scu.context_of(STUDY_GET), cancel_command(1))
        scu.answer_store(first)
        assert scu.receive().status == 0xFE00
        assert scu.echo() == 0
    assert statuses == [0]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(p_data((1, 3, ECHO)), id="a-request"),
        pytest.param(p_data((3, 2, b"data")), id="a-data-set"),
        pytest.param(b"\x09\0\0\0\0\0", id="an-unknown-pdu"),
    ],
)
def test_anything_but_the_response_to_a_sub_operation_is_aborted(answer):
    serve, _ = sub_operations(1)
    with Acceptor(dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(GET, data=True)), (1, 2, b"keys")))
        assert peer.pdu()[0] == 4
        assert peer.pdu()[0] == 4
        peer.send(answer)
        assert peer.abort()[0] == 2


def test_a_message_that_goes_with_the_next_one_goes_before_it():
    def serve(channel, context, request, data):
        channel.send_with_next(context.context_id, c_find_rsp(request, 0xFF00))
        channel.send_with_next(context.context_id, c_find_rsp(request, 0xFF01))
        channel.send(context.context_id, c_find_rsp(request, 0))

    with Acceptor(dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(FIND))))
        assert [peer.status() for _ in range(3)] == [0xFF00, 0xFF01, 0]


def test_nobody_is_waited_for_who_has_not_been_sent_everything():
    def serve(channel, context, request, data):
        channel.send_with_next(context.context_id, c_find_rsp(request, 0xFF00))

    with Acceptor(dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(FIND))))
        assert peer.status() == 0xFF00


def test_a_release_during_a_request_ends_the_service_and_is_answered():
    serve, statuses = sub_operations(1)
    with Acceptor(dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(GET, data=True)), (1, 2, b"keys")))
        assert [peer.pdu()[0], peer.pdu()[0]] == [4, 4]
        peer.send(RELEASE_RQ)
        assert peer.pdu()[0] == 6
    assert not statuses


def test_roles_and_contexts_are_those_of_the_answer():
    seen = []

    def answer(request):
        results = [ContextResult(1, 0, IMPLICIT), ContextResult(3, 3, IMPLICIT)]
        return AssociationAnswer(tuple(results), {VERIFICATION: (False, True)})

    def serve(channel, context, request, data):
        seen.append((context, channel.session.node.name, list(channel.contexts)))
        channel.send(context.context_id, c_find_rsp(request, 0))

    door = OpenDoor(answer=answer)
    with Acceptor(admission=door, dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(FIND))))
        assert peer.status() == 0
        peer.send(p_data((3, 3, STORE)))
        assert peer.abort()[0] == 2, "a context that was refused"
    ((context, name, contexts),) = seen
    assert (context.scu_role, context.scp_role, context.transfer_syntax) == (False, True, IMPLICIT)
    assert (name, contexts) == ("WS1", [1])


def test_an_association_that_is_idle_ends_when_the_server_drains():
    draining = threading.Event()
    limits = dataclasses.replace(SHORT, idle_seconds=60.0)
    with socket_pair() as (ours, theirs):
        association = Association(
            Transport(theirs, limits),
            Peer("127.0.0.1", 1, False, None),
            limits,
            OpenDoor(),
            Sink(),
            established=lambda: True,
            draining=draining.is_set,
            violated=lambda session, error: pytest.fail(str(error)),
        )
        with pytest.raises(RuntimeError):
            _ = association.session
        thread = threading.Thread(target=association.run, name="peer-under-test")
        thread.start()
        ours.sendall(request_bytes())
        assert ours.recv(1) == b"\2"
        draining.set()
        received = b""
        while piece := ours.recv(4_096):
            received += piece
            if received.endswith(b"\7\0\0\0\0\4\0\0\0\0"):
                break
        else:
            pytest.fail("no A-ABORT")
        ours.close()
        wait_until(lambda: not thread.is_alive(), "the association ends")
