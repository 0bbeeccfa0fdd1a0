"""The repository's own folder, and where things lie in it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from archive.errors import HomeInvalid
from archive.home import PRIVATE_FILE, PRIVATE_FOLDER, check_secret

_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class RepositoryFolder:
    """Paths under one folder."""

    root: Path

    @property
    def messages(self) -> Path:
        """What was received: a trail (docs/on-disk-format.md, Audit trail)."""
        return self.root / "messages"

    @property
    def readings(self) -> Path:
        """Who looked at it: another trail."""
        return self.root / "readings"

    @property
    def lock(self) -> Path:
        """Held with flock by whoever receives."""
        return self.root / "lock"

    @property
    def readings_lock(self) -> Path:
        """Held with flock by a reader while it says so."""
        return self.root / "readings.lock"

    @property
    def key_file(self) -> Path:
        """The key of both trails; a symbolic link to another disk serves as well."""
        return self.root / "store.key"

    def create(self) -> None:
        """Make the folder, if it is not there yet.

        Raises:
            HomeInvalid: it cannot be made.
        """
        try:
            self.root.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def create_key(self) -> None:
        """Make the key of a folder that has neither key nor messages. The caller holds the lock.

        Raises:
            HomeInvalid: it cannot be made.
        """
        if self.key_file.exists() or self.messages.exists():
            return
        unfinished = self.root / "store.key.new"
        try:
            unfinished.unlink(missing_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(_KEY_BYTES))
                file.flush()
                os.fsync(descriptor)
            unfinished.rename(self.key_file)
        except OSError as error:
            raise self._unwritable(error) from None

    def key(self) -> bytes:
        """The key.

        Raises:
            HomeInvalid: the folder is no repository's, or its key is gone.
            SecretExposed: others can read the key.
        """
        if not self.root.is_dir():
            raise HomeInvalid(f"{self.root} is not a folder: name the one that `strongroom repository serve` writes")
        check_secret(self.key_file)
        key = self.key_file.read_bytes()
        if len(key) != _KEY_BYTES:
            raise HomeInvalid(f"{self.key_file} is no key: restore it from your backup")
        return key

    def _unwritable(self, error: OSError) -> HomeInvalid:
        return HomeInvalid(f"{self.root} cannot be written ({error.strerror}): name a folder that you may write")
