"""An archive reduced to its audit: fills a trail and forwards it, in a process that can be killed.

    python -m tests.simulators.audit_source FOLDER RECORDS PORT

FOLDER has ``pki``; trail and positions are made in it. On standard output: ``filled`` and ``forwarded``, each with the
peak of resident memory in kB.
"""

import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from archive.audit.events import (
    Actor,
    AuditEvent,
    InstanceStored,
    Outcome,
    QueryPerformed,
    StudyTouched,
    UserAuthenticated,
)
from archive.audit.forward.forwarding import Forwarding, Origin
from archive.audit.forward.position import StandingFile
from archive.audit.forward.target import AuditTarget
from archive.audit.log import AuditLog
from archive.audit.message import AuditSource
from archive.audit.trail import AuditTrail
from archive.logs import configure_log
from auth.node.authority import load

KEY = bytes(range(32))
SOURCE = AuditSource("STRONGROOM", "archive.example")
NAME = "rsyslog"
_BATCH = 250
_CT = "1.2.840.10008.5.1.4.1.1.2"
_FIND = "1.2.840.10008.5.1.4.1.2.2.1"


def event(number: int, mark: str) -> AuditEvent:
    """The n-th event of a day: mostly images, some questions and logins. ``mark`` tells it from all others."""
    actor = Actor(person="alice@hospital", node="CT-1", ae_title="CT1", address="10.1.2.3", association="a" * 32)
    if number % 10 == 0:
        return QueryPerformed(
            actor, reason=mark, sop_class_uid=_FIND, transfer_syntax="1.2.840.10008.1.2", identifier="AAAA"
        )
    if number % 10 == 1:
        return UserAuthenticated(actor, Outcome.MINOR_FAILURE, reason=mark, identity_type=2, claimed="älice")
    study = StudyTouched(
        f"1.2.276.0.7230010.3.1.2.{number}", f"P{number}", "Müller^Jürg", "A1", {"1.2.840.10008.5.1.4.1.1.2": 1}
    )
    return InstanceStored(actor, reason=mark, study=study, sop_instance_uid=f"1.2.276.0.7230010.3.1.4.{number}")


def main(folder: Path, records: int, port: int) -> None:
    """Fill, forward, and end when the repository has confirmed everything."""
    configure_log("warning")
    files = load(folder / "pki").files
    trail = AuditTrail(folder / "trail", KEY)
    log = AuditLog(trail)
    target = AuditTarget(NAME, "127.0.0.1", files.trust, port=port, confirm=timedelta(seconds=1))
    origin = Origin(folder / "trail", KEY, folder / "forward", SOURCE, files.server_identities[0])
    forwarding = Forwarding([target], origin, log)
    forwarding.start()
    while trail.sequence < records:
        first = trail.sequence
        log.record(*(event(number, f"[{os.getpid()}.{number}]") for number in range(first, first + _BATCH)))
    _say("filled")
    kept = StandingFile(folder / "forward", NAME)
    while (place := kept.load().place) is None or place.sequence < trail.sequence:
        time.sleep(0.2)
    _say("forwarded")
    forwarding.close()
    trail.close()


def _say(word: str) -> None:
    status = Path("/proc/self/status").read_text()
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    sys.stdout.write(f"{word} {peak}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
