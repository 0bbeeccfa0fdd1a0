"""An object's bytes in chunks of authenticated encryption, so that any part can be read and no part can be moved.

    plain bytes = chunks of 64 KiB, the last one shorter or as long, never absent
    chunk       = AES-256-GCM(data key, plain), 16 bytes longer than the plain bytes
    nonce       = prefix (7) ‖ chunk number from 0 (4) ‖ kind (1)
    kind        = 0: another chunk follows; 1: the last one; 2: the trailer, numbered 0
    additional  = binding of the object ‖ chunk number (4) ‖ kind (1)

The data key is used for one object only, so no nonce repeats. A chunk that is cut off, doubled, reordered or taken from
another object does not open. Integers are big-endian.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from storage.crypto.envelope import Envelope
from storage.errors import IntegrityFault

CHUNK_BYTES: Final = 64 * 1024
TAG_BYTES: Final = 16
SEALED_CHUNK_BYTES: Final = CHUNK_BYTES + TAG_BYTES
WRITE_CHUNKS: Final = 4
"""Chunks that are written at a time: each write lets go of the interpreter, which costs more than the write."""

MIDDLE: Final = 0
LAST: Final = 1
TRAILER: Final = 2
_PLACE: Final = Struct(">IB")

Sink = Callable[[memoryview], None]


class ChunkCipher:
    """Seals and opens single chunks of one object."""

    __slots__ = ("_aead", "_binding", "_prefix")

    def __init__(self, envelope: Envelope) -> None:
        self._aead = AESGCM(envelope.data_key)
        self._prefix = envelope.prefix
        self._binding = envelope.binding

    def seal(self, number: int, kind: int, plain: bytes | bytearray | memoryview) -> bytes:
        """The chunk of some plain bytes."""
        place = _PLACE.pack(number, kind)
        return self._aead.encrypt(self._prefix + place, plain, self._binding + place)

    def seal_into(self, number: int, kind: int, plain: bytes | bytearray | memoryview, out: memoryview) -> None:
        """As `seal`, into ``out``, which is exactly as long as the chunk."""
        place = _PLACE.pack(number, kind)
        self._aead.encrypt_into(self._prefix + place, plain, self._binding + place, out)

    def open(self, number: int, kind: int, sealed: bytes | memoryview) -> bytes:
        """The plain bytes of a chunk.

        Raises:
            IntegrityFault: it is not what was sealed, or not at this place of this object.
        """
        place = _PLACE.pack(number, kind)
        try:
            return self._aead.decrypt(self._prefix + place, sealed, self._binding + place)
        except (InvalidTag, ValueError):
            raise IntegrityFault(f"chunk {number} of an object is not what was written") from None


class SealingStream:
    """Plain bytes in pieces of any size in, sealed chunks out to ``sink`` in large writes.

    The views given to ``sink`` are valid during the call only.
    """

    def __init__(self, cipher: ChunkCipher, sink: Sink, header: bytes) -> None:
        """``header`` goes out first, as it is."""
        self._cipher = cipher
        self._sink = sink
        self._number = 0
        self._held = bytearray()
        """Plain bytes that do not make a chunk yet, or make one of which it is unknown whether it is the last."""
        self._out = bytearray(header)
        self._filled = len(header)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; the view is not kept. Raises what the sink raises."""
        view = memoryview(data)
        offset, end = 0, len(view)
        if self._held:
            offset = min(CHUNK_BYTES - len(self._held), end)
            self._held += view[:offset]
            if offset == end:
                return
            self._seal(MIDDLE, self._held)
            self._held.clear()
        while end - offset > CHUNK_BYTES:
            self._seal(MIDDLE, view[offset : offset + CHUNK_BYTES])
            offset += CHUNK_BYTES
        self._held += view[offset:]

    def finish(self) -> None:
        """No more bytes: seal the last chunk. What is not written yet goes out with `end`."""
        self._seal(LAST, self._held)
        self._held.clear()

    def end(self, trailer: bytes, footer: bytes) -> None:
        """After `finish`: seal the trailer, and write everything that is left, ``footer`` as it is."""
        self._out[self._filled :] = self._cipher.seal(0, TRAILER, trailer) + footer
        self._sink(memoryview(self._out))

    def _seal(self, kind: int, plain: bytearray | memoryview) -> None:
        start, stop = self._filled, self._filled + len(plain) + TAG_BYTES
        if stop > len(self._out):
            # Room for one more write's worth of chunks, made once: an object of one chunk never needs it.
            room = stop if kind == LAST and not self._number else start + WRITE_CHUNKS * SEALED_CHUNK_BYTES
            self._out.extend(bytes(room - len(self._out)))
        self._cipher.seal_into(self._number, kind, plain, memoryview(self._out)[start:stop])
        self._number += 1
        self._filled = stop
        if len(self._out) - stop < SEALED_CHUNK_BYTES and kind == MIDDLE:
            self._sink(memoryview(self._out)[:stop])
            self._filled = 0


def sealed_length(size: int) -> int:
    """Bytes of the chunks that hold ``size`` plain bytes."""
    return size + max(1, -(-size // CHUNK_BYTES)) * TAG_BYTES


def plain_length(sealed: int) -> int:
    """The inverse of `sealed_length`. Raises `IntegrityFault` where no size has that many bytes of chunks."""
    chunks = -(-sealed // SEALED_CHUNK_BYTES)
    size = sealed - chunks * TAG_BYTES
    if chunks == 0 or size < 0 or sealed_length(size) != sealed:
        raise IntegrityFault("an object has a length that no data set gives it")
    return size
