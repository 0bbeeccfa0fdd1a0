"""Objects as files, one each (implements `storage.ports.BlobStore`).

    folder/staging/<object id>            while it is written, and until its commit is over
    folder/objects/<aa>/<address, hex>    published; <aa> are the address's first two digits

Publishing is a second, exclusive name for the same file, so nothing published is ever replaced, and whatever a crash
interrupts between publishing and committing still has its name in ``staging``, where start-up looks. Names are made of
our own digits only. Every file is its owner's alone and never changes once published.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from storage import disk
from storage.errors import IntegrityFault, ObjectMissing, OutOfSpace, StorageError, StoreReadOnly
from storage.identifiers import ObjectId
from storage.instance import StagedBytes

_OBJECT_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ADDRESS: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
ADDRESS_BYTES: Final = 32
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class StagedFile(StagedBytes):
    """A synced file under its staging name."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path


class FileWriter:
    """One object's file while it is written (implements `storage.ports.BlobWriter`)."""

    def __init__(self, path: Path, reserve_bytes: int) -> None:
        self._path = path
        self._reserve = reserve_bytes
        with _coded("an object's file cannot be made"):
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, disk.PRIVATE_FILE)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes. Raises `OutOfSpace`, `StoreReadOnly`."""
        _check_room(self._file, len(data), self._reserve)
        with _coded("an object cannot be written"):
            disk.write_all(self._file, data)

    def stage(self) -> StagedFile:
        """Put the file on stable storage. Raises `OutOfSpace`, `StoreReadOnly`."""
        with _coded("an object cannot be synced", full=StoreReadOnly):
            os.fsync(self._file)
            self._close()
        return StagedFile(self._path)

    def discard(self) -> None:
        """Close the file and remove its staging name; idempotent."""
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


class FileReader:
    """Random access to one file (implements `storage.ports.BlobReader`)."""

    def __init__(self, path: Path) -> None:
        """Raises `ObjectMissing`, `IntegrityFault`."""
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._size = os.fstat(self._file).st_size
        except FileNotFoundError:
            raise ObjectMissing("an object's file is not there") from None
        except OSError as error:
            raise IntegrityFault(f"an object's file cannot be opened: {error.strerror}") from error

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes at ``offset``, fewer only at the end. Raises `IntegrityFault`."""
        try:
            data = os.pread(self._file, length, offset)
            while 0 < len(data) < length and (more := os.pread(self._file, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise IntegrityFault(f"an object's file cannot be read: {error.strerror}") from error
        return data

    def close(self) -> None:
        """Close the file; idempotent."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


class FilesystemBlobs:
    """Objects under one folder. One process writes it; any number read. Safe to share among threads."""

    def __init__(self, folder: Path, *, reserve_bytes: int) -> None:
        """Open the folder, making it if there is none (its parent must exist).

        ``reserve_bytes`` of its file system stay free. Raises `OutOfSpace`, `StoreReadOnly`.
        """
        self._folder = folder
        self._staging = folder / "staging"
        self._objects = folder / "objects"
        self._reserve = reserve_bytes
        with _coded("the folder of objects cannot be made"):
            for made in (folder, self._staging, self._objects):
                disk.make_folder(made)
            # All at once: two threads that publish would have to agree on who syncs a folder made in between.
            missing = [shard for shard in self._shards() if not shard.is_dir()]
            for shard in missing:
                shard.mkdir(disk.PRIVATE_FOLDER)
            if missing:
                disk.sync_folder(self._objects)

    def create(self, object_id: ObjectId) -> FileWriter:
        """Begin an object. Raises `OutOfSpace`, `StoreReadOnly`."""
        self.check_room()
        return FileWriter(self._staging_path(object_id), self._reserve)

    def check_room(self) -> None:
        """Whether an object may be begun. Raises `OutOfSpace`, `StoreReadOnly`."""
        _check_room(self._staging, 0, self._reserve)

    def staged_file(self, object_id: ObjectId) -> StagedFile:
        """What another process staged of an object, and synced."""
        return StagedFile(self._staging_path(object_id))

    def open_staged(self, staged: StagedBytes) -> FileReader:
        """Read what is staged and synced. Raises `ObjectMissing`."""
        return FileReader(_staged_path(staged))

    def unstage(self, object_id: ObjectId) -> None:
        """Remove an object's staging name, if it has one. Failing is no failure: `sweep` will."""
        with suppress(OSError):
            self._staging_path(object_id).unlink(missing_ok=True)

    def publish(self, address: bytes, staged: StagedBytes) -> None:
        """Name the file by its address, and sync the folder. Raises as the port says."""
        source, target = _staged_path(staged), self._path(address)
        with _coded("an object cannot be published"):
            linked = _linked(source, target)
        try:
            with _coded("a folder of objects cannot be synced", full=StoreReadOnly):
                disk.sync_folder(target.parent)
        except BaseException:
            if linked:
                with suppress(OSError):
                    target.unlink()
            raise

    def retract(self, address: bytes, staged: StagedBytes) -> None:
        """Take the published name away, where it is this file's."""
        source, target = _staged_path(staged), self._path(address)
        with suppress(OSError):
            if target.samefile(source):
                target.unlink()
                disk.sync_folder(target.parent)

    def open(self, address: bytes) -> FileReader:
        """Raises `ObjectMissing`, `IntegrityFault`."""
        return FileReader(self._path(address))

    def remove(self, address: bytes) -> None:
        """Unlink and sync. Raises `StoreReadOnly`."""
        path = self._path(address)
        with _coded("an object cannot be removed"):
            if path.parent.is_dir():
                path.unlink(missing_ok=True)
                disk.sync_folder(path.parent)

    def erase(self, address: bytes, head: int) -> None:
        """Overwrite the file's beginning in its place, sync, unlink and sync. Raises `StoreReadOnly`."""
        path = self._path(address)
        with _coded("an object cannot be erased", full=StoreReadOnly):
            try:
                file = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return
            try:
                length = min(head, os.fstat(file).st_size)
                disk.write_all(file, os.urandom(length))
                os.fsync(file)
            finally:
                os.close(file)
            path.unlink()
            disk.sync_folder(path.parent)

    def addresses(self) -> Iterator[bytes]:
        """Every published address, in order."""
        for shard in filter(Path.is_dir, self._shards()):
            for name in sorted(entry.name for entry in os.scandir(shard) if _is_object(entry, shard)):
                yield bytes.fromhex(name)

    def strangers(self) -> Iterator[str]:
        """Paths under the folder that no object explains; what is staged at the moment is explained."""
        for entry in os.scandir(self._folder):
            if entry.name not in ("staging", "objects"):
                yield entry.name
        for entry in os.scandir(self._staging):
            if not (_OBJECT_ID.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)):
                yield f"staging/{entry.name}"
        shards = self._shards()
        for entry in os.scandir(self._objects):
            if Path(entry.path) not in shards or not entry.is_dir(follow_symlinks=False):
                yield f"objects/{entry.name}"
        for shard in filter(Path.is_dir, shards):
            for entry in os.scandir(shard):
                if not _is_object(entry, shard):
                    yield f"objects/{shard.name}/{entry.name}"

    def staged(self) -> Iterator[tuple[ObjectId, FileReader]]:
        """What a crash left staged."""
        for name in self._staged_names():
            yield ObjectId(name), FileReader(self._staging / name)

    def sweep(self) -> int:
        """Remove every staging name. Raises `StoreReadOnly`."""
        names = self._staged_names()
        with _coded("staging cannot be swept"):
            for name in names:
                (self._staging / name).unlink()
            disk.sync_folder(self._staging)
        return len(names)

    def _staging_path(self, object_id: ObjectId) -> Path:
        if _OBJECT_ID.fullmatch(object_id) is None:
            raise ValueError("not an object id")
        return self._staging / object_id

    def _staged_names(self) -> list[str]:
        with _coded("staging cannot be read"):
            return sorted(path.name for path in self._staging.iterdir() if _OBJECT_ID.fullmatch(path.name))

    def _shards(self) -> list[Path]:
        return [self._objects / f"{number:02x}" for number in range(256)]

    def _path(self, address: bytes) -> Path:
        if len(address) != ADDRESS_BYTES:
            raise ValueError("not an address")
        name = address.hex()
        return self._objects / name[:2] / name


class _coded:  # noqa: N801  (used as a function)
    """Turns what the operating system says into this package's errors; ``full`` is that of a full file system."""

    __slots__ = ("_full", "_what")

    def __init__(self, what: str, *, full: type[StorageError] = OutOfSpace) -> None:
        self._what = what
        self._full = full

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            if error.errno in _FULL:
                raise self._full(f"{self._what}: the file system is full") from error
            raise StoreReadOnly(f"{self._what}: {error.strerror}") from error


def _check_room(place: Path | int, length: int, reserve_bytes: int) -> None:
    with _coded("the file system does not say how full it is"):
        room = os.statvfs(place)
    if room.f_bavail * room.f_frsize - length < reserve_bytes:
        raise OutOfSpace("the file system has no room above the reserve")


def _staged_path(staged: StagedBytes) -> Path:
    if not isinstance(staged, StagedFile):
        raise TypeError("staged by another store")
    return staged.path


def _linked(source: Path, target: Path) -> bool:
    """Give a staged file its published name; False if it has it already."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        if not target.samefile(source):
            raise IntegrityFault("another object is published under the address") from None
        return False
    return True


def _is_object(entry: os.DirEntry[str], shard: Path) -> bool:
    named = _ADDRESS.fullmatch(entry.name) is not None and entry.name.startswith(shard.name)
    return named and entry.is_file(follow_symlinks=False)
