"""Every limit of the front door is crossed: the peer gets an abort, a rejection or a coded status; it is audited once,
under the name that the settings give it, and counted under that name.
"""

import contextlib
import dataclasses
import socket
import ssl
import struct
import threading
import time
import zlib

import pytest

from archive.bootstrap import _stream_limits
from archive.dimse.query import read_identifier
from archive.dimse.status import Service, refusal
from archive.upper_layer.limits import Limits
from storage.errors import DataSetLimitExceeded
from storage.integrity.element_events import StreamLimits
from tests.simulators.acceptor import (
    ECHO,
    SHORT,
    STORE,
    Acceptor,
    Sink,
    p_data,
    request_bytes,
    request_command,
    wait_until,
)
from tests.simulators.certificates import make
from tests.simulators.encoding import DEFLATED, EXPLICIT, element, inspect, item, open_item, open_sequence, sequence
from tests.simulators.scu import IMPLICIT, VERIFICATION, Requestor

BY_PROVIDER = (2, 0)
INVALID = (2, 6)
LOCAL_LIMIT = (3, b"\0\2\3\2")


def limits(**changes: float) -> Limits:
    return dataclasses.replace(SHORT, **changes)


# -- what crosses a limit of connections and of the upper layer, and what the peer then gets --------------------------


def crowd(acceptor, count, *, established=False):
    """So many connections; the first of them is to go."""
    peers = []
    for number in range(count):
        peers.append(acceptor.associated() if established else acceptor.connect())
        if not established and number < count - 1:
            wait_until(lambda expected=number + 1: sum(acceptor.server.connections) >= expected, "accepted")
    return peers


def evicted(acceptor, peers):
    assert peers[0].pdu() == (0, b""), "closed without a word"
    for peer in peers:
        peer.socket.close()


def half_open(acceptor):
    peers = [acceptor.connect_tls() for _ in range(3)]
    evicted(acceptor, peers)


def associating(acceptor):
    evicted(acceptor, crowd(acceptor, 3))


def established(acceptor):
    peers = crowd(acceptor, 2, established=True)
    with acceptor.connect() as peer:
        peer.send(request_bytes())
        assert peer.pdu() == LOCAL_LIMIT
    for peer in peers:
        peer.socket.close()


def silent_handshake(acceptor):
    with acceptor.connect_tls() as peer:
        assert peer.pdu() == (0, b"")


def silent(acceptor):
    with acceptor.connect() as peer:
        assert peer.pdu() == (0, b"")


def sent_first(*parts, answer=INVALID):
    def cross(acceptor):
        with acceptor.connect() as peer:
            peer.send(*parts)
            assert peer.abort() in ((0, 0), answer)

    return cross


def sent_in_association(*parts, answer=INVALID):
    def cross(acceptor):
        with acceptor.associated() as peer:
            peer.send(*parts)
            assert peer.abort() == answer

    return cross


def dripped(acceptor):
    """A data set whose every PDU is in time, at a few bytes a second."""
    with acceptor.associated() as peer:
        peer.send(p_data((3, 3, STORE)))
        over = threading.Event()

        def drip():
            while not over.wait(0.05):
                peer.send(p_data((3, 0, b"ab")))

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert peer.abort() == BY_PROVIDER
        finally:
            over.set()
            dripping.join()


def never_read(acceptor):
    """An answer of a gigabyte that nobody takes."""
    with acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(0x21))))
        wait_until(lambda: acceptor.server.connections == (0, 0, 0), "cut")


def read_slowly(acceptor):
    """An answer that is taken, a few bytes at a time: no write ever waits for as long as send_seconds."""
    with acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(0x21))))
        while acceptor.server.connections[2]:
            with contextlib.suppress(OSError):
                peer.socket.recv(64, socket.MSG_DONTWAIT)
            time.sleep(0.02)


def small_pdus(acceptor):
    with acceptor.connect() as peer:
        request = request_bytes()
        at = request.index(b"\x51\0\0\4") + 4
        peer.send(request[:at] + struct.pack(">L", 7) + request[at + 4 :])
        assert peer.abort() in ((0, 0), INVALID)


