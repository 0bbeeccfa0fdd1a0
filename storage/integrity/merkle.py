"""A Merkle tree over the records of the ledger (RFC 6962 2.1), made by whoever reads it.

    leaf of a record = SHA-256(0x00 ‖ its line, without the newline)
    node             = SHA-256(0x01 ‖ left ‖ right)

The root over the first n records is what a signed ledger checkpoint names. A few hashes then prove that one record is
among those n, and that the tree of n records is the beginning of a later one, without showing any other record.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

_EMPTY: Final = sha256(b"").digest()


def leaf(line: bytes) -> bytes:
    """The leaf of one record."""
    return sha256(b"\0" + line).digest()


def node(left: bytes, right: bytes) -> bytes:
    """What stands above two."""
    return sha256(b"\1" + left + right).digest()


class MerkleTree:
    """The leaves of a ledger: 32 bytes for each record."""

    def __init__(self, leaves: Iterable[bytes]) -> None:
        self._levels: list[list[bytes]] = [list(leaves)]
        # Whole pairs only: what is left over at the right is joined when it is asked for.
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            self._levels.append([node(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)])

    @property
    def size(self) -> int:
        """How many records."""
        return len(self._levels[0])

    def root(self, size: int) -> bytes:
        """The root over the first ``size`` records."""
        return self._over(0, size) if size else _EMPTY

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """What proves that record ``index`` (from 0) is among the first ``size`` (RFC 6962 2.1.1), lowest first."""
        return self._path(index, 0, size)

    def consistency(self, first: int, second: int) -> list[bytes]:
        """What proves that the first ``first`` records begin the first ``second`` (RFC 6962 2.1.2)."""
        return self._subproof(first, 0, second, whole=True) if 0 < first < second else []

    def _over(self, start: int, size: int) -> bytes:
        """The hash over ``size`` records from ``start``, which is a multiple of the largest power of two within."""
        if size & (size - 1) == 0:
            return self._levels[size.bit_length() - 1][start // size]
        half = _split(size)
        return node(self._over(start, half), self._over(start + half, size - half))

    def _path(self, index: int, start: int, size: int) -> list[bytes]:
        if size == 1:
            return []
        half = _split(size)
        if index < half:
            return [*self._path(index, start, half), self._over(start + half, size - half)]
        return [*self._path(index - half, start + half, size - half), self._over(start, half)]

    def _subproof(self, first: int, start: int, size: int, *, whole: bool) -> list[bytes]:
        if first == size:
            return [] if whole else [self._over(start, size)]
        half = _split(size)
        if first <= half:
            return [*self._subproof(first, start, half, whole=whole), self._over(start + half, size - half)]
        return [*self._subproof(first - half, start + half, size - half, whole=False), self._over(start, half)]


def ledger_lines(folder: Path) -> Iterator[bytes]:
    """Every complete line of a ledger in order, as it stands; whether it is authentic is for others to check."""
    for segment in sorted(path for path in folder.glob("*.jsonl") if path.stem.isdecimal() and len(path.stem) == 16):
        with segment.open("rb") as stream:
            for line in stream:
                if line.endswith(b"\n"):
                    yield line[:-1]


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1
