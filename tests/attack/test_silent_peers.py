"""D39: silent and dripping peers, and a PDU that claims 4 GiB, cost the archive little and honest peers nothing."""

import socket
import threading
import time

import psutil

from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import IMPLICIT, VERIFICATION


def a_peer(archive, number):
    """A TCP connection from a loopback address of its own."""
    return socket.create_connection(("127.0.0.1", archive.port), 10, (f"127.0.1.{number + 1}", 0))


def test_an_honest_association_is_set_up_at_once_beside_a_hundred_silent_and_dripping_peers(tmp_path):
    archive = RunningArchive(tmp_path).init()
    archive.node("CT1", "modality")
    with archive.serving():
        with archive.requestor("CT1", contexts=[(VERIFICATION, [IMPLICIT])]) as modality:
            assert modality.echo() == 0
        process = psutil.Process(archive.process.pid)
        before = process.memory_info().rss
        peers = [a_peer(archive, number) for number in range(100)]
        done = threading.Event()

        def drip():
            while not done.wait(0.2):
                for peer in peers[50:]:
                    try:
                        peer.send(b"\x16")
                    except OSError:
                        continue

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            time.sleep(1)
            begun = time.monotonic()
            with archive.requestor("CT1", contexts=[(VERIFICATION, [IMPLICIT])]) as modality:
                assert modality.echo() == 0
            # The promise is about the order of things, not about this machine: a deadline of the archive's is 10 s.
            assert time.monotonic() - begun < 5
            assert process.memory_info().rss - before < 16 * 1024 * 1024
        finally:
            done.set()
            dripping.join()
            for peer in peers:
                peer.close()


def test_a_pdu_that_claims_four_gigabytes_is_refused_at_its_header(tmp_path):
    archive = RunningArchive(tmp_path).init()
    archive.node("CT1", "modality")
    with archive.serving():
        requestor = archive.requestor("CT1")
        requestor.request = lambda: b"\x01\0\xff\xff\xff\xff" + bytes(64)
        process = psutil.Process(archive.process.pid)
        before = process.memory_info().rss
        try:
            with requestor:
                raise AssertionError("was let in")
        except Exception as refused:
            assert "PDU type 7" in str(refused) or "closed" in str(refused)
        assert process.memory_info().rss - before < 16 * 1024 * 1024
        with archive.requestor("CT1", contexts=[(VERIFICATION, [IMPLICIT])]) as modality:
            assert modality.echo() == 0
