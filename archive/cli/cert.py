"""``strongroom cert``: certificates of ours and of nodes, how long they last, and which are good no more."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from archive.cli.frame import (
    HomeOption,
    JsonOption,
    ask,
    home_of,
    print_json,
    print_table,
    say,
    verbs,
    visible,
)

app = verbs("Certificates: ours, and those of nodes.")

TitleArgument = Annotated[str, typer.Argument(metavar="AE_TITLE", help="The node.")]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Write DIR/{cert,key,ca}.pem.")]


@app.command("list")
def listed(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show every certificate in use and every one that was revoked, with its end."""
    certificates = ask(home, "cert.list")
    if as_json:
        print_json(certificates)
        return
    columns = ("name", "whose", "state", "not_after", "fingerprint", "why")
    print_table(columns, ([one[column] for column in columns] for one in certificates))


@app.command("issue")
def issue(ae_title: TitleArgument, out: OutOption, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Give an issued node one more certificate; those that it has stay good."""
    _made(ae_title, out, home, as_json, "cert.issue")


@app.command("renew")
def renew(
    ae_title: Annotated[str | None, typer.Argument(metavar="[AE_TITLE]", help="The node.")] = None,
    server: Annotated[
        bool, typer.Option("--server", help="Our own server's, in their place, with their keys.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the node's DIR/{cert,key,ca}.pem.")
    ] = None,
    overlap_days: Annotated[
        int, typer.Option(min=0, max=365, help="Days that the node's former certificate stays good.")
    ] = 7,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new certificate, for a node or for our server. A running server takes its own at once."""
    from archive.errors import UsageInvalid

    if server == (ae_title is not None) or server == (out is not None):
        raise UsageInvalid("renew either AE_TITLE --out DIR or --server")
    if ae_title is not None and out is not None:
        _made(ae_title, out, home, as_json, "cert.renew", overlap_days=overlap_days)
        return
    renewed = ask(home, "cert.renew-server")
    if as_json:
        print_json(renewed)
    else:
        say(f"the server's certificates are renewed, until {renewed['not_after']}")


@app.command("revoke")
def revoke(
    which: Annotated[
        str, typer.Argument(metavar="AE_TITLE|FINGERPRINT", help="All certificates of a node, or one by its SHA-256.")
    ],
    why: Annotated[str, typer.Option("--why", help="The reason, for the audit trail.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Accept a node's certificates no more, for good; its live associations end. Writes our revocation list too."""
    revoked = ask(home, "cert.revoke", which=which, why=why)
    if as_json:
        print_json(revoked)
        return
    for one in revoked:
        say(visible(f"certificate {one['fingerprint']} of {one['name']} revoked"))


def _made(title: str, out: Path, home: Path | None, as_json: bool, operation: str, **more: object) -> None:
    from archive.cli.material import check_room, write

    home_of(home)
    check_room(out)
    made: dict[str, Any] = ask(home, operation, ae_title=title, **more)
    write(out, made.pop("material"), f"strongroom cert issue {title} --out DIR")
    if as_json:
        print_json(made)
        return
    say(visible(f"new certificate of {title} until {made['not_after']}; it and its key are in {out}"))
    if made["former_until"]:
        days = (datetime.fromisoformat(made["former_until"]) - datetime.now(UTC)).days + 1
        say(f"the former one is good until {made['former_until']} ({days} days)")
