"""``strongroom evidence``: what proves the objects of a study to somebody who has no Strongroom."""

import base64
import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from archive.cli.frame import HomeOption, ask, home_of, note, say, visible
from archive.home import Home

NAMES = ("evidence.json", "check.py", "checkpoint", "ca.pem")


def evidence(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A Study Instance UID.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the report and its checker.")],
    earlier: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An earlier checkpoint: prove that the ledger went on from there."),
    ] = None,
    home: HomeOption = None,
) -> None:
    """Write a report of a study's objects, digests, signatures and ledger records, and a script that checks it.

    DIR gets evidence.json; check.py, which needs Python and openssl alone; checkpoint, a line to be kept elsewhere and
    given as --earlier some day; and ca.pem. The objects themselves are for whoever may retrieve them.

    Exit 1: the ledger does not go on from the earlier checkpoint.
    """
    line = earlier.read_text("ascii").strip().splitlines()[-1] if earlier is not None else None
    place = home_of(home)
    out.mkdir(mode=0o700, parents=True)
    made = ask(place.root, "evidence.study", study_uid=study, **({"earlier": line} if line else {}))
    token = _stamped(place, made["checkpoint"])
    if token is not None:
        made["timestamp"] = base64.b64encode(token).decode("ascii")
    contents = (
        json.dumps(made, indent=1) + "\n",
        files("archive.evidence").joinpath("check.py").read_text("utf-8"),
        made["checkpoint"] + "\n",
        made["authority"],
    )
    for name, text in zip(NAMES, contents, strict=True):
        (out / name).write_text(text, "utf-8")
    say(visible(f"{len(made['objects'])} objects of study {study}: {out / NAMES[0]}"))
    say(
        f"check it with `python3 {out / NAMES[1]} {out / NAMES[0]} --ca ca.pem`, ca.pem being one you were given before"
    )


def _stamped(home: Home, line: str) -> bytes | None:
    """A certified timestamp over the checkpoint, where the settings name an authority and it answers."""
    from archive.settings import load_settings
    from archive.timestamp_authority import UNREACHED, TimestampAuthority

    chosen = load_settings(home.settings).trail
    if not chosen.timestamp_url:
        return None
    try:
        ca = home.inside(Path(chosen.timestamp_ca))
        return TimestampAuthority(chosen.timestamp_url, ca, seconds=chosen.timestamp_seconds).token(line.encode())
    except UNREACHED as error:
        note(f"the checkpoint is not stamped: {error}")
        return None
