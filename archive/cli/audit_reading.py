"""Reading the trail: as a timeline for people, as the messages of PS3.15 A.5, as JSON, as a table.

Each of these says in the trail who reads and what for, before anything is shown. A million records take no more memory
than one.
"""

import csv
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from archive.cli.frame import HomeOption, JsonOption, ask, home_of, note, say, visible
from archive.cli.listing import last, moment, print_json_each, printable_xml
from archive.errors import UsageInvalid
from archive.home import Home

if TYPE_CHECKING:
    from archive.audit.search import Criteria
    from archive.audit.trail_format import TrailRecord

_USED = frozenset({"audit-log-used", "trail-checkpointed"})
"""What the trail says about itself."""

PersonOption = Annotated[str | None, typer.Option("--person", help="Who acted, or whose name was claimed.")]
PatientOption = Annotated[str | None, typer.Option("--patient", help="Patient ID or name; also where asked for.")]
StudyOption = Annotated[str | None, typer.Option("--study", metavar="UID", help="Study Instance UID.")]
NodeOption = Annotated[str | None, typer.Option("--node", help="Name, AE title, address or destination.")]
KindOption = Annotated[list[str] | None, typer.Option("--kind", metavar="KIND", help="Only events of this kind.")]
OutcomeOption = Annotated[str | None, typer.Option("--outcome", help="good, failed, 0, 4, 8 or 12.")]
SinceOption = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Recorded then or later.")]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Recorded before.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Only the last so many.")]
XmlOption = Annotated[bool, typer.Option("--xml", help="Print the messages of PS3.15 A.5, one after another.")]


def show(
    kind: KindOption = None,
    limit: LimitOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the events that say that somebody read the trail.")
    ] = False,
    home: HomeOption = None,
    xml: XmlOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what happened, oldest first. That you look is itself recorded, before you see anything."""
    from archive.audit.search import Criteria

    criteria = Criteria(kinds=tuple(kind or ()))
    _show(home, criteria, limit, everything=everything or bool(kind), xml=xml, as_json=as_json)


def search(
    person: PersonOption = None,
    patient: PatientOption = None,
    study: StudyOption = None,
    node: NodeOption = None,
    kind: KindOption = None,
    outcome: OutcomeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: LimitOption = None,
    home: HomeOption = None,
    xml: XmlOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find events. That you search, and for what, is itself recorded, before you see anything."""
    criteria = _criteria(person, patient, study, node, kind, outcome, since, until)
    if not criteria.in_words():
        raise UsageInvalid("what are you looking for? name at least one of the options, or use `strongroom audit show`")
    _show(home, criteria, limit, everything=True, xml=xml, as_json=as_json)


def export(
    table: Annotated[
        Path, typer.Option("--csv", metavar="FILE", help='A new file, yours alone; "-": standard output.')
    ],
    person: PersonOption = None,
    patient: PatientOption = None,
    study: StudyOption = None,
    node: NodeOption = None,
    kind: KindOption = None,
    outcome: OutcomeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    home: HomeOption = None,
) -> None:
    """Write events as a table (CSV, RFC 4180). That you do, and of what, is itself recorded before."""
    from archive.audit.csv_export import COLUMNS, row_of

    criteria = _criteria(person, patient, study, node, kind, outcome, since, until)
    with _new_file(table) as stream:
        place = _told(home, criteria, f"export to {table.name}")
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        count = 0
        for record in _records(place, criteria, everything=True):
            writer.writerow(row_of(record))
            count += 1
    note(f"{count} records written")


def _show(
    home: Path | None, criteria: "Criteria", limit: int | None, *, everything: bool, xml: bool, as_json: bool
) -> None:
    place = _told(home, criteria, f"the last {limit}" if limit else "")
    records = last(_records(place, criteria, everything=everything), limit)
    if as_json:
        print_json_each(map(asdict, records))
        return
    line = _xml_of(place) if xml else _line_of
    for record in records:
        say(line(record))


def _criteria(
    person: str | None,
    patient: str | None,
    study: str | None,
    node: str | None,
    kind: list[str] | None,
    outcome: str | None,
    since: str | None,
    until: str | None,
) -> "Criteria":
    from archive.audit.search import OUTCOMES, Criteria

    if outcome is not None and outcome not in OUTCOMES:
        raise UsageInvalid(f"--outcome is {outcome!r:.40}: name one of {', '.join(OUTCOMES)}")
    times = moment(since, "--since"), moment(until, "--until")
    return Criteria(person, patient, study, node, tuple(kind or ()), outcome, *times)


def _told(home: Path | None, criteria: "Criteria", more: str) -> Home:
    """Say in the trail who reads, and what for; the home whose trail it is."""
    place = home_of(home)
    ask(home, "audit.used", searched="; ".join(part for part in (criteria.in_words(), more) if part) or None)
    return place


def _records(place: Home, criteria: "Criteria", *, everything: bool) -> "Iterator[TrailRecord]":
    from archive.cli.trails import records_of

    chosen = (record for record in records_of(place) if criteria.holds(record))
    return (record for record in chosen if everything or record.kind not in _USED)


def _line_of(record: "TrailRecord") -> str:
    from archive.audit.timeline import sentence_of

    return visible(f"{record.time}  {record.sequence:>6}  {sentence_of(record)}")


def _xml_of(place: Home) -> "Callable[[TrailRecord], str]":
    from archive.audit.message import AuditSource, render
    from archive.settings import load_settings

    source = AuditSource(load_settings(place.settings).archive.ae_title, socket.gethostname())
    return lambda record: printable_xml(render(record, source))


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """A file that was not there, for its owner alone; or standard output."""
    if path == Path("-"):
        yield sys.stdout
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageInvalid(f"{path} is already there: name another file, nothing is overwritten") from None
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
        yield stream
