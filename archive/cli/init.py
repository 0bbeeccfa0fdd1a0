"""``strongroom init``: a new home with its authority, server certificate, signer, keys, policies and settings."""

from pathlib import Path
from typing import Annotated

import typer

from archive.cli.frame import HomeOption, JsonOption, print_json, say
from archive.errors import UsageInvalid
from archive.home import Home


def init(
    folder: Annotated[Path | None, typer.Argument(metavar="HOME", help="An empty or new folder.")] = None,
    ae_title: Annotated[str, typer.Option(help="The archive's AE title.")] = "STRONGROOM",
    host: Annotated[str, typer.Option(help="The address or host name to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port for DICOM over TLS.")] = 2762,
    name: Annotated[
        list[str] | None, typer.Option(metavar="DNS|IP", help="Another name for the server's certificate.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new home. It gets a certificate authority, server and signer, keys, policies and settings."""
    chosen = folder or home
    if chosen is None:
        raise UsageInvalid("no folder is named: run `strongroom init HOME`")
    from archive.control.lock import HomeLock
    from archive.control.operator import Operator
    from archive.establish import Founding, establish
    from archive.logs import configure_log

    configure_log("warning")
    place = Home.at(chosen)
    place.create()
    with HomeLock(place.lock):
        establish(place, Founding(ae_title, host, port, tuple(name or ())), Operator.this().name)
    if as_json:
        print_json({"home": str(place.root), "ae_title": ae_title, "host": host, "port": port})
    else:
        say(f"{place.root} is ready: {ae_title} will listen on {host} port {port}")
