"""The files of the trail's folder, and how they are put on stable storage. What is in them is known elsewhere."""

import os
from pathlib import Path

from archive.audit.trail_format import SEGMENT_SUFFIX


def segments_of(folder: Path) -> list[Path]:
    """Every segment, in order."""
    return sorted(folder.glob(f"*{SEGMENT_SUFFIX}"))


def segment_name(first: int) -> str:
    """Of the segment that begins with a record."""
    return f"{first:016d}{SEGMENT_SUFFIX}"


def write_all(file: int, data: bytes | bytearray) -> None:
    """Write to the last byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def add_line(path: Path, line: str) -> None:
    """Add one line to a file on stable storage, making it (0600) if there is none. Raises `OSError`."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        write_all(file, f"{line}\n".encode("ascii"))
        os.fsync(file)
    finally:
        os.close(file)


def sync_folder(folder: Path) -> None:
    """Put the folder's names on stable storage."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
