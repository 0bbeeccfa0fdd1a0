"""How files come to be: three verbs, each on stable storage when it returns, file and folder.

What is written through them is either there whole or not there. Nothing in this package makes a file otherwise, except
the two writers of large things, which use the same pieces: objects (`storage.blobs.filesystem`) and the ledger.
A sync that failed is never retried here, because what reached the disk is unknown from then on; callers stop writing.
"""

import os
import secrets
from pathlib import Path
from typing import Final

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700


def create_exclusive(path: Path, data: bytes) -> None:
    """Make a file that must not be there yet, for the owner alone.

    Raises:
        FileExistsError: it is there already, and stays as it was.
        OSError: it could not be written; nothing is left behind under its name.
    """
    staged = _staged(path, data)
    try:
        # A link, unlike a rename, does not replace what somebody else put there meanwhile.
        path.hardlink_to(staged)
    finally:
        staged.unlink()
    sync_folder(path.parent)


def create_idempotent(path: Path, data: bytes) -> None:
    """Make a file, or find that it is there with the same content.

    Raises:
        FileExistsError: it is there with another content, and stays as it was.
        OSError: it could not be written.
    """
    try:
        create_exclusive(path, data)
    except FileExistsError:
        if path.read_bytes() != data:
            raise
        # Whoever made it may have died before its folder was synced.
        sync_folder(path.parent)


def overwrite(path: Path, data: bytes) -> None:
    """Make a file or replace it, for the owner alone; a reader sees the old or the new content, never a part.

    Raises:
        OSError: it could not be written; the old content stays.
    """
    staged = _staged(path, data)
    try:
        staged.replace(path)
    except OSError:
        staged.unlink()
        raise
    sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder for the owner alone, or find it there; its parent must exist. Raises `OSError`."""
    try:
        path.mkdir(PRIVATE_FOLDER)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Put the names in a folder on stable storage. Raises `OSError`, after which nothing is known of them."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(file: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte to a descriptor. Raises `OSError`; an unknown part is written then."""
    written = os.write(file, data)
    if written < len(data):
        view = memoryview(data)[written:]
        while view:
            view = view[os.write(file, view) :]


def _staged(path: Path, data: bytes) -> Path:
    """A synced file of that content beside ``path``, under a name of its own."""
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    file = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        write_all(file, data)
        os.fsync(file)
    except OSError:
        staged.unlink()
        raise
    finally:
        os.close(file)
    return staged
