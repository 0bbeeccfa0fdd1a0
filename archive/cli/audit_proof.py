"""What proves the audit trail: checking it, vouching for it, and shortening it without breaking the proof."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from archive.cli.frame import CHECK_FAILED, HomeOption, JsonOption, ask, home_of, print_json, say, visible
from archive.home import Home

if TYPE_CHECKING:
    from archive.audit.verify import TrailReport
    from storage.integrity.timestamp import StampVerifier

AgainstOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--against", metavar="FILE", help="Checkpoints that were kept elsewhere, one a line. May be repeated."
    ),
]

TimestampCaOption = Annotated[
    Path | None,
    typer.Option(
        "--timestamp-ca",
        metavar="FILE",
        help="PEM: whose time stamps count. Default: trail.timestamp_ca.",
    ),
]


def verify(
    against: AgainstOption = None,
    timestamp_ca: TimestampCaOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every byte of the trail: each record authentic, in its place, none missing in between.

    Whether its end is missing, or an older home was put back, only a checkpoint from elsewhere can tell: --against.
    Such a line may carry a time stamp (RFC 3161), which is checked too.
    Exit 1: a fault was found; the first one named is the first broken link.
    """
    place = home_of(home)
    from archive.control.lock import held

    report = check(place, against or (), timestamp_ca=timestamp_ca, being_written=held(place.lock))
    if as_json:
        print_json({**asdict(report), "verdict": report.verdict})
    else:
        say(*(visible(fault) for fault in report.faults))
        say(*(visible(removed) for removed in report.removed))
        say(f"{report.records} records, {report.verdict}")
        if report.stamped:
            say(visible(report.stamped))
    if report.faults:
        raise typer.Exit(CHECK_FAILED)


def checkpoint(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Add it to this file instead of printing it.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Sign how far the trail has come. Keep the line where nobody who can write the home can write."""
    made = ask(home, "audit.checkpoint")
    if out is None:
        say(made["line"])
        return
    from archive.audit.trail_files import add_line

    add_line(out, made["line"])
    say(f"records 1 to {made['sequence']} are vouched for in {out}")


def retain(
    before: Annotated[str, typer.Option(metavar="DATE", help="Like 2026-01-31; records from then on stay.")],
    why: Annotated[str, typer.Option(metavar="TEXT", help="By what right; kept for good, and audited.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the oldest records for good. What is left can still be verified, and says what went.

    Whole segments go, those in which every record is older. Nothing goes that an audit repository is still to get.
    """
    removed = ask(home, "audit.retain", before=before, why=why)
    if as_json:
        print_json(removed)
    elif removed is None:
        say("nothing was removed: no whole segment is older")
    else:
        say(f"records {removed['first']} to {removed['last']} were removed")


def check(
    home: Home, against: Sequence[Path], *, being_written: bool, timestamp_ca: Path | None = None
) -> "TrailReport":
    """Check the trail of a home.

    Raises:
        TrailDamaged: a file of ``against`` holds no checkpoint.
        OSError: it cannot be read.
        SettingsInvalid: the certificates that time stamps are trusted by cannot be read.
    """
    from archive.audit.checkpoint import read_checkpoints
    from archive.audit.statement import StatementVerifier
    from archive.audit.timestamp import check_stamps, split_line
    from archive.audit.verify import verify_trail
    from archive.keys import load_keyring
    from archive.settings import load_settings
    from archive.signing_keys import own_signers

    settings = load_settings(home.settings)
    lines = [split_line(line) for path in against for line in read_checkpoints(path)]
    report = verify_trail(
        home.trail,
        load_keyring(home, settings).audit_key,
        verifier=StatementVerifier(own_signers(home, settings)),
        against=[line for line, _ in lines],
        being_written=being_written,
    )
    if all(token is None for _, token in lines):
        return report
    if timestamp_ca is None and settings.trail.timestamp_ca:
        timestamp_ca = home.inside(Path(settings.trail.timestamp_ca))
    return report.with_stamps(check_stamps(lines, _trusting(timestamp_ca)))


def _trusting(timestamp_ca: Path | None) -> "StampVerifier | None":
    from archive.errors import SettingsInvalid
    from storage.integrity.timestamp import StampVerifier

    if timestamp_ca is None:
        return None
    try:
        return StampVerifier.trusting(timestamp_ca)
    except (OSError, ValueError):
        raise SettingsInvalid(f"{timestamp_ca} cannot be read, or holds no certificate (PEM)") from None
