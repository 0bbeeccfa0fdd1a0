"""Raw bytes against the front door: each attack ends in an A-ABORT or a clean close, and leaves nothing behind.

`Acceptor` checks at its end that every connection ended by itself, and that no thread and no descriptor is left.
"""

import dataclasses
import socket
import ssl
import struct
import threading
import time

import pytest

from archive.upper_layer.commands import c_find_rsp
from archive.upper_layer.limits import Limits
from tests.simulators.acceptor import (
    ABORT,
    ECHO,
    RELEASE_RP,
    RELEASE_RQ,
    SHORT,
    STORE,
    Acceptor,
    RawPeer,
    Sink,
    cancel_command,
    p_data,
    refused,
    request_bytes,
    request_command,
    wait_until,
)
from tests.simulators.certificates import Made, make
from tests.simulators.scu import CT, VERIFICATION, command

BY_USER, BY_PROVIDER = 0, 2
UNRECOGNIZED, UNEXPECTED, INVALID = 1, 2, 6


def limits(**changes: float) -> Limits:
    return dataclasses.replace(SHORT, **changes)


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> ssl.SSLContext:
    """A TLS server that asks nobody for a certificate: that is for other tests."""
    made: Made = make("archive", usages=[])
    certificate, key = made.write(tmp_path_factory.mktemp("tls"), "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


# -- before an association ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"\1\0\xff\xff\xff\xff", id="a-associate-rq-of-4-gib"),
        pytest.param(struct.pack(">BxL", 1, SHORT.associate_pdu_bytes + 1), id="a-associate-rq-one-byte-too-long"),
        pytest.param(b"\4\0\xff\xff\xff\xff", id="p-data-of-4-gib"),
        pytest.param(b"\5\0\xff\xff\xff\xff", id="a-release-rq-of-4-gib"),
        pytest.param(b"\2\0\xff\xff\xff\xff", id="a-associate-ac-of-4-gib"),
        pytest.param(b"\3\0\0\0\0\4\0\1\1\1", id="a-associate-rj"),
        pytest.param(b"\0\0\0\0\0\4", id="type-0"),
        pytest.param(b"\x08\0\0\0\0\4", id="type-8"),
        pytest.param(b"\xff\0\0\0\0\4", id="type-255"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param(p_data((1, 3, ECHO)), id="p-data"),
        pytest.param(RELEASE_RQ, id="a-release-rq"),
        pytest.param(RELEASE_RP, id="a-release-rp"),
        pytest.param(b"\1\0\0\0\0\4abcd", id="a-associate-rq-too-short"),
        pytest.param(struct.pack(">BxL", 1, 68) + bytes(68), id="a-associate-rq-without-items"),
    ],
)
def test_what_is_no_association_request_is_aborted_at_once_and_audited_once(header):
    with Acceptor(limits(associate_seconds=10)) as acceptor, acceptor.connect() as peer:
        peer.send(header)
        assert peer.abort() in {(BY_USER, 0), (BY_PROVIDER, INVALID)}
        wait_until(lambda: len(acceptor.audit.events) == 1, "audited")
        assert not acceptor.admission.asked


def test_a_dripped_association_request_is_cut_at_the_deadline_and_audited_once():
    with Acceptor(limits(associate_seconds=0.3, pdu_seconds=60)) as acceptor, acceptor.connect() as peer:
        for byte in request_bytes():
            peer.send(bytes((byte,)))
            if acceptor.audit.events:
                break
            time.sleep(0.01)
        assert peer.pdu()[0] == 0
        assert len(acceptor.audit.events) == 1
        assert "associate_seconds (0.3)" in acceptor.audit.reasons[0]


def test_a_peer_that_says_nothing_is_cut_at_the_deadline_and_audited_once():
    with Acceptor(limits(associate_seconds=0.3)) as acceptor, acceptor.connect() as peer:
        assert peer.pdu()[0] == 0
        assert len(acceptor.audit.events) == 1


def test_a_peer_that_only_knocks_costs_nothing_and_is_not_audited():
    with Acceptor() as acceptor:
        acceptor.connect().socket.close()
    assert not acceptor.audit.events


def test_an_association_request_cut_off_at_any_byte_leaves_nothing():
    request = request_bytes()
    with Acceptor(limits(associate_seconds=20)) as acceptor:
        for length in range(0, len(request), 7):
            with acceptor.connect() as peer:
                peer.send(request[:length])
        with acceptor.requestor() as honest:
            assert honest.echo() == 0


