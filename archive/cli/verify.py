"""``strongroom verify``: whether everything that is kept is what was written. Repairs nothing, writes nothing."""

from contextlib import ExitStack
from typing import Annotated

import typer

from archive.cli.audit_proof import AgainstOption, check
from archive.cli.frame import CHECK_FAILED, HomeOption, JsonOption, home_of, print_json, say, visible


def verify(
    full: Annotated[
        bool, typer.Option("--full", help="Every byte, every signature, every row; else existence, sizes and chains.")
    ] = False,
    against: AgainstOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that all is as it was written. Objects, ledger, index and audit trail, also beside a running server.

    Whether the whole was put back to an earlier day, only a checkpoint from elsewhere can tell: --against.

    Exit 1: a fault was found. Nothing is repaired.
    """
    place = home_of(home)
    from archive.control.lock import HomeLock
    from archive.errors import HomeInUse
    from archive.keys import load_keyring
    from archive.settings import load_settings
    from archive.signing_keys import fingerprints, own_signers
    from storage.integrity import fsck

    settings = load_settings(place.settings)
    keyring = load_keyring(place, settings)
    signers = fingerprints(own_signers(place, settings))
    with ExitStack() as held:
        try:
            # Where nobody writes, nobody shall begin to while everything is compared with everything.
            held.enter_context(HomeLock(place.lock))
            being_written = False
        except HomeInUse:
            being_written = True
        store = fsck.check(place, keyring, signers, full=full, being_written=being_written)
        trail = check(place, against or (), being_written=being_written)
    faults = [*store.faults, *(f"audit trail: {fault}" for fault in trail.faults)]
    # The trail is told after the ledger and before the index. A damaged one has not been read to its end.
    told = store.index_position if being_written else store.ledger_position
    if trail.ledger_position < told and not trail.faults:
        faults.append(f"audit trail: it ends before record {told} of the ledger, which was told to it")
    if trail.ledger_position > store.ledger_position and not being_written:
        faults.append(f"ledger: it ends before record {trail.ledger_position}, which the audit trail speaks of")
    if as_json:
        print_json({"good": not faults, "objects": store.objects, "records": trail.records, "faults": faults})
    else:
        say(*(visible(fault) for fault in faults))
        kept = f"internally consistent, the trail {trail.verdict}" if trail.confirmed else trail.verdict
        verdict = f"{len(faults)} faults" if faults else kept
        say(f"{store.objects} objects, {trail.records} audit records: {verdict}")
    if faults:
        raise typer.Exit(CHECK_FAILED)
