"""Files that nothing explains, in the folders of objects and of the ledger.

Beside a live server some are under way: what is staged, what is published and still has its name in ``staging`` because
its commit is not over, and a ledger segment that is being begun.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from storage.integrity.fsck.catalogue import Catalogue
from storage.integrity.fsck.ledger_lines import LedgerLines
from storage.integrity.fsck.report import Findings

_STAGED: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ADDRESS: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SEGMENT: Final = re.compile(r"\.?([0-9]{16})\.jsonl(?:\.[0-9a-f]{16})?", re.ASCII)


def object_path(blobs: Path, address: bytes) -> Path:
    """Where the object of an address lies."""
    name = address.hex()
    return blobs / "objects" / name[:2] / name


def find_strangers(blobs: Path, catalogue: Catalogue, being_written: bool, findings: Findings) -> None:
    """Look at every name in the folder of objects."""
    for entry in _entries(blobs, "blobs", findings):
        if entry.name not in ("staging", "objects") or not entry.is_dir(follow_symlinks=False):
            findings.add(f"blobs: {entry.name!r} is no part of the store")
    for entry in _entries(blobs / "staging", "blobs/staging", findings):
        named = _STAGED.fullmatch(entry.name) is not None
        if not named:
            findings.add(f"blobs: staging/{entry.name!r} is no part of the store")
        elif not being_written:
            findings.add(f"blobs: staging/{entry.name} was left by an unclean stop; the next start removes it")
    shards = {f"{number:02x}" for number in range(256)}
    for entry in _entries(blobs / "objects", "blobs/objects", findings):
        if entry.name not in shards or not entry.is_dir(follow_symlinks=False):
            findings.add(f"blobs: objects/{entry.name!r} is no part of the store")
            continue
        for file in _entries(Path(entry.path), f"blobs/objects/{entry.name}", findings):
            if not _explained(file, entry.name, catalogue, being_written):
                findings.add(f"blobs: objects/{entry.name}/{file.name!r} is not in the ledger")


def find_ledger_strangers(ledger: Path, lines: LedgerLines, being_written: bool, findings: Findings) -> None:
    """Look at every name in the folder of the ledger, of which ``lines`` were read."""
    for entry in _entries(ledger, "ledger", findings):
        named = _SEGMENT.fullmatch(entry.name)
        under_way = being_written and named is not None and int(named[1]) > lines.sequence
        if entry.name not in lines.segments and not under_way:
            findings.add(f"ledger: {entry.name!r} is no part of it")


def _explained(entry: os.DirEntry[str], shard: str, catalogue: Catalogue, being_written: bool) -> bool:
    if _ADDRESS.fullmatch(entry.name) is None or not entry.name.startswith(shard):
        return False
    if not entry.is_file(follow_symlinks=False):
        return False
    address = bytes.fromhex(entry.name)
    if catalogue.keeps(address) or catalogue.damaged:
        return True
    if not being_written:
        return False
    try:
        # A second name, in staging: its commit is not over, and the ledger may come to know it or not.
        if entry.stat(follow_symlinks=False).st_nlink > 1:
            return True
        catalogue.advance()
        return catalogue.keeps(address) or not Path(entry.path).exists()
    except FileNotFoundError:
        return True


def _entries(folder: Path, name: str, findings: Findings) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        findings.add(f"{name}: it cannot be read: {error.strerror}")
