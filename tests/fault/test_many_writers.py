"""64 writers into one study, killed again and again: nothing acknowledged is lost, doubled or miscounted."""

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest

from storage.crypto.keyring import Keyring
from storage.integrity import fsck
from tests.simulators.many_writers import WRITERS, instance_of


class Place(NamedTuple):
    """Where a store's parts lie."""

    blobs: Path
    ledger: Path
    index: Path


def acknowledged(folder: Path) -> int:
    """How many rounds were acknowledged so far."""
    told = folder / "acknowledged"
    return len(told.read_text().splitlines()) if told.exists() else 0


def started(folder: Path, rounds: int) -> subprocess.Popen[bytes]:
    """The writers, writing, until they have done so many rounds in all."""
    (folder / "ready").unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.simulators.many_writers", str(folder), str(rounds)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    while process.poll() is None and not (folder / "ready").exists():
        time.sleep(0.02)
    return process


def killed(folder: Path, after: tuple[float, float]) -> None:
    """Have the writers write without end, and kill them after a random number of seconds."""
    process = started(folder, sys.maxsize)
    time.sleep(random.uniform(*after))
    assert process.poll() is None, "the writers ended by themselves"
    process.kill()
    process.wait()


def finished(folder: Path) -> int:
    """Have the round that was killed done again, and one more; how many rounds there are."""
    rounds = acknowledged(folder) + 2
    assert started(folder, rounds).wait() == 0
    return rounds


def check(folder: Path, rounds: int) -> None:
    """Every object of every round once, in the rows, in the counts, and on disk."""
    expected = {instance_of(number, writer) for number in range(rounds) for writer in range(WRITERS)}
    with closing(sqlite3.connect(folder / "index.sqlite")) as connection:
        kept = [uid for (uid,) in connection.execute("SELECT sop_instance_uid FROM instance")]
        series = connection.execute("SELECT series_uid, instance_count FROM series").fetchall()
        counted = connection.execute(
            "SELECT series_uid, count(*) FROM instance JOIN series ON series.id = series_fk GROUP BY series.id"
        ).fetchall()
        [study] = connection.execute("SELECT series_count, instance_count FROM study").fetchall()
    assert len(kept) == len(set(kept)) and set(kept) == expected
    assert sorted(series) == sorted(counted)
    assert study == (len(series), len(expected))
    place = Place(folder / "blobs", folder / "ledger", folder / "index.sqlite")
    # Each start made a signer of its own, so signatures are not looked at here.
    report = fsck.check(place, Keyring.load(folder / "keyring.json"), frozenset({sha256(b"").digest()}))
    assert report.faults == () and report.objects == len(expected)


def test_many_writers_killed_at_random_lose_double_and_miscount_nothing(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    for _ in range(2):
        killed(folder, (0.1, 2.0))
    check(folder, finished(folder))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_writers_of_a_thousand_rounds(tmp_path):
    folder, kills, began = tmp_path / "store", 0, time.monotonic()
    folder.mkdir()
    while acknowledged(folder) < 1000:
        killed(folder, (2.0, 25.0))
        kills += 1
    rounds = finished(folder)
    check(folder, rounds)
    print(f"{rounds * WRITERS} stores, {kills} kills, {time.monotonic() - began:.0f} s")
