"""``strongroom break-glass``: more than a role gives, for an hour at most, and the queue of what is to be reviewed."""

from typing import Annotated

import typer

from archive.cli.frame import HomeOption, JsonOption, ask, print_json, print_table, say, verbs, visible

app = verbs("Breaking the glass in an emergency, and reviewing it.")

_COLUMNS = ("id", "person", "node", "begins", "ends", "opened_by", "reason", "reviewed_by", "note")
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `break-glass review` lists it.")]


@app.command("open")
def opened(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="Who, by the name they log in with.")],
    node: Annotated[str, typer.Argument(metavar="AE_TITLE", help="At which node, and at no other.")],
    reason: Annotated[str, typer.Option(help="Why. It is in the audit and in the queue.")],
    minutes: Annotated[int, typer.Option(min=1, max=60, help="For how long.")] = 60,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Break the glass for somebody who may, also for associations that are open; a security officer is told."""
    override = ask(home, "glass.open", person=person, node=node, reason=reason, minutes=minutes)
    if as_json:
        print_json(override)
    else:
        say(visible(f"{override['id']}: broken for {person} at {node} until {override['ends']}"))


@app.command("close")
def closed(identifier: IdArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """End it before its time, also for associations that are open."""
    override = ask(home, "glass.close", id=identifier)
    if as_json:
        print_json(override)
    else:
        say(visible(f"{override['id']}: ended {override['ends']}"))


@app.command("review")
def review(
    identifier: Annotated[str | None, typer.Argument(metavar="ID", help="Which was looked at; default: list.")] = None,
    note: Annotated[str | None, typer.Option(help="What came of looking at it.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="List those that were reviewed too.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what waits for review, or say what came of it. `audit search --person NAME` has what was done."""
    if identifier is None:
        rows = ask(home, "glass.list", waiting=not everything)
        if as_json:
            print_json(rows)
        else:
            print_table(_COLUMNS, ([row[column] for column in _COLUMNS] for row in rows))
        return
    if note is None:
        raise typer.BadParameter("--note says what came of looking at it")
    override = ask(home, "glass.review", id=identifier, note=note)
    if as_json:
        print_json(override)
    else:
        say(visible(f"{override['id']}: reviewed by {override['reviewed_by']}"))
