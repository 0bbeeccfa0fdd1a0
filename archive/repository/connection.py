"""One sender over TLS (RFC 5425): its frames under deadlines, until it goes or we stop."""

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Final

from archive.errors import ArchiveError
from archive.repository.frames import OctetCounting
from archive.repository.limits import Limits
from archive.repository.receiving import Receiver
from archive.repository.store import Sender

_SLICE_SECONDS: Final = 1.0
"""How long one read waits before it looks at the deadline."""
_AT_ONCE: Final = 65_536


class SenderTooSlow(ArchiveError):
    """A frame was not complete in time, or a connection was idle for too long."""

    number = 422


def receive(
    connection: socket.socket, sender: Sender, receiver: Receiver, limits: Limits, stopping: Callable[[], bool]
) -> None:
    """Take everything that a sender tells, until it closes.

    Raises:
        FrameBroken: what it sent is no frame; complete ones before it were kept.
        SenderTooSlow: a deadline passed.
        AuditUnavailable: what it sent could not be kept.
        OSError: the connection broke.
    """
    frames = OctetCounting(limits.message_bytes)
    deadline = time.monotonic() + limits.idle_seconds
    connection.settimeout(_SLICE_SECONDS)
    mid_frame = False
    while not stopping():
        if time.monotonic() > deadline:
            name = "frame_seconds" if mid_frame else "idle_seconds"
            raise SenderTooSlow(f"a deadline passed: {name} ({getattr(limits, name):g})")
        try:
            data = _what_came(connection, limits.read_bytes)
        except TimeoutError:
            continue
        if not data:
            return
        complete: list[bytes] = []
        try:
            complete.extend(frames.feed(data))
        finally:
            receiver.take(complete, sender)
        if frames.mid_frame and (complete or not mid_frame):
            deadline = time.monotonic() + limits.frame_seconds
        elif not frames.mid_frame:
            deadline = time.monotonic() + limits.idle_seconds
        mid_frame = frames.mid_frame


def _what_came(connection: socket.socket, most: int) -> bytes:
    """What the sender has sent, as far as it is here already: one sync keeps the messages of many TLS records.

    Raises:
        TimeoutError: nothing came in time.
        OSError: the connection broke.
    """
    data = connection.recv(_AT_ONCE)
    if not data:
        return data
    came = bytearray(data)
    connection.settimeout(0)
    # Whatever goes wrong here the next read meets again; what came before has to be kept first.
    with contextlib.suppress(OSError):
        while data and len(came) < most:
            data = connection.recv(_AT_ONCE)
            came += data
    connection.settimeout(_SLICE_SECONDS)
    return bytes(came)
