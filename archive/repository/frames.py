"""Octet counting of syslog over TLS (RFC 5425 4.3): ``MSG-LEN SP SYSLOG-MSG``, again and again.

Pure: bytes in, messages out. What is held is what came of one frame, at most ``message_bytes`` and a read.
"""

from collections.abc import Iterator
from typing import Final

from archive.errors import ArchiveError

_SPACE: Final = 0x20


class FrameBroken(ArchiveError):
    """The octets are no frame, or one that is larger than allowed; where the next one begins is unknown."""

    number = 420


class OctetCounting:
    """The frames of one connection, from its first octet on."""

    def __init__(self, message_bytes: int) -> None:
        self._most = message_bytes
        self._digits = len(str(message_bytes))
        self._held = bytearray()

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun and is not complete."""
        return bool(self._held)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Every message that is complete with these octets.

        Raises:
            FrameBroken: no count, a count that begins with 0, or one above ``message_bytes``.
        """
        self._held += data
        start = 0
        try:
            while (frame := self._frame(start)) is not None:
                begin, end = frame
                start = end
                yield bytes(self._held[begin:end])
        finally:
            del self._held[:start]

    def _frame(self, start: int) -> tuple[int, int] | None:
        """Where the message of the frame at ``start`` begins and ends; None if it is not all there."""
        digits = bytes(self._held[start : start + self._digits + 1])
        end = digits.find(_SPACE)
        count = digits if end < 0 else digits[:end]
        if not digits:
            return None
        if not count.isdigit() or count.startswith(b"0"):
            raise FrameBroken("a frame begins with its length in decimal digits and a space (RFC 5425 4.3)")
        if len(count) > self._digits or int(count) > self._most:
            raise FrameBroken(f"a frame is longer than {self._most} octets")
        if end < 0 or start + end + 1 + int(count) > len(self._held):
            return None
        begin = start + end + 1
        return begin, begin + int(count)
