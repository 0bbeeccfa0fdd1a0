"""What every `PresentedTokens` must do, run on each implementation; and what the one on a disk promises beyond it."""

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from archive.records.presented import KEPT_BEYOND_SECONDS, PRUNED_EACH_SECONDS, PresentedRecords
from auth.ports import Presentation
from storage.errors import IndexFault
from storage.index.engine import IndexEngine
from tests.simulators.clock import Clock
from tests.simulators.presented import PresentedInMemory

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
SOON = NOON + timedelta(minutes=5)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def clock():
    return Clock(NOON)


@pytest.fixture
def database(tmp_path):
    engine = IndexEngine.open(tmp_path / "records", prepare=None)
    yield engine
    engine.close()


@pytest.fixture(params=["memory", "records"])
def presented(request, clock):
    if request.param == "memory":
        return PresentedInMemory(clock=clock)
    return PresentedRecords(request.getfixturevalue("database"), clock=clock)


def present(presented, token="t1", *, issuer="idp", node="a" * 64, until=SOON, once=False):
    return presented.present(issuer, token, node=node, until=until, once=once)


def rows(path):
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT issuer, token, node, until FROM record_presented").fetchall()
    connection.close()
    return found


def race(calls):
    """What each of the calls returned, all begun at once."""
    ready = threading.Barrier(len(calls))
    results = []

    def run(call):
        ready.wait()
        results.append(call())

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_token_is_bound_to_the_node_that_presents_it_first(presented):
    assert present(presented, node="a") is Presentation.FIRST
    assert present(presented, node="a") is Presentation.AGAIN
    assert present(presented, node="b") is Presentation.ELSEWHERE
    # Being refused elsewhere takes nothing from the first.
    assert present(presented, node="a") is Presentation.AGAIN


def test_a_token_for_one_presentation_is_spent_by_it(presented):
    assert present(presented, once=True) is Presentation.FIRST
    assert present(presented, once=True) is Presentation.SPENT
    assert present(presented, once=True, node="plain:OLD") is Presentation.ELSEWHERE


def test_a_token_presented_before_it_was_demanded_once_is_spent(presented):
    assert present(presented, once=False) is Presentation.FIRST
    assert present(presented, once=True) is Presentation.SPENT


def test_ids_are_unique_within_an_issuer_only(presented):
    assert present(presented, "t1", issuer="idp") is Presentation.FIRST
    assert present(presented, "t1", issuer="other") is Presentation.FIRST
    assert present(presented, "t2", issuer="idp") is Presentation.FIRST
    assert present(presented, "T1", issuer="idp") is Presentation.FIRST


@pytest.mark.parametrize("odd", ["", "\0", "t1 ", "'; DROP TABLE record_presented; --", "\ud800", "x" * 100_000])
def test_any_text_is_an_id_and_only_itself(presented, odd):
    assert present(presented, odd) is Presentation.FIRST
    assert present(presented, odd) is Presentation.AGAIN
    assert present(presented, "t1") is Presentation.FIRST


def test_a_token_is_remembered_past_its_end_for_clocks_that_differ(presented, clock):
    present(presented, node="a")
    clock.now = SOON + timedelta(seconds=KEPT_BEYOND_SECONDS - 1)
    assert present(presented, node="b") is Presentation.ELSEWHERE


def test_a_token_that_ended_long_ago_is_forgotten_whether_or_not_it_was_swept_away(presented, clock):
    present(presented, node="a", until=NOON + timedelta(seconds=PRUNED_EACH_SECONDS / 2))
    clock.now = NOON + timedelta(seconds=KEPT_BEYOND_SECONDS + 1)
    present(presented, "another")
    clock.now += timedelta(seconds=PRUNED_EACH_SECONDS / 2)
    assert present(presented, node="b") is Presentation.FIRST


def test_a_later_end_counts_and_an_earlier_one_does_not(presented, clock):
    late = SOON + timedelta(days=1)
    present(presented, node="a", until=SOON)
    present(presented, node="a", until=late)
    present(presented, node="a", until=SOON)
    clock.now = late
    assert present(presented, node="b", until=late) is Presentation.ELSEWHERE


def test_an_end_is_a_moment_in_whatever_zone_it_is_told(presented, clock):
    present(presented, node="a", until=SOON.astimezone(timezone(timedelta(hours=-8))))
    clock.now = SOON + timedelta(minutes=1)
    assert present(presented, node="b") is Presentation.ELSEWHERE


def test_an_end_without_a_zone_is_a_defect_of_the_caller(presented):
    with pytest.raises(ValueError, match="aware"):
        present(presented, until=SOON.replace(tzinfo=None))


@pytest.mark.parametrize("nodes", [["a"] * 16, [f"node {number}" for number in range(16)]], ids=["one node", "sixteen"])
def test_of_sixteen_threads_with_one_token_exactly_one_is_the_first(presented, nodes):
    told = race([lambda node=node: present(presented, node=node, once=True) for node in nodes])
    assert told.count(Presentation.FIRST) == 1
    assert len(told) == 16


