"""A socket under deadlines, on a real connection."""

import dataclasses
import threading
import time

import pytest

from archive.dimse.transport import Transport
from archive.errors import PeerGone, PeerTooSlow
from archive.upper_layer.framing import DataFragment, Framer
from tests.simulators.acceptor import ECHO, PATIENCE, SHORT, p_data, socket_pair, wait_until


@pytest.fixture
def pair():
    with socket_pair() as ends:
        yield ends


def soon() -> float:
    return time.monotonic() + 0.05


def later() -> float:
    return time.monotonic() + PATIENCE


def test_what_was_sent_arrives_in_the_framer(pair):
    ours, theirs = pair
    framer, transport = Framer(SHORT), Transport(theirs, SHORT)
    ours.sendall(p_data((1, 3, ECHO)))
    while (unit := framer.next()) is None:
        assert transport.fill(framer, later())
    assert isinstance(unit, DataFragment)


def test_a_silent_peer_is_too_slow_at_the_deadline(pair):
    with pytest.raises(PeerTooSlow):
        Transport(pair[1], SHORT).fill(Framer(SHORT), soon())


def test_a_pdu_that_has_begun_has_its_own_deadline(pair):
    ours, theirs = pair
    framer, transport = Framer(SHORT), Transport(theirs, dataclasses.replace(SHORT, pdu_seconds=0.05))
    ours.sendall(b"\4")
    with pytest.raises(PeerTooSlow):
        while True:
            transport.fill(framer, later())


def test_a_peer_that_closes_is_gone(pair):
    ours, theirs = pair
    ours.close()
    with pytest.raises(PeerGone):
        Transport(theirs, SHORT).fill(Framer(SHORT), later())


def test_a_connection_that_was_closed_under_our_hands_is_gone(pair):
    _, theirs = pair
    theirs.close()
    transport = Transport(theirs, SHORT)
    with pytest.raises(PeerGone):
        transport.fill(Framer(SHORT), later())
    with pytest.raises(PeerGone):
        transport.send(b"x")


def test_a_wait_between_pdus_can_be_interrupted(pair):
    assert not Transport(pair[1], SHORT).fill(Framer(SHORT), later(), lambda: True)


def test_what_is_there_is_read_without_waiting_for_more(pair):
    ours, theirs = pair
    framer, transport = Framer(SHORT), Transport(theirs, SHORT)
    assert not transport.fill_now(framer)
    ours.sendall(b"\4")
    wait_until(lambda: transport.fill_now(framer), "read")
    assert framer.next() is None
    assert framer.mid_pdu
    assert not transport.fill_now(framer)


def test_a_peer_that_takes_nothing_is_too_slow(pair):
    with pytest.raises(PeerTooSlow, match="send_seconds"):
        Transport(pair[1], dataclasses.replace(SHORT, send_seconds=0.1)).send(bytes(64 * 2**20))


def test_all_of_a_large_message_is_sent(pair):
    ours, theirs = pair
    received = bytearray()

    def drink():
        while len(received) < 8 * 2**20:
            received.extend(ours.recv(65_536))

    thread = threading.Thread(target=drink)
    thread.start()
    Transport(theirs, dataclasses.replace(SHORT, send_seconds=PATIENCE)).send(bytes(8 * 2**20))
    thread.join(PATIENCE)
    assert len(received) == 8 * 2**20


def test_sending_to_a_peer_that_is_gone_says_so(pair):
    ours, theirs = pair
    ours.close()
    transport = Transport(theirs, SHORT)
    with pytest.raises(PeerGone):
        for _ in range(1_000):
            transport.send(bytes(65_536))


@pytest.mark.parametrize("closes", [True, False])
def test_the_wait_for_the_close_ends_by_the_peer_or_by_the_limit(pair, closes):
    ours, theirs = pair
    ours.sendall(b"more")
    if closes:
        ours.close()
    Transport(theirs, SHORT).wait_for_close(memoryview(bytearray(100)))
