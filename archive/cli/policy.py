"""``strongroom policy``: whether the policies hold together, and what they say."""

from pathlib import Path
from typing import Annotated

import typer

from archive.cli.frame import CHECK_FAILED, HomeOption, JsonOption, ask, home_of, print_json, say, verbs, visible

app = verbs("What is permitted, and why.")


@app.command("check")
def check(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Another folder of policies than the home's.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Parse, validate and compile the policies; exit 1 and name every finding if they do not hold."""
    from archive.enforcement.attributes import is_keyword
    from archive.settings import load_settings
    from auth.errors import PolicyInvalid
    from auth.policy.loading import load

    if directory is None:
        place = home_of(home)
        directory = place.inside(load_settings(place.settings).policy.directory)
    findings: list[str] = []
    fingerprint, policies = "", {}
    try:
        loaded = load(directory, is_keyword)
        fingerprint, policies = loaded.fingerprint, dict(loaded.effects)
    except PolicyInvalid as error:
        findings = str(error).splitlines()
    if as_json:
        print_json({"findings": findings, "fingerprint": fingerprint, "policies": policies})
    elif findings:
        say(*(visible(finding) for finding in findings))
    else:
        say(f"{len(policies)} policies hold together, fingerprint {fingerprint[:16]}")
    if findings:
        raise typer.Exit(CHECK_FAILED)


@app.command("explain")
def explain(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="Associate, Echo, Store, Query, Retrieve, …")],
    node: Annotated[str, typer.Option(metavar="AE_TITLE", help="From which node.")],
    user: Annotated[str | None, typer.Option(metavar="NAME", help="By whom; default: the node alone.")] = None,
    study: Annotated[str | None, typer.Option(metavar="UID", help="On which study that is kept.")] = None,
    sop_class: Annotated[str | None, typer.Option(metavar="UID", help="Of which SOP class.")] = None,
    identity_type: Annotated[int | None, typer.Option(min=1, max=5, help="Verified how; default: 2.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether somebody may do something, and which policies decide it. Exit 1: they may not."""
    answer = ask(
        home,
        "policy.explain",
        action=action,
        node=node,
        user=user,
        study_uid=study,
        sop_class=sop_class,
        identity_type=identity_type,
    )
    if as_json:
        print_json(answer)
    else:
        say("permitted" if answer["permitted"] else f"denied: {visible(answer['reason'])}")
        say(*(visible(line) for line in answer["lines"]))
    if not answer["permitted"]:
        raise typer.Exit(CHECK_FAILED)


@app.command("reload")
def reload(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Have a running archive read the policies again, as SIGHUP does."""
    answer = ask(home, "policy.reload")
    if as_json:
        print_json(answer)
    else:
        say(f"policies {answer['fingerprint'][:16]} are in force")