# What follows is about the disk.


def test_only_a_digest_of_the_token_is_kept(database, tmp_path, clock):
    present(PresentedRecords(database, clock=clock), "_secret-id-of-alice", node="plain:OLD", until=SOON)
    digest = hashlib.sha256(b"_secret-id-of-alice").digest()
    assert rows(tmp_path / "records") == [("idp", digest, "plain:OLD", int(SOON.timestamp()))]
    for file in tmp_path.iterdir():
        assert b"_secret-id-of-alice" not in file.read_bytes()


def test_what_was_presented_survives_a_restart(tmp_path, clock):
    engine = IndexEngine.open(tmp_path / "records", prepare=None)
    present(PresentedRecords(engine, clock=clock), node="a")
    engine.close()
    engine = IndexEngine.open(tmp_path / "records", prepare=None)
    try:
        assert present(PresentedRecords(engine, clock=clock), node="b") is Presentation.ELSEWHERE
    finally:
        engine.close()


def test_a_flood_of_short_lived_tokens_is_swept_away(database, tmp_path, clock):
    presented = PresentedRecords(database, clock=clock)
    for hour in range(10):
        for number in range(20):
            present(presented, f"{hour}/{number}", until=clock.now + timedelta(minutes=5))
        clock.now += timedelta(hours=1)
    assert len(rows(tmp_path / "records")) <= 3 * 20


def test_nothing_is_written_where_a_token_is_presented_again(database, tmp_path, clock):
    presented = PresentedRecords(database, clock=clock)
    present(presented)
    log = tmp_path / "records-wal"
    before = log.stat().st_size
    assert present(presented) is Presentation.AGAIN
    assert log.stat().st_size == before


def test_a_database_that_fails_is_no_first_presentation(tmp_path):
    engine = IndexEngine.open(tmp_path / "records", prepare=None)
    presented = PresentedRecords(engine)
    engine.close()
    with pytest.raises(IndexFault):
        present(presented)


PRESENT = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from archive.records.presented import PresentedRecords
from storage.index.engine import IndexEngine

path, node, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
presented = PresentedRecords(IndexEngine.open(path, prepare=None))
until = datetime.now(UTC) + timedelta(hours=1)
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    print(presented.present("idp", f"t{number}", node=node, until=until, once=True).value, flush=True)
sys.stdin.readline()
"""
"""A process that presents tokens, says what came of each, and then waits with everything open."""


def process(path, node, count, *, under=()):
    arguments = [*under, sys.executable, "-c", PRESENT, str(path), node, str(count)]
    return subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(child):
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()


def go(child):
    child.stdin.write("\n")
    child.stdin.flush()


def test_of_three_processes_with_the_same_tokens_exactly_one_is_the_first_with_each(tmp_path):
    IndexEngine.open(tmp_path / "records", prepare=None).close()
    children = [process(tmp_path / "records", f"node {number}", 40) for number in range(3)]
    try:
        for child in children:
            assert child.stdout.readline() == "ready\n"
        for child in children:
            go(child)
        told = [[child.stdout.readline().strip() for _ in range(40)] for child in children]
    finally:
        for child in children:
            end(child)
    for token in zip(*told, strict=True):
        assert sorted(token) == ["elsewhere", "elsewhere", "first"]


def test_a_process_killed_right_after_its_answer_has_spent_the_token(tmp_path):
    path = tmp_path / "records"
    for _ in range(3):
        child = process(path, "a", 1)
        try:
            assert child.stdout.readline() == "ready\n"
            go(child)
            told = child.stdout.readline().strip()
        finally:
            # Nothing of it is closed, folded or flushed.
            end(child)
        engine = IndexEngine.open(path, prepare=None)
        try:
            kept = PresentedRecords(engine)
            assert present(kept, "t0", node="b", until=datetime.now(UTC)) is Presentation.ELSEWHERE
        finally:
            engine.close()
            path.unlink()
        assert told == "first"


def test_the_presentation_is_synced_before_the_answer(tmp_path):
    """Power loss: a kill alone tests no sync, so the system calls themselves are read."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace to see system calls: Debian package strace, which scripts/test installs")
    calls = tmp_path / "calls"
    under = [strace, "-f", "-y", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o", str(calls)]
    child = process(tmp_path / "records", "a", 1, under=under)
    told, _ = child.communicate("\n\n", timeout=60)
    assert told == "ready\nfirst\n"
    lines = calls.read_text().splitlines()
    ready, first = (next(at for at, line in enumerate(lines) if f'"{word}' in line) for word in ("ready", "first"))
    log = [line.split("(")[0].split()[-1] for line in lines[ready:first] if "/records-wal>" in line]
    assert "pwrite64" in log
    assert log[-1] in ("fsync", "fdatasync")
