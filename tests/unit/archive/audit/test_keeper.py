"""Checkpoints get to a file elsewhere while time passes, and nobody waits for that file."""

import os
import threading
import time

import pytest

from archive.audit import keeper as keeping
from archive.audit.checkpoint import read_checkpoints
from archive.audit.keeper import CheckpointKeeper
from tests.simulators.audit_trails import TrailOnDisk


@pytest.fixture
def trail(tmp_path):
    return TrailOnDisk(tmp_path / "trail")


def eventually(holds):
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_is_added_to_the_file_and_the_last_one_at_the_stop(trail, tmp_path):
    file = tmp_path / "elsewhere"
    with trail.opened() as opened:
        keeper = CheckpointKeeper(opened, seconds=0.02, file=file)
        opened.append([trail.record()])
        eventually(file.exists)
        opened.append([trail.record()])
    keeper.close()
    keeper.close()
    lines = read_checkpoints(file)
    assert len(lines) == len(set(lines)) >= 2
    assert trail.verify(*lines).confirmed == trail.verify().checkpoint
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_checkpoint_is_carried_though_the_trail_is_closed_between_two_turns(trail, tmp_path):
    file = tmp_path / "elsewhere"
    with trail.opened() as opened:
        keeper = CheckpointKeeper(opened, seconds=0.2, file=file)
        opened.append([trail.record()])
    keeper._thread.join(10)
    keeper.close()
    assert trail.verify(*read_checkpoints(file)).confirmed == trail.verify().checkpoint


def test_an_idle_archive_makes_no_more(trail, tmp_path):
    trail.grow(3)
    before = trail.verify().records
    with trail.opened() as opened:
        keeper = CheckpointKeeper(opened, seconds=0.01, file=None)
        time.sleep(0.1)
    keeper.close()
    assert trail.verify().records == before


def test_a_file_that_cannot_be_written_is_tried_again_and_disturbs_nobody(trail, tmp_path):
    file = tmp_path / "mount" / "elsewhere"
    with trail.opened() as opened:
        keeper = CheckpointKeeper(opened, seconds=0.02, file=file)
        opened.append([trail.record()])
        eventually(lambda: opened.last_checkpoint is not None)
        opened.append([trail.record()])
        file.parent.mkdir()
        eventually(file.exists)
    keeper.close()
    assert trail.verify(*read_checkpoints(file)).confirmed == trail.verify().checkpoint


def test_a_file_that_hangs_holds_up_neither_the_trail_nor_the_stop(trail, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "STOP_SECONDS", 0.05)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with trail.opened() as opened:
        keeper = CheckpointKeeper(opened, seconds=0.01, file=pipe)
        opened.append([trail.record()])
        eventually(lambda: opened.last_checkpoint is not None)
        started = time.monotonic()
        for _ in range(20):
            opened.append([trail.record()])
    keeper.close()
    assert time.monotonic() - started < 5
    assert trail.verify().faults == ()
    # Somebody reads at last, and the thread ends.
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    eventually(lambda: not any(thread.name == "checkpoints" for thread in threading.enumerate()))
    os.close(reader)
