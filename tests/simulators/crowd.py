"""Attackers against a running archive: silent, dripping, half-closed, senseless, greedy; from any address."""

import contextlib
import random
import select
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.simulators.acceptor import p_data
from tests.simulators.encoding import element, open_item, open_sequence
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import CT, STUDY_GET, VERIFICATION, Aborted, Requestor, User, identifier

IMPLICIT, EXPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
_DRIP_SECONDS = 0.2


class Crowd:
    """Sockets that nobody ever authenticates: they are held, and opened again where they are closed."""

    def __init__(self, port: int, sources: list[str]) -> None:
        self._port = port
        self._sources = sources
        self._held: list[socket.socket] = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.tried = 0
        self._hello = client_hello()

    def __enter__(self) -> "Crowd":
        self._dripping = threading.Thread(target=self._drip)
        self._dripping.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._dripping.join()
        for peer in self._held:
            peer.close()

    @property
    def open(self) -> int:
        """How many the archive has not closed."""
        return sum(_is_open(peer) for peer in self._held)

    def hold(self, count: int) -> None:
        """Open so many more sockets; every other one drips a handshake, the rest say nothing."""
        for _ in range(count):
            with contextlib.suppress(OSError):
                self._held.append(self._connected())

    def half_close(self, count: int) -> None:
        """Open so many more, of which we say that we are done, in the middle of a handshake."""
        for _ in range(count):
            with contextlib.suppress(OSError):
                peer = self._connected()
                peer.sendall(self._hello[: random.randrange(len(self._hello))])
                peer.shutdown(socket.SHUT_WR)
                self._held.append(peer)

    def keep_trying(self, count: int) -> None:
        """Open one after another, in place of those that were closed, until so many were tried."""
        while self.tried < count and not self._over.is_set():
            self._held = [peer for peer in self._held if _is_open(peer) or peer.close()]
            self.hold(10)

    def talk_nonsense(self, count: int) -> None:
        """So many connections that send what is no TLS."""
        for number in range(count):
            with contextlib.suppress(OSError), self._connected() as peer:
                peer.sendall((b"GET / HTTP/1.1\r\n\r\n", b"\1\0\xff\xff\xff\xff", bytes(1_000))[number % 3])
                peer.recv(1)

    def _connected(self) -> socket.socket:
        source = self._sources[self.tried % len(self._sources)]
        with self._lock:
            self.tried += 1
        peer = socket.create_connection(("127.0.0.1", self._port), 20, (source, 0))
        peer.settimeout(5)
        return peer

    def _drip(self) -> None:
        sent: dict[int, int] = {}
        while not self._over.wait(_DRIP_SECONDS):
            for peer in list(self._held)[::2]:
                at = sent.get(id(peer), 0)
                if at < len(self._hello) - 1:
                    with contextlib.suppress(OSError):
                        peer.send(self._hello[at : at + 1], socket.MSG_DONTWAIT)
                        sent[id(peer)] = at + 1


def client_hello() -> bytes:
    """The first flight of a TLS handshake."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing).do_handshake()
    return outgoing.read()


def _is_open(peer: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(peer, select.POLLIN)
    try:
        return not waiting.poll(0) or peer.recv(1, socket.MSG_PEEK) != b""
    except OSError:
        return False


# -- what a node that was let in may try ---------------------------------------------------------------------------


def an_oversize_length(archive: RunningArchive, source: str) -> str:
    """A PDU that claims 4 GiB, in an association."""
    with _attacker(archive, source) as peer:
        peer._socket.sendall(b"\4\0\xff\xff\xff\xff")
        return _ended(peer)


def an_endless_data_set(archive: RunningArchive, source: str, seconds: float = 3.0) -> str:
    """Fragments that never say that they are the last."""
    with _attacker(archive, source) as peer:
        peer._send(peer.context_of(CT), peer._request_command(CT, 0x01, True, (0x1000, b"1.2.3\0")))
        piece = element(0x7FE00010, b"OW", length=0xFFFFFFFE)[:12] + bytes(60_000)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            peer._socket.sendall(p_data((peer.context_of(CT), 0, piece)))
            piece = bytes(60_000)
            time.sleep(0.02)
        peer._socket.close()
        return "closed"


def a_deflate_bomb(archive: RunningArchive, source: str) -> str:
    """A thousand bytes for each that is sent."""
    compress = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = 512 * 1024 * 1024
    data = compress.compress(element(0x7FE00010, b"OB", length=size))
    for _ in range(size >> 20):
        data += compress.compress(bytes(1 << 20))
    with _attacker(archive, source, DEFLATED) as peer:
        return f"{peer.store(CT, '1.2.3', data + compress.flush()).status:04X}"


def ten_thousand_sequences(archive: RunningArchive, source: str) -> str:
    """Within one another."""
    data = b"".join(open_sequence(0x00081140)[:12] + open_item()[:8] for _ in range(10_000))
    with _attacker(archive, source) as peer:
        return f"{peer.store(CT, '1.2.3', data).status:04X}"


def garbage_in_an_association(archive: RunningArchive, source: str) -> str:
    """Bytes that are no PDU."""
    with _attacker(archive, source) as peer:
        peer._socket.sendall(random.randbytes(10_000))
        return _ended(peer)


def a_slow_reader(archive: RunningArchive, source: str, user: User, study: str, seconds: float = 3.0) -> str:
    """Asks for a study and takes nothing of it for a while."""
    contexts = [(STUDY_GET, [IMPLICIT]), (CT, [EXPLICIT])]
    options = {"contexts": contexts, "scp_roles": (CT,), "user": user, "source": source}
    with archive.requestor("READER", **options) as peer:
        peer.begin(STUDY_GET, 0x10, identifier("STUDY", {0x0020000D: study}))
        time.sleep(seconds)
        peer._socket.close()
        return "closed"


def _attacker(archive: RunningArchive, source: str, syntax: str = EXPLICIT) -> Requestor:
    return archive.requestor("EVIL", contexts=[(VERIFICATION, [IMPLICIT]), (CT, [syntax])], source=source)


def _ended(peer: Requestor) -> str:
    try:
        peer.receive()
    except Aborted as aborted:
        return str(aborted)
    return "a message"


def at_once(*attacks: Callable[[], str]) -> list[str]:
    """Run attacks beside one another; what came of each."""
    with ThreadPoolExecutor(len(attacks)) as pool:
        return [running.result() for running in [pool.submit(attack) for attack in attacks]]