def contexts(count):
    offered = [(VERIFICATION, [IMPLICIT])] * count
    return Requestor(0, None, "WS1", contexts=offered).request()


def endless_answer(channel, context, request, data):
    channel.send(context.context_id, request, (bytes(65_536) for _ in range(16_384)))


def an_identifier(channel, context, request, data):
    read_identifier(data, limits(identifier_bytes=10))


SLOW = {"least_bytes_per_second": 10_000, "rate_seconds": 0.3}
QUERY = p_data((1, 3, request_command(0x20, data=True)))

# Name: what the acceptor is given, what the peer does, and what serves its requests.
AT_THE_DOOR = {
    "half_open_connections": ({"half_open_connections": 2}, half_open, None),
    "half_open_per_source": ({"half_open_per_source": 2}, half_open, None),
    "associating_connections": ({"associating_connections": 2}, associating, None),
    "associating_per_source": ({"associating_per_source": 2}, associating, None),
    "associations": ({"associations": 2}, established, None),
    "associations_per_source": ({"associations_per_source": 2}, established, None),
    "handshake_seconds": ({"handshake_seconds": 0.2}, silent_handshake, None),
    "associate_seconds": ({"associate_seconds": 0.2}, silent, None),
    "pdu_seconds": ({"pdu_seconds": 0.2}, sent_in_association(p_data((3, 3, STORE)), answer=BY_PROVIDER), None),
    "idle_seconds": ({"idle_seconds": 0.2}, sent_in_association(answer=BY_PROVIDER), None),
    "send_seconds": ({"send_seconds": 0.2}, never_read, endless_answer),
    "least_bytes_per_second": (SLOW, dripped, None),
    "rate_seconds": (SLOW | {"send_seconds": 60}, read_slowly, endless_answer),
    "associate_pdu_bytes": ({"associate_pdu_bytes": 4_096}, sent_first(struct.pack(">BxL", 1, 4_097)), None),
    "pdu_bytes": ({"pdu_bytes": 4_096}, sent_in_association(struct.pack(">BxL", 4, 4_097)), None),
    "smallest_peer_pdu_bytes": ({}, small_pdus, None),
    "presentation_contexts": ({"presentation_contexts": 3}, sent_first(contexts(4)), None),
    "items": ({"items": 10}, sent_first(contexts(5)), None),
    "command_bytes": ({"command_bytes": 256}, sent_in_association(p_data((1, 1, bytes(257)))), None),
    "identifier_bytes": ({}, sent_in_association(QUERY, p_data((1, 2, bytes(11)))), an_identifier),
    "data_set_bytes": (
        {"data_set_bytes": 100},
        sent_in_association(p_data((3, 3, STORE)), p_data((3, 2, bytes(101)))),
        None,
    ),
}
UNDER_ANOTHER_NAME = {"rate_seconds": "least_bytes_per_second"}


@pytest.mark.parametrize("name", AT_THE_DOOR)
def test_who_crosses_a_limit_at_the_door_is_refused_audited_once_and_counted(name, tmp_path):
    changes, cross, handler = AT_THE_DOOR[name]
    with Acceptor(limits(**changes), dispatcher=Sink(handler), tls=server_tls(tmp_path)) as acceptor:
        cross(acceptor)
        wait_until(lambda: sum(acceptor.server.connections) == 0, "all of them are gone")
        # A place is given back before it is told why: whoever waits for it need not wait for the audit.
        wait_until(lambda: bool(acceptor.audit.events), "it is in the audit")
        told = UNDER_ANOTHER_NAME.get(name, name)
        assert len(acceptor.audit.events) == 1, acceptor.audit.reasons
        assert told in acceptor.audit.reasons[0]
        wait_until(lambda: acceptor.counted("limits_crossed_total", f'{{limit="{told}"}}') == 1, "it is counted")


