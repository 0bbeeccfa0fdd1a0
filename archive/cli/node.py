"""``strongroom node``: which machines may connect."""

from pathlib import Path
from typing import Annotated

import typer

from archive.cli.frame import HomeOption, JsonOption, ask, home_of, note, print_json, print_table, say, verbs, visible
from archive.errors import UsageInvalid

app = verbs("Machines that may connect.")

TitleArgument = Annotated[str, typer.Argument(metavar="AE_TITLE", help="The node's AE title, which is also its name.")]


@app.command("add")
def add(
    ae_title: TitleArgument,
    issue: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Issue a certificate; write DIR/{cert,key,ca}.pem.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Believe exactly this certificate of the node's own.")
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="No certificate: only without TLS, where that is on.")] = False,
    ae: Annotated[list[str] | None, typer.Option(metavar="TITLE", help="Another AE title it may call from.")] = None,
    host: Annotated[str | None, typer.Option(help="Where the archive connects to it.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="And on which port.")] = None,
    commitment: Annotated[
        str | None,
        typer.Option(
            metavar="same|new",
            help="Whether results of storage commitment go back on the association that asked, while it lasts, or "
            "always on a new one. Default: same.",
        ),
    ] = None,
    role: Annotated[list[str] | None, typer.Option(metavar="ROLE", help="A role of the node.")] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            metavar="required|optional|none",
            help="Whether it must say who is at it. Default: required; optional where its only roles are modality "
            "and service.",
        ),
    ] = None,
    identity_types: Annotated[
        str | None, typer.Option(metavar="1,2,..", help="User identity types it may use; default: all configured.")
    ] = None,
    asserts_users: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="Believe bare user names from it, up to this role.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a machine connect, by a certificate issued here, its own certificate, or none."""
    from archive.cli.material import check_room, read_certificate_base64, write

    home_of(home)
    if sum((issue is not None, certificate is not None, plain)) != 1:
        raise UsageInvalid("a node is added with one of --issue DIR, --certificate PEM and --plain")
    if issue is not None:
        check_room(issue)
    added = ask(
        home,
        "node.add",
        ae_title=ae_title,
        trust="issued" if issue is not None else "pinned" if certificate is not None else "plain",
        certificate=None if certificate is None else read_certificate_base64(certificate),
        ae_titles=ae or [],
        host=host,
        port=port,
        commitment=commitment,
        roles=role or [],
        identity=identity,
        identity_types=_numbers(identity_types),
        asserts_roles=asserts_users or [],
    )
    material = added.pop("material")
    if issue is not None:
        write(issue, material, f"strongroom cert renew {ae_title} --out DIR --overlap-days 0")
    if not added["roles"]:
        note(f"{ae_title} has no role and is permitted nothing: name one with --role")
    if as_json:
        print_json(added)
        return
    where = f"; its key and certificates are in {issue}" if issue is not None else ""
    say(
        visible(
            f"node {ae_title} added, roles {', '.join(added['roles']) or 'none'}, identity {added['identity']}{where}"
        )
    )


@app.command("list")
def listed(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the nodes."""
    nodes = ask(home, "node.list")
    if as_json:
        print_json(nodes)
        return
    columns = ("ae_title", "trust", "roles", "identity", "asserts_users", "not_after", "host", "port")
    print_table(columns, ([node[column] for column in columns] for node in nodes))


@app.command("remove")
def remove(ae_title: TitleArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Let a machine connect no more; its open associations are denied at their next operation."""
    removed = ask(home, "node.remove", ae_title=ae_title)
    if as_json:
        print_json(removed)
    else:
        say(f"node {ae_title} removed")


@app.command("recent")
def recent(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 10,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the last refusals in words, each with the command that would admit it; those alike are one."""
    from archive.cli.refusals import last_refusals
    from archive.cli.trails import records_of

    refusals = last_refusals(records_of(home_of(home)), limit)
    if as_json:
        print_json([{"time": it.time, "what": it.what, "command": it.command, "count": it.count} for it in refusals])
        return
    for refusal in refusals:
        say(visible(f"{refusal.time}  {refusal.words}"))
        if refusal.command:
            say(visible(f"    {refusal.command}"))


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    words = text.split(",")
    if not all(word.strip().isdecimal() and len(word) < 4 for word in words):
        raise UsageInvalid("--identity-types takes numbers with commas, such as 1,2")
    return [int(word) for word in words]
