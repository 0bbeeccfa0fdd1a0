"""``strongroom study``: labels, by which policy tells studies apart."""

from typing import Annotated

import typer

from archive.cli.frame import HomeOption, JsonOption, ask, print_json, print_table, say, verbs, visible

app = verbs("Studies and their labels.")

UidArgument = Annotated[str, typer.Argument(metavar="UID", help="A Study Instance UID.")]
LabelsArgument = Annotated[list[str], typer.Argument(metavar="LABEL...", help="Such as research or restricted.")]


@app.command("label")
def label(
    uid: UidArgument,
    labels: LabelsArgument,
    remove: Annotated[bool, typer.Option("--remove", help="Take the labels off.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put labels on a study, or take them off. What policy says of them holds from then on."""
    study = ask(home, "study.label", study_uid=uid, labels=labels, remove=remove)
    if as_json:
        print_json(study)
    else:
        say(visible(f"study {study['study_uid']}: {', '.join(study['labels']) or 'no labels'}"))


@app.command("list")
def listed(
    labelled: Annotated[list[str] | None, typer.Option(metavar="LABEL", help="Only those that carry it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most, newest first.")] = 1000,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show studies with their labels; no names."""
    studies = ask(home, "study.list", labels=labelled or [], limit=limit)
    if as_json:
        print_json(studies)
        return
    columns = ("study_uid", "study_date", "modalities", "labels")
    print_table(columns, ([study[column] for column in columns] for study in studies))