def server_tls(folder):
    certificate, key = make("archive", usages=[]).write(folder, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


# -- penalties: nobody is refused for them, there is only less patience -----------------------------------------------


def fail(acceptor, source="127.0.0.1"):
    with acceptor.connect(source) as peer:
        peer.send(b"junk junk junk")
        peer.pdus()


def test_a_source_that_failed_often_has_less_time_and_is_let_in_all_the_same():
    patience = limits(penalty_failures=3, penalty_seconds=600, penalty_deadline_seconds=0.2)
    with Acceptor(patience) as acceptor:
        for _ in range(3):
            fail(acceptor)
        begun = time.monotonic()
        with acceptor.connect() as peer:
            assert peer.pdu() == (0, b"")
        assert "associate_seconds (0.2)" in acceptor.audit.reasons[-1]
        assert time.monotonic() - begun < SHORT.associate_seconds / 2
        with acceptor.connect("127.0.0.7") as elsewhere:
            with acceptor.requestor() as honest:
                assert honest.echo() == 0
            elsewhere.socket.settimeout(0.4)
            with pytest.raises(TimeoutError):
                elsewhere.socket.recv(1)
        with acceptor.connect() as again:
            again.socket.settimeout(0.4)
            with pytest.raises(TimeoutError):
                again.socket.recv(1), "who was let in has cleared its source"


# -- what crosses a limit of one stored data set ----------------------------------------------------------------------


def nested(depth):
    """Sequences of undefined length within one another."""
    data = b""
    for _ in range(depth):
        data = open_sequence(0x00081140, open_item(data))
    return data


def bomb(size):
    compress = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    header = element(0x7FE00010, b"OB", length=size)
    return compress.compress(header + bytes(size)) + compress.flush()


IN_A_DATA_SET = {
    "data_set_elements": (100, EXPLICIT, sequence(0x00081140, *(item() for _ in range(101)))),
    "data_set_depth": (16, EXPLICIT, nested(17)),
    "inflated_bytes": (1_000, DEFLATED, bomb(1_000_000)),
    "inflation_ratio": (2, DEFLATED, bomb(1_000_000)),
    "tokenizer_seconds": (0.005, EXPLICIT, sequence(0x00081140, *(item() for _ in range(200_000)))),
}


@pytest.mark.parametrize("name", IN_A_DATA_SET)
def test_a_data_set_that_crosses_a_limit_is_refused_as_out_of_resources(name):
    value, syntax, data = IN_A_DATA_SET[name]
    others = {"inflated_bytes": 1_000, "inflation_ratio": 2} if name.startswith("infl") else {}
    bounded = _stream_limits(dataclasses.replace(Limits(), **(others | {name: value})))
    with pytest.raises(DataSetLimitExceeded) as refused:
        inspect(data, syntax, limits=bounded)
    assert refusal(refused.value, Service.STORE).status == 0xA700


def test_the_settings_have_the_defaults_of_the_tokenizer():
    assert _stream_limits(Limits()) == StreamLimits()


def test_ten_thousand_sequences_within_one_another_are_refused_and_nothing_recurses():
    with pytest.raises(DataSetLimitExceeded, match="128"):
        inspect(b"".join(open_sequence(0x00081140)[:12] + open_item()[:8] for _ in range(10_000)))


def test_a_thousand_to_one_is_refused_before_it_is_written_out():
    data = bomb(256 * 1024 * 1024)
    assert 256 * 1024 * 1024 / len(data) > 1_000
    with pytest.raises(DataSetLimitExceeded):
        inspect(data, DEFLATED)


# -- and nothing was left out -----------------------------------------------------------------------------------------

ELSEWHERE = {
    "close_seconds": "tests/attack/test_front_door.py: a peer that never closes is closed after the last word",
    "connect_seconds": "tests/unit/archive/dimse/test_requestor.py: a connection that nobody takes",
    "answer_seconds": "tests/unit/archive/dimse/test_requestor.py: a peer that does not answer a request",
    "penalty_failures": "above",
    "penalty_seconds": "tests/unit/archive/test_penalties.py: failures are forgotten with time",
    "penalty_deadline_seconds": "above",
}


def test_every_limit_there_is_has_a_test_that_crosses_it():
    assert {field.name for field in dataclasses.fields(Limits)} == {*AT_THE_DOOR, *IN_A_DATA_SET, *ELSEWHERE}


def test_an_echo_crosses_nothing():
    with Acceptor() as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, ECHO)))
        assert peer.status() == 0
    assert not acceptor.audit.events
    assert not [name for name in acceptor.metrics.samples() if "limits_crossed" in name]
