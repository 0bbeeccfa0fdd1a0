"""``strongroom user``: local people, their roles and passcodes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from archive.cli.frame import HomeOption, JsonOption, ask, home_of, note, print_json, print_table, say, verbs, visible
from archive.errors import UsageInvalid

app = verbs("People, their roles and passcodes.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user name, as it is given at association.")]
PasscodeOption = Annotated[
    str | None, typer.Option(metavar="F|-", help="Read the passcode from a file, or from standard input.")
]
_MAX_PASSCODE_FILE = 4096


@app.command("add")
def add(
    name: NameArgument,
    role: Annotated[list[str] | None, typer.Option(metavar="ROLE", help="A role of the person.")] = None,
    passcode_file: PasscodeOption = None,
    attribute: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="An attribute that policies read, such as physician_name.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a user. Without a passcode they cannot sign in by one."""
    home_of(home)
    added = ask(
        home,
        "user.add",
        name=name,
        roles=role or [],
        attributes=_attributes(attribute or []),
        passcode_hash=None if passcode_file is None else _hashed(passcode_file),
    )
    if not added["roles"]:
        note(f"{visible(added['name'])} has no role and is permitted nothing: name one with --role")
    _show(added, f"user {added['name']} added, roles {', '.join(added['roles']) or 'none'}", as_json)


@app.command("list")
def listed(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the users."""
    users = ask(home, "user.list")
    if as_json:
        print_json(users)
        return
    columns = ("name", "roles", "attributes", "passcode", "enabled")
    print_table(columns, ([user[column] for column in columns] for user in users))


@app.command("remove")
def remove(name: NameArgument, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Forget a user; their open associations are denied at their next operation."""
    removed = ask(home, "user.remove", name=name)
    _show(removed, f"user {removed['name']} removed", as_json)


@app.command("passcode")
def passcode(
    name: NameArgument, passcode_file: PasscodeOption = None, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Give a user another passcode: from a file, from standard input, or typed twice."""
    home_of(home)
    changed = ask(home, "user.passcode", name=name, passcode_hash=_hashed(passcode_file))
    _show(changed, f"user {changed['name']} has another passcode", as_json)


@app.command("disable")
def disable(
    name: NameArgument,
    undo: Annotated[bool, typer.Option("--undo", help="Let them in again.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a user out without forgetting them; open associations are denied at their next operation."""
    changed = ask(home, "user.enable", name=name, enabled=undo)
    _show(changed, f"user {changed['name']} {'enabled' if undo else 'disabled'}", as_json)


def _show(user: dict[str, object], words: str, as_json: bool) -> None:
    if as_json:
        print_json(user)
    else:
        say(visible(words))


def _attributes(pairs: list[str]) -> dict[str, str]:
    attributes = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key in attributes:
            raise UsageInvalid("--attribute takes NAME=VALUE, each name once")
        attributes[key] = value
    return attributes


def _hashed(source: str | None) -> str:
    """The argon2id string of a passcode, which itself goes no further than here."""
    from auth.credential import Secret
    from auth.identity.passcode import hash_passcode

    return hash_passcode(Secret(_typed() if source is None else _read(source)))


def _read(source: str) -> bytes:
    """What a file or standard input holds, without one newline at its end."""
    if source == "-":
        data = sys.stdin.buffer.read(_MAX_PASSCODE_FILE + 1)
    else:
        with Path(source).open("rb") as stream:
            data = stream.read(_MAX_PASSCODE_FILE + 1)
    if len(data) > _MAX_PASSCODE_FILE:
        raise UsageInvalid("the passcode is too long: give the right file")
    return data.removesuffix(b"\n")


def _typed() -> bytes:
    if not sys.stdin.isatty():
        raise UsageInvalid("there is no terminal to type the passcode at: add --passcode-file FILE, or - for a pipe")
    first: str = typer.prompt("Passcode", hide_input=True, confirmation_prompt=True)
    return first.encode("utf-8")
