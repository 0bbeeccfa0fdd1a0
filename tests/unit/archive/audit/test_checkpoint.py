"""Checkpoints stand where the trail is vouched for: at the end of a segment, after a number of records, at a clean
stop, and whenever somebody asks."""

import os

import pytest

from archive.audit.checkpoint import Checkpoint, checkpoint_in, read_checkpoints
from archive.audit.events import Actor
from archive.audit.trail import AuditTrail, read_trail
from archive.audit.trail_walk import TrailWalk
from archive.errors import AuditUnavailable, TrailDamaged
from tests.simulators.audit_trails import KEY, TrailOnDisk


@pytest.fixture
def trail(tmp_path):
    return TrailOnDisk(tmp_path / "trail")


def checkpoints(trail):
    return [record.sequence for record in read_trail(trail.folder, KEY) if checkpoint_in(record)]


def test_each_finished_segment_ends_with_one(trail):
    trail.grow(20)
    last = {step.segment: step.record for step in TrailWalk(trail.folder, KEY)}
    assert len(last) >= 3
    assert all(checkpoint_in(record) for record in last.values())


def test_a_clean_stop_makes_one_and_an_idle_start_and_stop_none_more(trail):
    trail.grow(3)
    assert checkpoints(trail) == [4]
    trail.grow(0)
    assert checkpoints(trail) == [4]


def test_they_stand_at_most_so_many_records_apart(trail):
    trail.grow(25, segment_bytes=1 << 20, checkpoint_records=10)
    assert checkpoints(trail) == [11, 22, 28]


def test_one_that_is_asked_for_names_who_asked_and_vouches_for_all_before_it(trail):
    with trail.opened() as opened:
        opened.append([trail.record(), trail.record()])
        made = opened.checkpoint(Actor(os_user="root"))
        assert opened.checkpoint() == made, "nothing came after it"
        opened.append([trail.record()])
        assert opened.checkpoint().sequence == 4
    assert (made.sequence, made.ledger) == (2, 2)
    third = list(read_trail(trail.folder, KEY))[2]
    assert third.facts["actor"] == {"os_user": "root"} and third.facts["checkpoint"] == made.line
    assert Checkpoint.verified(made.line, trail.signer.verifier) == made


def test_a_trail_without_a_signer_has_none(trail):
    opened = AuditTrail(trail.folder, KEY)
    opened.append([trail.record()])
    with pytest.raises(AuditUnavailable, match="no signer"):
        opened.checkpoint()
    opened.close()
    assert checkpoints(trail) == []


def test_a_checkpoint_that_cannot_be_written_closes_the_trail_to_writing(trail, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with trail.opened() as opened:
        opened.append([trail.record()])
        monkeypatch.setattr(os, "fdatasync", full)
        with pytest.raises(AuditUnavailable):
            opened.checkpoint()
        monkeypatch.undo()
        with pytest.raises(AuditUnavailable):
            opened.append([trail.record()])


def test_a_stop_on_a_full_disk_loses_the_last_checkpoint_and_nothing_that_was_promised(trail, monkeypatch):
    with trail.opened() as opened:
        opened.append([trail.record()])
        with monkeypatch.context() as failing:
            failing.setattr(os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            opened.close()
    assert [record.sequence for record in read_trail(trail.folder, KEY)] == [1]
    assert trail.verify().faults == ()


def test_a_file_of_checkpoints_is_read_line_by_line(tmp_path):
    file = tmp_path / "kept"
    file.write_text("one\n\ntwo\r\n")
    assert read_checkpoints(file) == ["one", "two"]
    file.write_text("\n")
    with pytest.raises(TrailDamaged, match="no checkpoint"):
        read_checkpoints(file)
