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


def written(folder: Path, rounds: int, kill_after: tuple[float, float], most: int) -> int:
    """Have the rounds done, the process killed at random moments, ``most`` times at most; how often it was."""
    folder.mkdir()
    kills = 0
    command = [sys.executable, "-m", "tests.simulators.many_writers", str(folder), str(rounds)]
    while True:
        (folder / "ready").unlink(missing_ok=True)
        process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        while process.poll() is None and not (folder / "ready").exists():
            time.sleep(0.02)
        try:
            assert process.wait(random.uniform(*kill_after) if kills < most else None) == 0
            return kills
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1


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
    kills = written(tmp_path / "store", 6, (0.1, 2.0), 2)
    check(tmp_path / "store", 6)
    assert kills


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_writers_of_a_thousand_rounds(tmp_path):
    began = time.monotonic()
    kills = written(tmp_path / "store", 1000, (2.0, 25.0), 1000)
    check(tmp_path / "store", 1000)
    print(f"{1000 * WRITERS} stores, {kills} kills, {time.monotonic() - began:.0f} s")
    assert kills > 3