def test_a_refused_requestor_gets_the_numbers_and_its_place_back():
    with Acceptor(admission=refused(1, 1, 3)) as acceptor, acceptor.connect() as peer:
        peer.send(request_bytes())
        assert peer.pdu() == (3, b"\0\1\1\3")
        assert peer.pdu()[0] == 0
        assert not acceptor.audit.events, "whoever refuses audits"


def test_one_association_too_many_is_rejected_for_now_and_the_next_after_a_release_is_not():
    with Acceptor(limits(associations=1)) as acceptor:
        with acceptor.requestor() as honest:
            with acceptor.connect() as peer:
                peer.send(request_bytes())
                assert peer.pdu() == (3, b"\0\2\3\2")
            assert honest.echo() == 0
        wait_until(lambda: acceptor.server.connections == (0, 0, 0), "released")
        with acceptor.requestor() as another:
            assert another.echo() == 0


def test_a_requestor_that_takes_only_tiny_pdus_is_aborted():
    with Acceptor() as acceptor, acceptor.connect() as peer:
        request = request_bytes()
        at = request.index(b"\x51\0\0\4") + 4
        peer.send(request[:at] + struct.pack(">L", 7) + request[at + 4 :])
        assert peer.abort()[0] in (BY_USER, BY_PROVIDER)


# -- the half-open budget -------------------------------------------------------------------------------------------


def test_the_oldest_connection_of_the_largest_source_makes_room():
    with Acceptor(limits(associating_connections=4, associate_seconds=20)) as acceptor:
        lone = acceptor.connect("127.0.0.9")
        wait_until(lambda: acceptor.server.connections == (0, 1, 0), "accepted")
        crowd = [acceptor.connect("127.0.0.8") for _ in range(3)]
        wait_until(lambda: acceptor.server.connections == (0, 4, 0), "accepted")
        crowd.append(acceptor.connect("127.0.0.8"))
        assert crowd[0].pdu()[0] == 0, "the oldest of the crowd"
        wait_until(lambda: len(acceptor.audit.events) == 1, "audited")
        assert "associating_connections (4)" in acceptor.audit.reasons[0]
        lone.send(request_bytes())
        assert lone.pdu()[0] == 2, "the lone peer is still served"
        for peer in (lone, *crowd):
            peer.socket.close()


def test_an_eviction_ends_a_tls_handshake_that_waits_for_its_peer(tls):
    with Acceptor(limits(half_open_connections=2, handshake_seconds=60), tls=tls) as acceptor:
        silent = [RawPeer(acceptor.tls_port) for _ in range(6)]
        for peer in silent[:4]:
            assert peer.pdu()[0] == 0
        wait_until(lambda: len(acceptor.audit.events) == 4, "each eviction is audited")
        assert all("half_open_connections" in reason for reason in acceptor.audit.reasons)
        for peer in silent:
            peer.socket.close()


def test_silent_tls_peers_are_cut_at_the_handshake_deadline_and_audited(tls):
    with Acceptor(limits(handshake_seconds=0.3), tls=tls) as acceptor:
        peers = [RawPeer(acceptor.tls_port) for _ in range(5)]
        for peer in peers:
            assert peer.pdu()[0] == 0
            peer.socket.close()
        wait_until(lambda: len(acceptor.audit.events) == 5, "audited")
        assert all("handshake_seconds" in reason for reason in acceptor.audit.reasons)


def test_a_dripped_tls_handshake_is_cut_at_the_deadline(tls):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    half = anybody().wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    with Acceptor(limits(handshake_seconds=0.3), tls=tls) as acceptor, RawPeer(acceptor.tls_port) as peer:
        for byte in outgoing.read():
            peer.send(bytes((byte,)))
            if acceptor.audit.events:
                break
            time.sleep(0.01)
        assert peer.pdu()[0] == 0
        assert len(acceptor.audit.events) == 1
        assert "handshake_seconds" in acceptor.audit.reasons[0]


def test_a_peer_that_is_silent_after_its_handshake_is_cut_and_audited(tls):
    with (
        Acceptor(limits(associate_seconds=0.3), tls=tls) as acceptor,
        socket.create_connection(("127.0.0.1", acceptor.tls_port), 20) as raw,
        anybody().wrap_socket(raw) as peer,
    ):
        assert peer.recv(1) == b""
        assert len(acceptor.audit.events) == 1


