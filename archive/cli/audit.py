"""``strongroom audit``: what happened, and whether the trail that says so is intact."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from archive.cli.frame import CHECK_FAILED, HomeOption, JsonOption, ask, home_of, print_json, say, verbs, visible

app = verbs("The audit trail.")

_USED = "audit-log-used"


@app.command("show")
def show(
    kind: Annotated[list[str] | None, typer.Option(metavar="KIND", help="Only events of this kind.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the last so many.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the events that say that somebody read the trail.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what happened, oldest first. That you look is itself recorded, before you see anything."""
    place = home_of(home)
    ask(home, "audit.used")
    from archive.cli.trails import records_of

    wanted = [
        record for record in records_of(place) if (record.kind in kind if kind else everything or record.kind != _USED)
    ]
    chosen = wanted[-limit:] if limit else wanted
    if as_json:
        print_json([asdict(record) for record in chosen])
        return
    for record in chosen:
        say(visible(f"{record.time}  {record.sequence:>6}  {record.kind}  {in_words(record.facts)}"))


@app.command("verify")
def verify(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Check every byte of the trail: each record authentic, in its place, none missing in between."""
    place = home_of(home)
    from archive.audit.verify import verify_trail
    from archive.control.lock import held
    from archive.keys import load_keyring

    report = verify_trail(place.trail, load_keyring(place).audit_key, being_written=held(place.lock))
    if as_json:
        print_json(asdict(report))
    else:
        say(*(visible(fault) for fault in report.faults))
        say(f"{report.records} records, {'NOT as they were written' if report.faults else 'internally consistent'}")
    if report.faults:
        raise typer.Exit(CHECK_FAILED)


def in_words(facts: dict[str, Any]) -> str:
    """The facts of an event on one line: who, how it ended, and the rest."""
    actor = facts.get("actor", {})
    who = " ".join(str(actor[part]) for part in ("os_user", "person", "ae_title", "address") if actor.get(part))
    parts = [who or "-", "good" if facts.get("outcome", 0) == 0 else f"failed ({facts['outcome']})"]
    parts += [f"{name}={_told(value)}" for name, value in facts.items() if name not in ("actor", "outcome") and value]
    return "  ".join(parts)


def _told(value: object) -> str:
    """A fact without the punctuation of JSON, and without what is empty in it."""
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name}={_told(inner)}" for name, inner in value.items() if inner) + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(_told, value)) + "]"
    return str(value)
