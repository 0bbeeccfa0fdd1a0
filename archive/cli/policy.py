"""``strongroom policy``: whether the policies hold together, and what they say."""

from pathlib import Path
from typing import Annotated

import typer

from archive.cli.frame import (
    CHECK_FAILED,
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

NodeOption = Annotated[str, typer.Option(metavar="AE_TITLE", help="From which node.")]
app = verbs("What is permitted, and why.")


@app.command("check")
def check(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Another folder of policies than the home's.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Parse, validate and compile the policies; exit 1 and name every finding if they do not hold.

    Rules that make no difference, being dead or shadowed by another, are named and are no failure.
    """
    from archive.enforcement.attributes import is_keyword
    from archive.settings import load_settings
    from auth.errors import PolicyInvalid
    from auth.policy.loading import load

    if directory is None:
        place = home_of(home)
        directory = place.inside(load_settings(place.settings).policy.directory)
    findings: list[str] = []
    fingerprint, policies, idle, rules = "", {}, [], {}
    try:
        loaded = load(directory, is_keyword)
        fingerprint, policies, idle = loaded.fingerprint, dict(loaded.effects), list(loaded.idle)
        rules = {identifier: sorted(labels) for identifier, labels in loaded.rules.labels.items()}
    except PolicyInvalid as error:
        findings = str(error).splitlines()
    if as_json:
        print_json(
            {"findings": findings, "idle": idle, "fingerprint": fingerprint, "policies": policies, "label_rules": rules}
        )
    elif findings:
        say(*(visible(finding) for finding in findings))
    else:
        say(*(visible(f"makes no difference: {rule}") for rule in idle))
        also = f" and {len(rules)} label rules" if rules else ""
        say(f"{len(policies)} policies{also} hold together, fingerprint {fingerprint[:16]}")
    if findings:
        raise typer.Exit(CHECK_FAILED)


@app.command("explain")
def explain(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="Associate, Echo, Store, Query, Retrieve, …")],
    node: NodeOption,
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


@app.command("sql")
def sql(
    node: NodeOption,
    user: Annotated[str, typer.Option(metavar="NAME", help="By whom.")],
    action: Annotated[str, typer.Option(metavar="ACTION", help="Query, Retrieve or Move.")] = "Query",
    dialect: Annotated[str, typer.Option(help="sqlite or postgresql.")] = "sqlite",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the condition that is AND-ed to a person's queries at a node, with its values."""
    answer = ask(home, "policy.sql", action=action, node=node, user=user)
    if dialect not in ("sqlite", "postgresql"):
        raise typer.BadParameter("--dialect is sqlite or postgresql")
    if as_json:
        print_json(answer)
        return
    say(*(visible(line) for line in answer[dialect].splitlines()))
    if answer["hidden"]:
        say(visible(f"hidden: {', '.join(answer['hidden'])}"))


@app.command("test")
def test(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Cases, as TOML: docs/policy.md.")],
    directory: Annotated[
        Path | None, typer.Option("--policies", metavar="DIR", help="Another folder of policies than the home's.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the policies to the cases of a file; exit 1 if one does not hold."""
    from archive.enforcement.attributes import is_keyword
    from archive.settings import load_settings
    from auth.policy.cases import read_cases, run
    from auth.policy.engine import PolicyEngine

    if directory is None:
        place = home_of(home)
        directory = place.inside(load_settings(place.settings).policy.directory)
    verdicts = run(PolicyEngine.load(directory, is_keyword), read_cases(file.read_text("utf-8")))
    faults = [verdict for verdict in verdicts if verdict.fault]
    if as_json:
        print_json([{"case": verdict.case.name, "fault": verdict.fault} for verdict in verdicts])
    else:
        say(*(visible(f"does not hold: {verdict.case.name}: {verdict.fault}") for verdict in faults))
        say(f"{len(verdicts) - len(faults)} of {len(verdicts)} cases hold")
    if faults:
        raise typer.Exit(CHECK_FAILED)


@app.command("diff")
def diff(
    sets: Annotated[list[Path], typer.Argument(metavar="[BEFORE] AFTER", help="Folders; default before: in force.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what another policy set changes for the people, nodes and studies of this home. Exit 1: something."""
    if len(sets) > 2:
        raise typer.BadParameter("two policy sets are compared")
    before = str(sets[0].absolute()) if len(sets) == 2 else None
    changes = ask(home, "policy.diff", before=before, after=str(sets[-1].absolute()))
    if as_json:
        print_json(changes)
    else:
        columns = ("person", "node", "action", "gained", "lost", "gained_studies", "lost_studies", "hidden_after")
        print_table(columns, ([change[column] for column in columns] for change in changes))
    if changes:
        raise typer.Exit(CHECK_FAILED)


@app.command("shadow")
def shadow(
    directory: Annotated[Path | None, typer.Argument(metavar="DIR", help="A policy set to ask beside.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Ask it no longer.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a running archive ask a second policy set whatever it asks the one in force, and show where they differ.

    The second one is never obeyed, and is forgotten when the archive stops.
    """
    path = None if directory is None else str(directory.absolute())
    answer = ask(home, "policy.shadow", directory=path, stop=stop)
    if as_json:
        print_json(answer)
    elif answer["fingerprint"] is None:
        say("no policy set is asked beside the one in force")
    else:
        columns = ("count", "person", "node", "action", "study_uid", "live", "shadow", "reason")
        print_table(columns, ([row[column] for column in columns] for row in answer["differences"]))
        say(f"{answer['fingerprint'][:16]}: {answer['differed']} of {answer['asked']} answers differ")
