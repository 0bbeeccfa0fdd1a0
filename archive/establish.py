"""Makes a new home: everything that `strongroom init` writes, in an order that leaves nothing behind if it fails."""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import archive
from archive.audit.events import Actor, Alert
from archive.bootstrap import open_archive
from archive.errors import HomeInvalid
from archive.home import PRIVATE_FILE, PRIVATE_FOLDER, Home
from archive.settings import Settings, parse_settings
from auth.node import authority
from storage.crypto.keyring import Keyring


@dataclass(frozen=True, slots=True)
class Founding:
    """What the operator chooses at the start; all of it can be changed in the settings later, but for the names."""

    ae_title: str
    host: str
    port: int
    names: tuple[str, ...] = ()
    """DNS names and addresses for the server's certificate, beside ``host``."""


def establish(home: Home, founding: Founding, operator: str) -> None:
    """Fill a home that `Home.create` made; the caller holds its lock. If it fails, the folder is empty again.

    Raises:
        SettingsInvalid: title, host or port are not what settings may hold.
        AuthError, StorageError, ArchiveError: a part could not be made.
    """
    try:
        settings = _write_settings(home, founding)
        _write(home.detection, (shipped() / home.detection.name).read_bytes())
        _copy_policies(home.inside(settings.policy.directory))
        keyring = home.inside(settings.keys.keyring)
        keyring.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        Keyring.create(keyring)
        names = dict.fromkeys((founding.host, *founding.names))
        authority.create(home.inside(settings.keys.authority), ae_title=founding.ae_title, names=list(names))
        opened = open_archive(home)
        try:
            opened.tell(
                "authority",
                {"change": "home-made", "ae_title": founding.ae_title},
                Actor(os_user=operator),
                f"archive {founding.ae_title} established",
                Alert.SECURITY_CONFIGURATION,
            )
        finally:
            opened.close()
    except BaseException:
        _empty(home)
        raise


def shipped() -> Path:
    """The folder of the settings and policies that come with this release.

    Raises:
        HomeInvalid: the installation is incomplete.
    """
    package = Path(archive.__file__).parent
    for folder in (package / "config", package.parent / "config"):
        if (folder / "strongroom.toml").is_file():
            return folder
    raise HomeInvalid("the installation has no config folder: install strongroom again")


def _write_settings(home: Home, founding: Founding) -> Settings:
    """The shipped settings with the operator's choices; strings are quoted as TOML and JSON both do."""
    text = (shipped() / home.settings.name).read_text("utf-8")
    chosen = {
        "ae_title": json.dumps(founding.ae_title),
        "host": json.dumps(founding.host),
        "port": str(founding.port),
    }
    for key, value in chosen.items():
        text, count = re.subn(rf"(?m)^{key} = .*$", lambda _, line=f"{key} = {value}": line, text)  # type: ignore[misc]
        if count != 1:
            raise HomeInvalid(f"the shipped settings have no single line for {key}: install strongroom again")
    settings = parse_settings(text)
    _write(home.settings, text.encode("utf-8"))
    return settings


def _copy_policies(folder: Path) -> None:
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True)
    for path in sorted((shipped() / "policies").iterdir()):
        if path.suffix in (".cedar", ".cedarschema"):
            _write(folder / path.name, path.read_bytes())


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)


def _empty(home: Home) -> None:
    """Take away what was made, but for the lock, which the caller still holds, so that another attempt can be made."""
    for path in home.root.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != home.lock:
            path.unlink(missing_ok=True)
