"""What is kept of a target between two starts: how far it has confirmed, and how it stands with it.

HOME/forward/<target>.json, replaced as a whole and synced; HOME/forward/<target>.refused has one line of JSON for each
message that the repository will not take: its sequence in the trail and the reason, nothing of its content.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from archive.audit.forward.tail import Place
from archive.audit.trail_files import sync_folder

_log = structlog.get_logger("strongroom.audit.forward")
_VERSION: Final = 1


@dataclass(slots=True)
class Standing:
    """How it stands with one target."""

    place: Place | None = None
    """Every record before it is confirmed or refused; None: nothing is yet."""
    delivered: int = 0
    """Messages confirmed so far, repetitions included."""
    refused: int = 0
    unreachable_since: str | None = None
    """ISO 8601 with offset; None while the repository takes messages."""
    told: bool = False
    """Whether an event says that it is unreachable."""
    last_error: str = ""


class StandingFile:
    """The files of one target. One writer at a time."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._path = folder / f"{name}.json"
        self._refusals = folder / f"{name}.refused"

    def load(self) -> Standing:
        """What was kept. A file that is not there, or not ours, means a target that has seen nothing: messages may
        come to it again, and none is left out."""
        try:
            value = json.loads(self._path.read_bytes())
            return _standing(value) if value["version"] == _VERSION else Standing()
        except FileNotFoundError:
            return Standing()
        except (OSError, ValueError, TypeError, KeyError):
            _log.warning("the position of an audit target is unreadable; it starts again", file=str(self._path))
            return Standing()

    def save(self, standing: Standing) -> None:
        """Put it on stable storage. Raises `OSError`."""
        value = {"version": _VERSION} | asdict(standing) | {"place": standing.place and standing.place.as_json()}
        beside = self._path.with_suffix(".new")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(beside, os.O_TRUNC, value)
        beside.replace(self._path)
        sync_folder(self._folder)

    def refuse(self, sequence: int, reason: str) -> None:
        """Note a message that the repository will not take, before it is passed over. Raises `OSError`."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(self._refusals, os.O_APPEND, {"sequence": sequence, "reason": reason})

    def _write(self, path: Path, how: int, value: dict[str, Any]) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o600)
        with contextlib.closing(os.fdopen(file, "wb")) as stream:
            stream.write(json.dumps(value).encode() + b"\n")
            stream.flush()
            os.fsync(file)


def _standing(value: dict[str, Any]) -> Standing:
    return Standing(
        place=Place.from_json(value["place"]) if value["place"] is not None else None,
        delivered=int(value["delivered"]),
        refused=int(value["refused"]),
        unreachable_since=value["unreachable_since"],
        told=bool(value["told"]),
        last_error=str(value["last_error"]),
    )
