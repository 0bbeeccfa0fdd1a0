"""One connected socket under deadlines: reads into the framer, writes whole messages. Blocking, one thread.

Every wait is bounded by an absolute deadline, so that a peer that sends a byte now and then gains nothing by it.
TCP_QUICKACK is armed anew before each read: without it a sender that waits for our acknowledgement (Nagle) stalls.
"""

import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Final

from archive.errors import PeerGone, PeerTooSlow
from archive.upper_layer.framing import Framer
from archive.upper_layer.limits import Limits

_SLICE_SECONDS: Final = 2.0
"""How long one read or write waits before it looks at whatever else may end it."""
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)


class Pace:
    """Bytes that moved, against the time that we waited for the peer to move them: a deadline for each PDU is none for
    a message, which may have any number of PDUs.
    """

    __slots__ = ("_least", "_moved", "_over", "_waited")

    def __init__(self, limits: Limits) -> None:
        self._least = limits.least_bytes_per_second
        self._over = limits.rate_seconds
        self.reset()

    def reset(self) -> None:
        """What is measured begins anew."""
        self._moved = 0
        self._waited = 0.0

    def add(self, moved: int, waited: float) -> None:
        """So much moved in so many seconds. Raises `PeerTooSlow` once that is too little."""
        self._moved += moved
        self._waited += waited
        if self._waited >= self._over:
            if self._moved < self._least * self._waited:
                raise PeerTooSlow(
                    f"less than least_bytes_per_second ({self._least}) over rate_seconds ({self._over})",
                    limit="least_bytes_per_second",
                )
            self.reset()


class Transport:
    """The socket of one association, after its TLS handshake."""

    def __init__(self, connection: socket.socket, limits: Limits) -> None:
        self._socket = connection
        self._limits = limits
        self._timeout: float | None = None
        self._unit_deadline: float | None = None
        self._incoming = Pace(limits)
        self._outgoing = Pace(limits)

    def new_message(self) -> None:
        """What comes next belongs to another message: its pace is measured by itself."""
        self._incoming.reset()
        self._outgoing.reset()

    def fill(
        self,
        framer: Framer,
        deadline: float,
        interrupted: Callable[[], bool] | None = None,
        *,
        within_message: bool = False,
    ) -> bool:
        """Read what completes the framer's present fragment, or at least something.

        Args:
            framer: where the bytes go.
            deadline: monotonic time by which a unit has to begin; one that has begun has ``pdu_seconds`` from there,
                unless the deadline comes first.
            interrupted: asked about every two seconds between units; where it says yes the wait ends.
            within_message: the pace of the peer counts between units too.

        Returns:
            False if the wait was interrupted, True if there are new bytes.

        Raises:
            PeerGone: the connection ended.
            PeerTooSlow: a deadline passed, or too little came.
        """
        wanted = framer.wanted
        got = 0
        while got < wanted:
            limit = self._limit(framer, deadline)
            count = self._read(framer.space(), limit, within_message or framer.mid_pdu)
            if count is None:
                if interrupted is not None and not framer.mid_pdu and interrupted():
                    return False
                continue
            framer.received(count)
            got += count
        return True

    def fill_now(self, framer: Framer) -> bool:
        """Read what is there, without waiting; False if nothing is, or only a part of a TLS record.

        Raises:
            PeerGone: the connection ended.
        """
        if not self._readable():
            return False
        try:
            self._settimeout(0)
            count = self._socket.recv_into(framer.space())
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except (OSError, ValueError) as error:
            raise PeerGone(f"the connection ended ({type(error).__name__})") from None
        if count == 0:
            raise PeerGone("the peer closed the connection")
        framer.received(count)
        return True

    def _readable(self) -> bool:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poll = select.poll()
        try:
            poll.register(self._socket, select.POLLIN)
        except ValueError:
            raise PeerGone("the connection was closed") from None
        return bool(poll.poll(0))

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it. Raises `PeerGone`, `PeerTooSlow`."""
        view = memoryview(data)
        now = time.monotonic()
        # What goes in parts, one TLS record after another, has one deadline all the same.
        deadline = now + self._limits.send_seconds
        try:
            while view:
                sent = self._write(view, deadline - now)
                before, now = now, time.monotonic()
                self._outgoing.add(sent, now - before)
                view = view[sent:]
        except (OSError, ValueError) as error:
            raise PeerGone(f"the connection ended while sending ({type(error).__name__})") from None

    def _write(self, view: memoryview, left: float) -> int:
        """Bytes sent; 0 if there was no room for any for a while."""
        if left <= 0:
            limit = self._limits.send_seconds
            raise PeerTooSlow(
                f"the peer did not take what was sent within send_seconds ({limit})", limit="send_seconds"
            )
        self._settimeout(min(left, _SLICE_SECONDS))
        try:
            return self._socket.send(view)
        except TimeoutError:
            return 0

    def wait_for_close(self, framer_space: memoryview) -> None:
        """After the last PDU: read and forget until the peer closes, or ``close_seconds`` have passed."""
        deadline = time.monotonic() + self._limits.close_seconds
        try:
            while time.monotonic() < deadline:
                self._read(framer_space, deadline, False)
        except (PeerGone, PeerTooSlow):
            return

    def _limit(self, framer: Framer, deadline: float) -> float:
        if not framer.mid_pdu:
            self._unit_deadline = None
            return deadline
        if self._unit_deadline is None:
            self._unit_deadline = time.monotonic() + self._limits.pdu_seconds
        return min(deadline, self._unit_deadline)

    def pdu_complete(self) -> None:
        """A PDU has been read to its end; the next has its own deadline."""
        self._unit_deadline = None

    def _read(self, space: memoryview, deadline: float, paced: bool) -> int | None:
        """Bytes read; None if there were none for a while."""
        begun = time.monotonic()
        left = deadline - begun
        if left <= 0:
            if deadline == self._unit_deadline:
                seconds = self._limits.pdu_seconds
                raise PeerTooSlow(f"a PDU did not end within pdu_seconds ({seconds})", limit="pdu_seconds")
            raise PeerTooSlow("a deadline passed while the peer was silent or slow")
        count = 0
        try:
            self._settimeout(min(left, _SLICE_SECONDS))
            if _QUICKACK is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            count = self._socket.recv_into(space)
            if count == 0:
                raise PeerGone("the peer closed the connection")
        except TimeoutError:
            pass
        except (OSError, ValueError) as error:
            raise PeerGone(f"the connection ended ({type(error).__name__})") from None
        if paced:
            self._incoming.add(count, time.monotonic() - begun)
        return count or None

    def _settimeout(self, seconds: float) -> None:
        # Each change costs a system call; almost every read asks for the same second.
        if seconds != self._timeout:
            self._socket.settimeout(seconds)
            self._timeout = seconds
