"""Peers that vanish at any byte and in any manner, a stop in the middle of a store, a disk that fills: nothing is left
behind, nothing that was acknowledged is lost, and what was refused for want of room is taken once there is some.
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
import threading
import time

import psutil
import pytest

from tests.simulators.acceptor import ABORT, RELEASE_RQ
from tests.simulators.memory_archive import encoded, image
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import CT, VERIFICATION, Aborted

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CONTEXTS = [(VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT])]
GIB = 2**30
PATIENCE = 60.0


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    archive = RunningArchive(tmp_path_factory.mktemp("archive")).init()
    archive.node("CT1", "modality")
    with archive.serving():
        yield archive


def an_object(number, size=300_000):
    made = image(500 + number, 1, 1)
    made.add_new(0x7FE00010, "OW", os.urandom(size))
    return made.SOPInstanceUID, encoded(made)


def modality(archive):
    return archive.requestor("CT1", contexts=CONTEXTS)


def until(holds, what):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def left(archive):
    """Files in staging."""
    staging = archive.home / "blobs" / "staging"
    return [path for path in staging.rglob("*") if path.is_file()]


def at_rest(archive):
    """Threads and descriptors of the server once no connection is left."""

    def connections():
        return sum(value for name, value in archive.counted().items() if name.startswith("strongroom_connections{"))

    until(lambda: not connections(), "connections are left")
    archive.let_threads_go()
    process = psutil.Process(archive.process.pid)
    return process.num_threads(), process.num_fds()


def message(peer, instance, data):
    """A whole C-STORE request as it goes over the wire."""
    command = peer._request_command(CT, 0x01, True, (0x1000, instance.encode() + b"\0" * (len(instance) % 2)))
    context = peer.context_of(CT)
    parts = [struct.pack(">BxLLBB", 4, len(command) + 6, len(command) + 2, context, 3) + command]
    for at in range(0, len(data), 60_000):
        piece = data[at : at + 60_000]
        last = 2 if at + 60_000 >= len(data) else 0
        parts.append(struct.pack(">BxLLBB", 4, len(piece) + 6, len(piece) + 2, context, last) + piece)
    return b"".join(parts)


def closes(peer):
    peer._socket.close()


def resets(peer):
    peer._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer._socket.close()


def half_closes(peer):
    """Says that it is done, below TLS, and reads what comes."""
    socket.socket.shutdown(peer._socket, socket.SHUT_WR)
    peer._socket.settimeout(PATIENCE)
    with contextlib.suppress(OSError, Aborted):
        peer.receive()


def aborts(peer):
    peer._socket.sendall(ABORT)
    peer._socket.settimeout(PATIENCE)
    assert peer._socket.recv(1) == b"", "an abort is not answered"


def releases(peer):
    peer._socket.sendall(RELEASE_RQ)
    peer._socket.settimeout(PATIENCE)
    with contextlib.suppress(OSError, Aborted):
        peer.receive()


def test_a_peer_that_goes_at_any_byte_of_a_store_in_any_manner_leaves_nothing(archive):
    instance, data = an_object(1)
    # What works behind the door is there after the first time; the second leaves nothing more.
    before, after = (gone_at_any_byte(archive, instance, data) for _ in range(2))
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1] + 4
    with modality(archive) as peer:
        assert peer.store(CT, instance, data).status == 0, "nothing of it was kept"
    archive.must("verify", "--full")


def gone_at_any_byte(archive, instance, data):
    ways = (closes, resets, half_closes, aborts, releases)
    for share in (0.0, 0.0002, 0.0005, 0.001, 0.2, 0.21, 0.5, 0.99, 0.99999):
        # Aborts and releases are PDUs, and stand between two.
        for way in ways[:3] if share else ways:
            peer = modality(archive).__enter__()
            try:
                whole = message(peer, instance, data)
                peer._socket.sendall(whole[: int(len(whole) * share)])
                way(peer)
            finally:
                peer._socket.close()
    until(lambda: not left(archive), "a file is left")
    return at_rest(archive)


def test_an_abort_or_release_between_two_pdus_of_a_data_set_leaves_nothing(archive):
    instance, data = an_object(2)
    for way in (aborts, releases):
        peer = modality(archive).__enter__()
        try:
            whole = message(peer, instance, data)
            second = 6 + struct.unpack_from(">L", whole, 2)[0]
            end = second + 6 + struct.unpack_from(">L", whole, second + 2)[0]
            peer._socket.sendall(whole[:end])
            way(peer)
        finally:
            peer._socket.close()
    at_rest(archive)
    until(lambda: not left(archive), "a file is left")


def test_a_peer_that_half_closes_after_its_request_still_gets_the_answer(archive):
    instance, data = an_object(3)
    peer = modality(archive).__enter__()
    try:
        peer._socket.sendall(message(peer, instance, data))
        socket.socket.shutdown(peer._socket, socket.SHUT_WR)
        assert peer.receive().status == 0
    finally:
        peer._socket.close()
    archive.must("verify", "--full")


def test_a_store_under_way_is_finished_when_the_server_is_told_to_stop(archive):
    instance, data = an_object(4, 2_000_000)
    with modality(archive) as peer:
        whole = message(peer, instance, data)
        peer._socket.sendall(whole[: len(whole) // 2])
        archive.process.send_signal(signal.SIGTERM)
        until(lambda: _refuses(archive.port), "nobody is let in any more")
        peer._socket.sendall(whole[len(whole) // 2 :])
        assert peer.receive().status == 0
        with pytest.raises(Aborted, match="PDU type 7"):
            peer.receive()
    assert archive.process.wait(60) == 0
    archive._forget()
    assert not left(archive)
    archive.must("verify", "--full")
    archive.start()
    with modality(archive) as peer:
        assert peer.store(CT, instance, data).status == 0, "it is there already"


def _refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_stores_are_refused_before_the_disk_is_full_and_taken_again_without_a_restart(archive):
    free = shutil.disk_usage(archive.home).free
    if free < 4 * GIB:
        pytest.skip("needs 4 GiB of free disk, which it fills down to the reserve")
    archive.stop()
    settings = archive.home / "strongroom.toml"
    text = settings.read_text()
    settings.write_text(text.replace("reserve_bytes = 1073741824", f"reserve_bytes = {free - GIB}"))
    archive.start()
    filler = archive.folder / "filler"
    try:
        with modality(archive) as peer:
            assert peer.store(CT, *an_object(5)).status == 0
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 2 * GIB)
            refused = peer.store(CT, *an_object(6))
            assert refused.status == 0xA700
            assert peer.echo() == 0, "everything else goes on"
            filler.unlink()
            assert peer.store(CT, *an_object(6)).status == 0
    finally:
        filler.unlink(missing_ok=True)
    assert not left(archive)
    archive.must("verify", "--full")
    told = [record["facts"] for record in archive.trail() if record["kind"] == "instance-stored"]
    assert sum("no room above the reserve" in facts.get("reason", "") for facts in told) == 1


def test_many_stores_cut_off_at_once_leave_nothing(archive):
    instance, data = an_object(7)

    def cut(number):
        peer = modality(archive).__enter__()
        try:
            whole = message(peer, instance, data)
            peer._socket.sendall(whole[: len(whole) * (number + 1) // 14])
            (closes, resets)[number % 2](peer)
        finally:
            peer._socket.close()

    # What works at so many at once is there after the first time; the second leaves nothing more.
    before, after = (cut_at_once(archive, cut) for _ in range(2))
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1] + 4


def cut_at_once(archive, cut):
    threads = [threading.Thread(target=cut, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: not left(archive), "a file is left")
    return at_rest(archive)
