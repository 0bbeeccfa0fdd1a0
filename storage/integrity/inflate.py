"""Deflated data sets (PS3.5 A.5), inflated within bounds: a few bytes must not become a disk full."""

import zlib
from collections.abc import Iterator
from typing import Final

from storage.errors import DataSetLimitExceeded, MalformedDataSet
from storage.integrity.element_events import StreamLimits

_INPUT: Final = 16 * 1024
_OUTPUT: Final = 64 * 1024
_TRAILER: Final = 8
"""CRC-32 and length, as gzip appends them (RFC 1952 2.3.1); some senders leave them behind the deflated bytes."""


class Inflater:
    """Inflates one data set as it arrives."""

    def __init__(self, limits: StreamLimits) -> None:
        self._limits = limits
        self._decompress = zlib.decompressobj(-zlib.MAX_WBITS)
        self._received = 0
        self._inflated = 0
        self._crc = 0
        self._after = b""

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
        """The inflated bytes, at most 64 KiB at a time.

        Raises:
            MalformedDataSet: these are no deflated bytes, or something follows them.
            DataSetLimitExceeded: they grow beyond `StreamLimits.inflated` and `StreamLimits.inflation`.
        """
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _INPUT):
            piece: bytes | memoryview = view[start : start + _INPUT]
            self._received += len(piece)
            ended = self._decompress.eof
            if ended:
                self._leave(bytes(piece))
                continue
            more = True
            while more:
                inflated = self._inflate(piece)
                if inflated:
                    yield inflated
                piece = self._decompress.unconsumed_tail
                ended = self._decompress.eof
                more = not ended and (len(piece) > 0 or len(inflated) == _OUTPUT)
            if ended:
                self._leave(self._decompress.unused_data)

    def _inflate(self, piece: bytes | memoryview) -> bytes:
        try:
            inflated = self._decompress.decompress(piece, _OUTPUT)
        except zlib.error:
            raise MalformedDataSet("not deflated") from None
        self._inflated += len(inflated)
        if self._inflated > self._limits.inflated + self._limits.inflation * self._received:
            raise DataSetLimitExceeded("inflation")
        self._crc = zlib.crc32(inflated, self._crc)
        return inflated

    def finish(self) -> None:
        """The deflated bytes end here.

        Raises:
            MalformedDataSet: they end too early, or with bytes that are neither padding nor a gzip trailer.
        """
        if not self._decompress.eof:
            raise MalformedDataSet("the deflated bytes end too early")
        trailer = self._crc.to_bytes(4, "little") + (self._inflated & 0xFFFFFFFF).to_bytes(4, "little")
        if self._after not in (b"", b"\0", trailer, trailer + b"\0"):
            raise MalformedDataSet("something follows the deflated bytes")

    def _leave(self, after: bytes) -> None:
        self._after += after
        if len(self._after) > _TRAILER + 1:
            raise MalformedDataSet("something follows the deflated bytes")
