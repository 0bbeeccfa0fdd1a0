"""``strongroom study``: labels, by which policy tells studies apart; holds; deletion and what may follow it."""

from typing import Annotated, Any

import typer

from archive.cli.frame import HomeOption, JsonOption, ask, print_json, print_table, say, verbs, visible

app = verbs("Studies: labels, holds, and deletion.")

UidArgument = Annotated[str, typer.Argument(metavar="UID", help="A Study Instance UID.")]
WhyOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is told to the audit.")]
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
    columns = ("study_uid", "study_date", "modalities", "labels", "held")
    print_table(columns, ([study[column] for column in columns] for study in studies))


@app.command("hold")
def hold(uid: UidArgument, reason: WhyOption, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Keep all of a study: nothing of it is deleted or erased until it is released."""
    _print_hold(ask(home, "study.hold", study_uid=uid, why=reason), as_json)


@app.command("release")
def release(uid: UidArgument, reason: WhyOption, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Let a study go that was on hold."""
    _print_hold(ask(home, "study.hold", study_uid=uid, why=reason, release=True), as_json)


@app.command("delete")
def delete(
    uid: UidArgument,
    reason: Annotated[
        str,
        typer.Option(
            metavar="quality|safety|worklist|expired",
            help="Why, as in rejection notes: codes 113001, 113037, 113038, 113039.",
        ),
    ],
    series: Annotated[str | None, typer.Option(metavar="UID", help="Only of this series.")] = None,
    instance: Annotated[str | None, typer.Option(metavar="UID", help="Only this object.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete objects of a study: nobody finds them any more, and their bytes stay until they are erased."""
    done = ask(home, "study.delete", study_uid=uid, reason=reason, series_uid=series, sop_instance_uid=instance)
    _print_count(done, "deleted; `strongroom study restore` brings them back until they are erased", as_json)


@app.command("restore")
def restore(uid: UidArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Bring back what was deleted of a study and is not erased."""
    _print_count(ask(home, "study.restore", study_uid=uid), "restored", as_json)


@app.command("erase")
def erase(uid: UidArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Destroy what was deleted of a study, for good: the keys of its bytes, then the bytes."""
    _print_count(ask(home, "study.erase", study_uid=uid), "erased", as_json)


def _print_hold(study: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(study)
    else:
        say(f"study {study['study_uid']}: {'on hold' if study['held'] else 'not on hold'}")


def _print_count(done: dict[str, Any], words: str, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        say(f"study {done['study_uid']}: {done['objects']} objects {words}")


@app.command("note")
def note(uid: UidArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Write a Key Object note that refers to every object of a study by signature and MAC, and file it with the study.

    The archive signs it (PS3.15 C.4). `strongroom signature verify UID` of the note checks all that it refers to.
    """
    made = ask(home, "study.note", study_uid=uid)
    if as_json:
        print_json(made)
    else:
        say(visible(f"note {made['sop_instance_uid']} over {made['objects']} objects of study {made['study_uid']}"))
