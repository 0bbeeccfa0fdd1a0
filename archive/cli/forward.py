"""``strongroom audit forward``: how far each audit repository has come, and what keeps it."""

from typing import Any

import typer

from archive.cli.frame import CHECK_FAILED, HomeOption, JsonOption, home_of, print_json, print_table, say, verbs
from archive.home import Home

app = verbs("Where audit messages go.")

_HEADINGS = ("TARGET", "TRANSPORT", "ADDRESS", "RECORD", "BEHIND", "REFUSED", "UNREACHABLE SINCE", "LAST ERROR")


@app.callback()
def group() -> None:
    """Where audit messages go."""


@app.command("status")
def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show how far each repository has confirmed, and how many records it is behind; 1 if one is unreachable."""
    standings = _standings(home_of(home))
    if as_json:
        print_json(standings)
    elif not standings:
        say("no [[audit]] section names a repository: the trail is kept here alone")
    else:
        print_table(_HEADINGS, [list(standing.values()) for standing in standings])
    if any(standing["unreachable_since"] for standing in standings):
        raise typer.Exit(CHECK_FAILED)


def _standings(home: Home) -> list[dict[str, Any]]:
    from archive.audit.forward.position import StandingFile
    from archive.audit.forward.tail import newest_sequence
    from archive.audit.forward.target import targets_of
    from archive.settings import load_settings

    newest = newest_sequence(home.trail)
    standings = []
    for target in targets_of(load_settings(home.settings), home):
        kept = StandingFile(home.forward, target.name).load()
        confirmed = kept.place.sequence if kept.place else 0
        standings.append(
            {
                "target": target.name,
                "transport": target.transport,
                "address": "{} {}".format(*target.address),
                "confirmed": confirmed,
                "behind": max(0, newest - confirmed),
                "refused": kept.refused,
                "unreachable_since": kept.unreachable_since,
                "last_error": kept.last_error or None,
            }
        )
    return standings