def test_plain_bytes_on_the_tls_port_are_refused_and_audited(tls):
    with Acceptor(tls=tls) as acceptor, RawPeer(acceptor.tls_port) as peer:
        peer.send(request_bytes())
        wait_until(lambda: len(acceptor.audit.events) == 1, "audited")
        assert acceptor.audit.reasons[0].startswith("TLS:")
        assert not acceptor.admission.asked


def test_tls_bytes_on_the_plain_port_are_refused_and_audited():
    with Acceptor() as acceptor, socket.create_connection(("127.0.0.1", acceptor.port), 20) as raw:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            anybody().wrap_socket(raw)
        wait_until(lambda: len(acceptor.audit.events) == 1, "audited")


def test_a_connection_for_which_no_tls_context_can_be_made_is_closed():
    class Unusable(ssl.SSLContext):
        def wrap_socket(self, *_, **__):
            raise RuntimeError("what the context was made of cannot be read")

    with Acceptor(tls=Unusable(ssl.PROTOCOL_TLS_SERVER)) as acceptor, RawPeer(acceptor.tls_port) as peer:
        peer.send(b"\x16\3\1")
        assert peer.pdu() == (0, b"")


def test_an_association_over_tls_works(tls):
    with Acceptor(tls=tls) as acceptor:
        honest = acceptor.requestor(source="127.0.0.3")
        honest.port, honest.tls = acceptor.tls_port, anybody()
        with honest:
            assert honest.echo() == 0
            assert honest.store(CT, "1.2.3", bytes(300_000)).status == 0
        assert acceptor.dispatcher.stored == [300_000]
        assert acceptor.admission.asked[0][0].address == "127.0.0.3"


# -- in an association ----------------------------------------------------------------------------------------------

LIES = {
    "group-length-too-large": ECHO[:8] + struct.pack("<L", 0xFFFFFFFE) + ECHO[12:],
    "element-longer-than-the-command": ECHO[:-6] + b"\xff\xff\xff\xff" + ECHO[-2:],
    "no-group-length": ECHO[12:],
    "another-group": b"\x08" + ECHO[1:],
    "odd-length": command((0x2, b"1.2"), (0x100, b"\x30\0"), (0x110, b"\1\0"), (0x800, b"\1\1"))[:-1],
    "no-message-id": command((0x100, b"\x30\0"), (0x800, b"\1\1")),
    "no-field": command((0x110, b"\1\0"), (0x800, b"\1\1")),
    "long-field": command((0x100, b"\x30\0\0\0"), (0x110, b"\1\0"), (0x800, b"\1\1")),
    "not-ascending": command((0x110, b"\1\0"), (0x100, b"\x30\0"), (0x800, b"\1\1")),
    "empty": b"",
    "a-response": command((0x100, b"\1\x80"), (0x120, b"\1\0"), (0x800, b"\1\1"), (0x900, b"\0\0")),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_command_set_that_lies_is_aborted(lie):
    with Acceptor() as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, lie)))
        assert peer.abort()[0] == BY_PROVIDER


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(p_data((1, 2, b"data")), id="data-set-without-a-command"),
        pytest.param(p_data((5, 3, ECHO)), id="context-never-proposed"),
        pytest.param(p_data((2, 3, ECHO)), id="even-context"),
        pytest.param(p_data((1, 1, ECHO[:10]), (3, 3, ECHO[10:])), id="one-command-in-two-contexts"),
        pytest.param(p_data((1, 1, b""), (3, 3, ECHO)), id="one-command-in-two-contexts-from-an-empty-fragment"),
        pytest.param(p_data((3, 3, STORE)) + p_data((1, 2, b"data")), id="data-set-in-another-context"),
        pytest.param(p_data((3, 3, STORE)) + p_data((3, 0, b"da"), (1, 3, ECHO)), id="a-command-inside-a-data-set"),
        pytest.param(p_data((3, 3, STORE)) + RELEASE_RQ, id="release-inside-a-message"),
        pytest.param(struct.pack(">BxL", 4, 0), id="p-data-of-nothing"),
        pytest.param(struct.pack(">BxLL", 4, 5, 1) + b"\1", id="p-data-shorter-than-a-value-header"),
        pytest.param(struct.pack(">BxLLBB", 4, 6, 1, 1, 3), id="value-shorter-than-its-header"),
        pytest.param(struct.pack(">BxLLBB", 4, 20, 0xFFFFFFFF, 1, 3), id="value-longer-than-its-pdu"),
        pytest.param(struct.pack(">BxLLBB", 4, 9, 4, 1, 3) + b"abc", id="a-byte-behind-the-last-value"),
        pytest.param(b"\4\0\xff\xff\xff\xff", id="p-data-of-4-gib"),
        pytest.param(request_bytes(), id="second-association-request"),
        pytest.param(b"\2\0\0\0\0\4", id="a-associate-ac"),
        pytest.param(b"\3\0\0\0\0\4\0\1\1\1", id="a-associate-rj"),
        pytest.param(RELEASE_RP, id="a-release-rp-nobody-asked-for"),
        pytest.param(b"\x09\0\0\0\0\0", id="unknown-type"),
        pytest.param(p_data((1, 1, bytes(SHORT.command_bytes)), (1, 1, b"more")), id="command-too-long"),
    ],
)
def test_what_an_association_does_not_expect_is_aborted(sent):
    with Acceptor() as acceptor, acceptor.associated() as peer:
        peer.send(sent)
        source, reason = peer.abort()
        assert source == BY_PROVIDER
        assert reason in (UNRECOGNIZED, UNEXPECTED, INVALID)
        wait_until(lambda: len(acceptor.audit.events) == 1, "audited once")
        assert acceptor.audit.events[0].actor.node, "with the node that was admitted"


