"""``strongroom repository``: an IHE Audit Record Repository (ITI-20) that receives the audit messages of others."""

import base64
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archive.cli.frame import CHECK_FAILED, HomeOption, JsonOption, home_of, print_json, say, verbs, visible
from archive.cli.listing import last, moment, print_json_each, printable_xml
from archive.errors import UsageInvalid

if TYPE_CHECKING:
    from archive.repository.folder import RepositoryFolder
    from archive.repository.searching import Wanted
    from archive.repository.store import Kept

app = verbs("Receive, check, keep and find the audit messages of other systems.")

_MAX_FILE_BYTES = 16 * 1024 * 1024
FolderOption = Annotated[
    Path | None, typer.Option("--folder", metavar="FOLDER", help="Where messages are kept; in a home: HOME/repository.")
]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Only the last so many.")]
XmlOption = Annotated[bool, typer.Option("--xml", help="Print the messages.")]


@app.command("serve")
def serve(
    folder: FolderOption = None,
    cert: Annotated[Path | None, typer.Option(metavar="PEM", help="Our certificate and its chain.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its key, 0600.")] = None,
    ca: Annotated[Path | None, typer.Option(metavar="PEM", help="Who vouches for senders.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="For TLS; 0: any.")] = 6514,
    udp: Annotated[str, typer.Option(metavar="WORD", help='"insecure": also receive over UDP, unproved.')] = "",
    udp_port: Annotated[int, typer.Option(min=0, max=65535, help="For UDP; 0: any.")] = 514,
    home: HomeOption = None,
) -> None:
    """Receive until SIGTERM. Certificates are those named here or, without them, the archive's own in a home.

    Once it listens, one line goes to standard output: ready syslog-tls HOST:PORT [syslog-udp HOST:PORT].
    """
    from archive.cli.repository_serving import run
    from archive.repository.tls import Material

    if udp not in ("", "insecure"):
        raise UsageInvalid('--udp takes the word "insecure" and no other')
    named = [path for path in (cert, key, ca) if path is not None]
    if cert is not None and key is not None and ca is not None:
        material = Material.from_files(cert, key, ca)
    elif named:
        raise UsageInvalid("--cert, --key and --ca belong together: name all three")
    else:
        material = Material.of_home(home_of(home))
    run(_folder(folder, home), material, (host, port), (host, udp_port) if udp else None)


@app.command("search")
def search(
    event: Annotated[str | None, typer.Option(metavar="EVENT", help="Code, or words of the event's name.")] = None,
    person: Annotated[str | None, typer.Option(help="Who took part.")] = None,
    patient: Annotated[str | None, typer.Option(help="Patient ID or name.")] = None,
    study: Annotated[str | None, typer.Option(metavar="UID", help="Study Instance UID.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Audit source, or an address in the message or of its sender.")
    ] = None,
    outcome: Annotated[str | None, typer.Option(help="good, failed, 0, 4, 8 or 12.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Received then or later.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Received before.")] = None,
    invalid: Annotated[bool, typer.Option("--invalid", help="Only messages that break a rule.")] = False,
    limit: LimitOption = None,
    xml: XmlOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
    home: HomeOption = None,
) -> None:
    """Find messages. That you search, and for what, is recorded before you see anything."""
    from archive.repository.searching import Wanted

    if outcome not in (None, "good", "failed", "0", "4", "8", "12"):
        raise UsageInvalid("--outcome is good, failed, 0, 4, 8 or 12")
    wanted = Wanted(
        event=event,
        person=person,
        patient=patient,
        study=study,
        source=source,
        outcome=outcome,
        since=moment(since, "--since"),
        until=moment(until, "--until"),
        valid=False if invalid else None,
    )
    asked = {name: str(value) for name, value in asdict(wanted).items() if value is not None}
    if not asked:
        raise UsageInvalid("what are you looking for? name at least one of the options, or use `show`")
    place = _folder(folder, home)
    _tell(place, "searched for " + ", ".join(f"{name}={value}" for name, value in asked.items()))
    _print(last(_matching(place, wanted), limit), xml=xml, as_json=as_json)


@app.command("show")
def show(
    number: Annotated[int | None, typer.Argument(min=1, metavar="[NUMBER]", help="One message, in full.")] = None,
    limit: LimitOption = None,
    xml: XmlOption = False,
    as_json: JsonOption = False,
    folder: FolderOption = None,
    home: HomeOption = None,
) -> None:
    """Show what was received, oldest first, or one message with everything that is wrong with it."""
    from archive.repository.store import messages_of
    from archive.repository.timeline import page_of

    place = _folder(folder, home)
    _tell(place, f"message {number}" if number else "all messages")
    messages = messages_of(place.messages, place.key())
    if number is None:
        _print(last(messages, limit), xml=xml, as_json=as_json)
        return
    found = next((kept for kept in messages if kept.number == number), None)
    if found is None:
        raise UsageInvalid(f"there is no message {number}: see `strongroom repository show`")
    if xml or as_json:
        _print(iter([found]), xml=xml, as_json=as_json)
    else:
        say(*(visible(line) for line in page_of(found)))


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audit message, with its syslog header or without.")],
    as_json: JsonOption = False,
) -> None:
    """Say which rules of PS3.15 A.5 and IHE ITI-20 a message breaks. Exit code 1: at least one."""
    from archive.repository.limits import Limits
    from archive.repository.validation import examine, examine_document

    with file.open("rb") as stream:
        data = stream.read(_MAX_FILE_BYTES)
    bare = data.removeprefix(b"\xef\xbb\xbf")
    framed = bare.startswith(b"<") and bare[1:2].isdigit()
    verdict = examine(bare, Limits()) if framed else examine_document(bare, Limits())
    findings = [asdict(finding) | {"weight": finding.weight.value} for finding in verdict.findings]
    if as_json:
        print_json({"valid": verdict.valid, "event": verdict.summary.event_name, "findings": findings})
    else:
        say(*(visible(finding.in_words()) for finding in verdict.findings))
        say(visible(f"{verdict.summary.event_name}: {'as it should be' if verdict.valid else 'NOT as it should be'}"))
    if not verdict.valid:
        raise typer.Exit(CHECK_FAILED)


def _folder(folder: Path | None, home: Path | None) -> "RepositoryFolder":
    from archive.repository.folder import RepositoryFolder

    return RepositoryFolder(folder if folder is not None else home_of(home).root / "repository")


def _tell(place: "RepositoryFolder", searched: str) -> None:
    from archive.cli.repository_reading import tell_of_reading

    tell_of_reading(place, searched)


def _matching(place: "RepositoryFolder", wanted: "Wanted") -> "Iterator[Kept]":
    from archive.repository.store import messages_of

    return (kept for kept in messages_of(place.messages, place.key()) if wanted.holds(kept))


def _print(messages: "Iterator[Kept]", *, xml: bool, as_json: bool) -> None:
    from archive.repository.timeline import body_of, line_of

    if as_json:
        print_json_each(map(_as_json, messages))
        return
    for kept in messages:
        say(printable_xml(body_of(kept)) if xml else visible(line_of(kept)))


def _as_json(kept: "Kept") -> dict[str, Any]:
    values = asdict(kept)
    values["findings"] = [asdict(finding) | {"weight": finding.weight.value} for finding in kept.findings]
    values["data"] = base64.b64encode(kept.data).decode("ascii")
    return values
