"""The home: one folder that holds everything a running archive keeps, and where each thing lies in it.

Paths only, and the two checks every opener makes: that the folder is a home, and that no secret in it can be read by
others than its owner. What is inside the files is the business of the package that writes them.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from archive.errors import HomeInvalid, SecretExposed

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class Home:
    """Where things lie under one home. ``root`` is absolute."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> "Home":
        """The home at ``path``, existing or not."""
        return cls(Path(os.path.abspath(path)))  # noqa: PTH100  (resolve() would follow a symbolic link the operator chose)

    @property
    def settings(self) -> Path:
        """The settings file, the mark by which a folder is a home."""
        return self.root / "strongroom.toml"

    @property
    def detection(self) -> Path:
        """The rules about behaviour, and how much of a flood is written down."""
        return self.root / "detection.toml"

    @property
    def alerts_told(self) -> Path:
        """What the rules have raised in the last hour, so that a restart does not raise it again; may be deleted."""
        return self.root / "alerts-told.json"

    @property
    def lock(self) -> Path:
        """Held with flock by whoever writes: the server, or one verb at a time."""
        return self.root / "lock"

    @property
    def control_socket(self) -> Path:
        """Where a running server takes the verbs of the command line."""
        return self.root / "control.sock"

    @property
    def blobs(self) -> Path:
        """Encrypted objects."""
        return self.root / "blobs"

    @property
    def index(self) -> Path:
        """The SQLite file of studies, series and instances; `rebuild` can make it anew."""
        return self.root / "index.sqlite"

    @property
    def records(self) -> Path:
        """The SQLite file of users and nodes; apart from the index, which may be lost and rebuilt."""
        return self.root / "records.sqlite"

    @property
    def ledger(self) -> Path:
        """The folder of the ledger."""
        return self.root / "ledger"

    @property
    def trail(self) -> Path:
        """The folder of the audit trail."""
        return self.root / "trail"

    @property
    def forward(self) -> Path:
        """Where the forwarder keeps how far each audit repository has come."""
        return self.root / "forward"

    def inside(self, path: Path) -> Path:
        """A path from the settings: relative ones count from the home."""
        return self.root / path.expanduser()

    def require(self) -> None:
        """Check that this is a home.

        Raises:
            HomeInvalid: the folder or its settings file is not there.
        """
        if not self.root.is_dir():
            raise HomeInvalid(f"{self.root} is not a folder: make a home with `strongroom init {self.root}`")
        if not self.settings.is_file():
            raise HomeInvalid(
                f"{self.root} has no {self.settings.name}: name another home, or make one with `strongroom init`"
            )

    def create(self) -> None:
        """Make the folder, for the owner alone.

        Raises:
            HomeInvalid: something is there already, or the folder cannot be made.
        """
        try:
            self.root.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            if any(path != self.lock for path in self.root.iterdir()):
                raise HomeInvalid(f"{self.root} is not empty: name an empty or new folder for the home")
            self.root.chmod(PRIVATE_FOLDER)
        except FileExistsError:
            raise HomeInvalid(f"{self.root} is a file: name an empty or new folder for the home") from None
        except OSError as error:
            raise HomeInvalid(
                f"{self.root} cannot be made ({error.strerror}): name a folder that you may write"
            ) from None


def check_secret(path: Path) -> None:
    """Refuse a secret file that others than its owner may read or write.

    Raises:
        HomeInvalid: it is not there or not a regular file.
        SecretExposed: its mode grants something to group or others.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise HomeInvalid(f"{path} cannot be used ({error.strerror}): restore it from your backup") from None
    if not stat.S_ISREG(mode):
        raise HomeInvalid(f"{path} is not a file: restore it from your backup")
    if mode & OTHERS:
        raise SecretExposed(f"{path} can be read or written by others: run `chmod 600 {path}`")
