"""The audit repository is away for a day, and the archive dies while it waits and while it catches up."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from archive.audit.forward.position import StandingFile
from archive.audit.trail import read_trail
from tests.simulators.audit_repositories import Rsyslog, until
from tests.simulators.audit_source import KEY, NAME
from tests.simulators.certificates import authority_in
from tests.simulators.running_archive import free_port

_MARK = re.compile(rb"\[[0-9]+\.[0-9]+\]")


class Source:
    """`tests.simulators.audit_source` in a process of its own."""

    def __init__(self, folder: Path, records: int, port: int) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "tests.simulators.audit_source", str(folder), str(records), str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def recorded(self) -> int:
        """About how many records there are: the name of the newest segment."""
        return max((int(path.stem) for path in (self.folder / "trail").glob("*.trail")), default=0)

    def confirmed(self) -> int:
        place = StandingFile(self.folder / "forward", NAME).load().place
        return place.sequence if place else 0

    def said(self, word: str) -> int:
        """Wait until it says so; its peak of resident memory then, kB."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return int(line.split()[1])
        raise AssertionError(f"it ended before it had {word}")

    def killed_when(self, holds: Callable[["Source"], bool]) -> None:
        """SIGKILL some moments after, in the middle of whatever it does then."""
        until(lambda: holds(self), 3600)
        time.sleep(0.3)
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self._gone()

    def ends(self) -> None:
        assert self._gone() == 0

    def _gone(self) -> int:
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def outage(tmp_path: Path, records: int, fill_kills: list[float], drain_kills: list[float]) -> dict[str, float]:
    """Fill and drain with a kill -9 at each of these fractions, and check what arrived. The figures."""
    authority = authority_in(tmp_path / "pki")
    rsyslog = Rsyslog(tmp_path / "rsyslog", authority, free_port(), "localhost")
    # 1 The repository is away.
    for fraction in fill_kills:
        Source(tmp_path, records, rsyslog.port).killed_when(
            lambda source, at=fraction: source.recorded() >= at * records
        )
    # 2 It is back as soon as everything is recorded.
    source = Source(tmp_path, records, rsyslog.port)
    filled = source.said("filled")
    assert source.confirmed() == 0
    source.kill()
    rsyslog.start()
    try:
        began = time.monotonic()
        for fraction in drain_kills:
            source = Source(tmp_path, records, rsyslog.port)
            source.killed_when(lambda source, at=fraction: source.confirmed() >= at * records)
        source = Source(tmp_path, records, rsyslog.port)
        drained = source.said("forwarded")
        seconds = time.monotonic() - began
        source.ends()
    finally:
        rsyslog.stop()
    # 3 Everything recorded has arrived, in order, once or more.
    reasons = (record.facts.get("reason", "") for record in read_trail(tmp_path / "trail", KEY))
    marks = [reason.encode() for reason in reasons if _MARK.fullmatch(reason.encode())]
    again = in_order(tmp_path / "rsyslog" / "audit.log", marks)
    return {
        "records": len(marks),
        "per second": len(marks) / seconds,
        "sent again": again,
        "MB filled": filled / 1024,
        "MB drained": drained / 1024,
    }


def in_order(path: Path, marks: list[bytes]) -> int:
    """Check that the marks arrived in their order, whatever was repeated; how many were."""
    place = {mark: number for number, mark in enumerate(marks)}
    reached = again = 0
    with path.open("rb") as file:
        for line in file:
            if (found := _MARK.search(line)) is None:
                continue
            number = place[found[0]]
            assert number <= reached, f"{found[0]!r} came before {marks[reached]!r}"
            again += number < reached
            reached = max(reached, number + 1)
    assert reached == len(marks), f"{len(marks) - reached} lost"
    return again


def test_killed_while_it_fills_and_while_it_drains_nothing_is_lost(tmp_path):
    figures = outage(tmp_path, 2_000, [0.0001], [0.0001])
    assert figures["records"] >= 2_000


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_eight_hours_of_fifty_a_second_are_caught_up_with_after_five_kills(tmp_path):
    figures = outage(tmp_path, 1_440_000, [0.3, 0.6], [0.2, 0.5, 0.8])
    print(figures)
    assert figures["per second"] >= 2_000
    assert figures["MB drained"] < 200 and figures["MB filled"] < 200
    assert figures["sent again"] < 50_000
