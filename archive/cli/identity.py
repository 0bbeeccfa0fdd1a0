"""``strongroom identity``: what the archive would make of somebody's credential."""

import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archive.cli.frame import CHECK_FAILED, HomeOption, JsonOption, ask, home_of, print_json, say, verbs, visible
from archive.errors import UsageInvalid

if TYPE_CHECKING:
    from archive.rehearsal import Rehearsal
    from auth.identity.authenticator import OfferedIdentity

app = verbs("How people prove who they are.")


class Kind(Enum):
    """User identity types in words, in the order of their numbers (PS3.7 Table D.3-14)."""

    USERNAME = "username"
    PASSCODE = "passcode"
    KERBEROS = "kerberos"
    SAML = "saml"
    JWT = "jwt"

    @property
    def number(self) -> int:
        """PS3.7 Table D.3-14."""
        return list(Kind).index(self) + 1


@app.command("test")
def test(
    kind: Annotated[Kind, typer.Option("--type", help="What kind of credential it is.")],
    file: Annotated[
        str | None,
        typer.Option(metavar="F|-", help="The ticket, assertion or token, byte by byte as a node would send it."),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The user name.")] = None,
    passcode_file: Annotated[
        str | None, typer.Option(metavar="F|-", help="Read the passcode from a file, or from standard input.")
    ] = None,
    node: Annotated[
        str | None, typer.Option(metavar="AE_TITLE", help="As if this node offered it; default: a node like any other.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a credential through the home's providers, and say step by step what was checked. Exit 1: it is refused.

    Nobody is let in, and nothing is spent: a token that was tried here can still be presented. Attempts are not slowed
    down, but each is in the audit trail. A directory that is asked counts a wrong passcode like any other.
    """
    place = home_of(home)
    offered = _offered(kind, file, name, passcode_file)
    from archive.logs import configure_log
    from archive.rehearsal import rehearse

    configure_log("error")
    came_of_it = rehearse(place, offered, node)
    told = _told(kind, came_of_it)
    ask(
        home,
        "identity.tried",
        identity_type=kind.value,
        name=told["person"] or told["claimed"],
        verified=told["verified"],
        reason=told["reason"] or "",
    )
    if as_json:
        print_json(told)
    else:
        _print(told)
    if not told["verified"]:
        raise typer.Exit(CHECK_FAILED)


def _offered(kind: Kind, file: str | None, name: str | None, passcode_file: str | None) -> "OfferedIdentity":
    from auth.credential import Secret
    from auth.identity.authenticator import OfferedIdentity

    wanted = {
        "--file": kind in (Kind.KERBEROS, Kind.SAML, Kind.JWT),
        "--name": kind in (Kind.USERNAME, Kind.PASSCODE),
        "--passcode-file": kind is Kind.PASSCODE,
    }
    given = {"--file": file, "--name": name, "--passcode-file": passcode_file}
    for option, is_wanted in wanted.items():
        if is_wanted != (given[option] is not None):
            raise UsageInvalid(f"--type {kind.value} {'needs' if is_wanted else 'takes no'} {option}")
    primary = _read(file) if file is not None else (name or "").encode("utf-8", "surrogateescape")
    secondary = _read(passcode_file).removesuffix(b"\n") if passcode_file is not None else b""
    return OfferedIdentity(kind.number, Secret(primary), Secret(secondary))


def _read(source: str) -> bytes:
    """At most one byte more than could ever be sent, which is enough to refuse it."""
    from archive.rehearsal import MAX_CREDENTIAL_BYTES

    if source == "-":
        return sys.stdin.buffer.read(MAX_CREDENTIAL_BYTES + 1)
    with Path(source).open("rb") as stream:
        return stream.read(MAX_CREDENTIAL_BYTES + 1)


def _told(kind: Kind, rehearsal: "Rehearsal") -> dict[str, Any]:
    """All that is said of it; a secret is not among it."""
    told: dict[str, Any] = {
        "verified": False,
        "type": kind.value,
        "steps": list(rehearsal.steps),
        "reason": rehearsal.reason or None,
        "claimed": rehearsal.claimed,
        "person": None,
    }
    authenticated = rehearsal.authenticated
    if authenticated is None or authenticated.principal is None:
        return told
    person, assurance = authenticated.principal, authenticated.assurance
    response = authenticated.server_response or b""
    return told | {
        "verified": True,
        "person": person.name,
        "roles": sorted(person.roles),
        "attributes": dict(sorted(person.attributes.items())),
        "verified_by": assurance.verified_by,
        "valid_until": assurance.valid_until.isoformat() if assurance.valid_until else None,
        "positive_response": {"kind": _kind_of(kind, response), "bytes": len(response)},
    }


def _kind_of(kind: Kind, response: bytes) -> str:
    """What a positive response is (docs/decisions/identity-responses.md)."""
    if not response:
        return "empty"
    if kind is Kind.KERBEROS:
        return "GSS token with a KRB_AP_REP" if response[:1] == b"\x60" else "KRB_AP_REP"
    return "samlp:Response"


def _print(told: dict[str, Any]) -> None:
    for step in told["steps"]:
        say(visible(f"good        {step}"))
    if not told["verified"]:
        of = f" (of {told['claimed']})" if told["claimed"] else ""
        say(visible(f"REFUSED     {told['reason']}{of}"))
        return
    response = told["positive_response"]
    attributes = ", ".join(f"{key}={value}" for key, value in told["attributes"].items())
    for what, value in (
        ("verified", f"{told['person']}, by {told['verified_by']}"),
        ("roles", ", ".join(told["roles"]) or "none: nothing is permitted"),
        ("attributes", attributes or "none"),
        ("until", told["valid_until"] or "the association ends"),
        ("response", f"{response['kind']}, {response['bytes']} bytes"),
    ):
        say(visible(f"{what:<12}{value}"))