def test_requests_sent_without_waiting_are_answered_one_after_another():
    with Acceptor() as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, ECHO)) * 50, p_data((3, 3, STORE), (3, 2, b"x")), RELEASE_RQ)
        assert [peer.status() for _ in range(51)] == [0] * 51
        assert peer.pdu()[0] == 6


def test_a_second_request_while_the_first_is_served_is_aborted():
    def serve(channel, context, request, data):
        data.drain()
        wait_until(lambda: channel.cancel_requested(request.message_id), "cancelled")

    with Acceptor(dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(0x20, data=True)), (1, 2, b"keys")), p_data((1, 3, ECHO)))
        assert peer.abort() == (BY_PROVIDER, UNEXPECTED)


def test_a_cancel_is_seen_while_its_request_is_served_and_forgotten_after():
    seen = []

    def serve(channel, context, request, data):
        data.drain()
        wait_until(lambda: channel.cancel_requested(request.message_id), "cancelled")
        seen.append(request.message_id)

    with Acceptor(dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        for _ in range(2):
            peer.send(p_data((1, 3, request_command(0x20, 7, data=True)), (1, 2, b"keys")))
            peer.send(p_data((1, 3, cancel_command(8))), p_data((1, 3, cancel_command(7))))
        peer.send(p_data((1, 3, cancel_command(7))), p_data((1, 3, ECHO)))
        assert peer.status() == 0
    assert seen == [7, 7]


@pytest.mark.parametrize(
    "begun", [b"\4", b"\4\0\0\0\0\x10", p_data((1, 1, b"\0\0"))], ids=["byte", "header", "fragment"]
)
def test_half_a_pdu_does_not_hold_up_a_service_that_looks_for_a_cancel(begun):
    def serve(channel, context, request, data):
        data.drain()
        arrived = threading.Event()
        while not channel.cancel_requested(request.message_id) and not arrived.wait(0.2):
            arrived.set()
        channel.send(context.context_id, c_find_rsp(request, 0))

    with Acceptor(Limits(), dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(0x20, data=True)), (1, 2, b"keys")), begun)
        assert peer.status() == 0


def test_reserved_bits_of_a_message_control_header_are_not_looked_at():
    """PS3.8 Table E.2-1: never checked by the receiver."""
    with Acceptor() as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 0x83, ECHO)))
        assert peer.status() == 0


def test_a_service_that_raises_ends_its_association_and_no_other():
    def serve(channel, context, request, data):
        raise RuntimeError("a fault of ours")

    with Acceptor(dispatcher=Sink(serve)) as acceptor, acceptor.requestor() as other:
        with acceptor.associated() as peer:
            peer.send(p_data((1, 3, request_command(0x21))))
            assert peer.abort() == (BY_USER, 0)
        assert other.echo() == 0


def test_an_admission_that_raises_ends_the_connection_with_an_abort():
    with Acceptor() as acceptor, acceptor.connect() as peer:
        acceptor.admission.raises = RuntimeError("a fault of ours")
        peer.send(request_bytes())
        assert peer.abort() == (BY_USER, 0)


def test_a_pdu_that_stops_in_its_middle_is_aborted_at_its_deadline():
    with Acceptor(limits(pdu_seconds=0.3)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, ECHO))[:-1])
        assert peer.abort() == (BY_PROVIDER, 0)


