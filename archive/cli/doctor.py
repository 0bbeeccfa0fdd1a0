"""``strongroom doctor``: where everything is, and what an operator should know before something goes wrong."""

from typing import Annotated

import typer

from archive.cli.frame import CHECK_FAILED, HomeOption, JsonOption, home_of, print_json, print_table


def doctor(
    paths: Annotated[bool, typer.Option("--paths", help="Only say where blobs, index, ledger and trail are.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look the home over. Exit 1: something is wrong; a warning alone is none."""
    place = home_of(home)
    if paths:
        found = {name: str(getattr(place, name)) for name in ("blobs", "index", "ledger", "trail")}
        if as_json:
            print_json(found)
        else:
            print_table(("what", "where"), found.items())
        return
    from archive.cli.examination import State, examine

    findings = examine(place)
    if as_json:
        print_json([{"what": it.what, "state": it.state.value, "words": it.words} for it in findings])
    else:
        print_table(("what", "state", "words"), ((it.what, it.state.value, it.words) for it in findings))
    if any(it.state is State.WRONG for it in findings):
        raise typer.Exit(CHECK_FAILED)
