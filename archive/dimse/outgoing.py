"""Messages as P-DATA-TF PDUs (PS3.8 9.3.5, Annex E), gathered into large writes."""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from archive.upper_layer.commands import CommandSet

WRITE_BYTES: Final = 262_144
_HEADERS: Final = struct.Struct(">BxLLBB")
_COMMAND, _LAST = 1, 2


def messages_to_pdus(
    context_id: int,
    messages: Iterable[tuple[CommandSet, Iterable[bytes | memoryview] | None]],
    fragment_bytes: int,
    before: bytes = b"",
) -> Iterator[bytes]:
    """Each yield is one write: as many PDUs as fit `WRITE_BYTES`, and always the end of what there is.

    Args:
        context_id: the presentation context.
        messages: commands with their data sets, in chunks of any size.
        fragment_bytes: the longest fragment that the peer takes.
        before: PDUs that go out in front.
    """
    parts: list[bytes | memoryview] = [before] if before else []
    size = len(before)
    for command, data in messages:
        for flags, fragment in _fragments(command, data, fragment_bytes):
            length = len(fragment)
            parts.append(_HEADERS.pack(4, length + 6, length + 2, context_id, flags))
            parts.append(fragment)
            size += length + _HEADERS.size
            if size >= WRITE_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
    if parts:
        yield b"".join(parts)


def repeated_to_pdus(
    context_id: int, command: CommandSet, data_sets: Iterable[bytes], fragment_bytes: int
) -> Iterator[bytes]:
    """As `messages_to_pdus`, for one command with each of many data sets, none empty: encoded once."""
    told = b"".join(messages_to_pdus(context_id, [(command, None)], fragment_bytes))
    pack, last = _HEADERS.pack, _LAST
    parts: list[bytes | memoryview] = []
    size = 0
    for data in data_sets:
        length = len(data)
        parts.append(told)
        if length <= fragment_bytes:
            parts += (pack(4, length + 6, length + 2, context_id, last), data)
        else:
            for flags, fragment in _cut(iter((data,)), fragment_bytes, 0):
                parts += (pack(4, len(fragment) + 6, len(fragment) + 2, context_id, flags), fragment)
        size += length + len(told)
        if size >= WRITE_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def _fragments(
    command: CommandSet, data: Iterable[bytes | memoryview] | None, fragment_bytes: int
) -> Iterator[tuple[int, bytes | memoryview]]:
    yield from _cut(iter((command.encode(),)), fragment_bytes, _COMMAND)
    if data is not None:
        yield from _cut(iter(data), fragment_bytes, 0)


def _cut(
    chunks: Iterator[bytes | memoryview], fragment_bytes: int, kind: int
) -> Iterator[tuple[int, bytes | memoryview]]:
    """Fragments of full length while there is more; the last one is marked, and is empty only if all there was is."""
    held: bytes | memoryview = b""
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), fragment_bytes):
            if len(held):
                yield kind, held
            held = view[start : start + fragment_bytes]
    yield kind | _LAST, held