def test_a_dripped_pdu_is_aborted_at_its_deadline():
    with Acceptor(limits(pdu_seconds=0.3)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((3, 3, STORE)), struct.pack(">BxLLBB", 4, 60_006, 60_002, 3, 2))
        peer.socket.settimeout(0.01)
        for _ in range(1000):
            peer.send(b"x")
            try:
                peer.socket.recv(1, socket.MSG_PEEK)
                break
            except TimeoutError:
                continue
        peer.socket.settimeout(20)
        assert peer.abort() == (BY_PROVIDER, 0)


def test_an_idle_association_is_aborted():
    with Acceptor(limits(idle_seconds=0.2)) as acceptor, acceptor.associated() as peer:
        assert peer.abort() == (BY_PROVIDER, 0)


def test_a_peer_that_takes_nothing_of_what_it_asked_for_is_cut():
    def serve(channel, context, request, data):
        channel.send(context.context_id, request, (bytes(1_048_576) for _ in range(1_000)))

    with Acceptor(limits(send_seconds=0.3), dispatcher=Sink(serve)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((1, 3, request_command(0x21))))
        wait_until(lambda: acceptor.server.connections == (0, 0, 0), "cut")


def test_a_data_set_beyond_its_bound_is_aborted():
    with Acceptor(limits(data_set_bytes=1_000)) as acceptor, acceptor.associated() as peer:
        peer.send(p_data((3, 3, STORE)), p_data((3, 0, bytes(1_000)), (3, 2, b"x")))
        assert peer.abort() == (BY_PROVIDER, INVALID)


# -- endings --------------------------------------------------------------------------------------------------------

PLACES = {
    "established": b"",
    "inside-a-command": p_data((1, 1, ECHO[:10])),
    "before-a-data-set": p_data((3, 3, STORE)),
    "inside-a-data-set": p_data((3, 3, STORE), (3, 0, b"data")),
    "after-a-message": p_data((3, 3, STORE), (3, 2, b"data")),
}


@pytest.mark.parametrize("sent", PLACES.values(), ids=PLACES)
def test_an_abort_at_any_place_ends_the_association(sent):
    with Acceptor() as acceptor, acceptor.associated() as peer:
        peer.send(sent, ABORT)
        assert 7 not in peer.pdus(), "an abort is not answered"


@pytest.mark.parametrize("sent", PLACES.values(), ids=PLACES)
def test_a_release_at_any_place_ends_the_association(sent):
    with Acceptor() as acceptor, acceptor.associated() as peer:
        peer.send(sent, RELEASE_RQ)
        assert peer.pdus()[-1] in (6, 7)


@pytest.mark.parametrize(
    "ending", [b"", RELEASE_RQ, ABORT, b"\x09\0\0\0\0\0"], ids=["close", "release", "abort", "junk"]
)
def test_a_peer_that_never_closes_is_closed_after_the_last_word(ending):
    with Acceptor() as acceptor, acceptor.associated() as peer:
        peer.send(RELEASE_RQ, ending)
        assert peer.pdu()[0] == 6
        assert peer.pdus() in ([], [7])


def test_a_peer_gone_at_any_byte_of_a_message_leaves_nothing():
    message = p_data((3, 3, STORE), (3, 0, b"data")) + p_data((3, 2, b"more")) + RELEASE_RQ
    with Acceptor(limits(pdu_seconds=20)) as acceptor:
        for length in range(0, len(message), 5):
            with acceptor.associated() as peer:
                peer.send(message[:length])
        with acceptor.requestor() as honest:
            assert honest.echo() == 0


def test_a_peer_that_resets_the_connection_leaves_nothing():
    with Acceptor() as acceptor:
        for sent in PLACES.values():
            with acceptor.associated() as peer:
                peer.send(sent)
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_fifty_peers_at_once_that_all_break_the_protocol_leave_nothing():
    with Acceptor(limits(associate_seconds=20)) as acceptor:
        peers = [acceptor.connect(f"127.0.2.{number + 1}") for number in range(50)]
        for number, peer in enumerate(peers):
            peer.send((request_bytes(), b"junk junk", b"\1\0\xff\xff\xff\xff", ABORT, RELEASE_RQ)[number % 5])
        with acceptor.requestor() as honest:
            assert honest.echo() == 0
        for peer in peers:
            peer.socket.close()


def test_the_verification_class_is_what_context_one_stands_for():
    with Acceptor() as acceptor, acceptor.associated():
        (_, request), *_ = acceptor.admission.asked
        assert [context.abstract_syntax for context in request.contexts] == [VERIFICATION, CT]
