"""Old records go lawfully: whole segments, signed for, and what is left can still be verified."""

import shutil
from datetime import timedelta

import pytest

from archive.audit.removal import REMOVALS_NAME, Removal, read_removals
from archive.audit.trail import read_trail
from archive.audit.trail_format import Position
from archive.errors import AuditUnavailable, TrailDamaged
from tests.simulators.audit_trails import BEGINNING, KEY, TrailOnDisk, identity

LONG_AGO = BEGINNING - timedelta(days=1)
LATER = BEGINNING + timedelta(days=400)


@pytest.fixture
def trail(tmp_path):
    return TrailOnDisk(tmp_path / "trail").grow(40)


def remove(trail, before=LATER, delivered=None):
    old = trail.retention.older_than(before, delivered)
    return old and trail.retention.remove(old, before=before, who="root", why="kept for six years")


def position_of(removal):
    return Position(removal.trail_id, removal.sequence, removal.chain, removal.ledger)


def sequences(trail):
    return [record.sequence for record in read_trail(trail.folder, KEY)]


def test_all_but_the_last_segment_go_and_the_rest_is_still_verified(trail):
    kept = trail.checkpoint()
    last = trail.segments[-1]
    removal = remove(trail)
    assert trail.segments == [last] and sequences(trail)[0] == int(last.stem) == removal.sequence + 1
    report = trail.verify(kept)
    assert report.faults == () and report.confirmed
    assert report.removed == (
        f"records 1 to {removal.sequence}, older than {LATER.isoformat()}, "
        f"were removed by root at {removal.time}: kept for six years",
    )


def test_a_segment_with_one_record_that_is_not_older_stays(trail):
    second = trail.segments[1]
    for minutes, gone in ((0, None), (int(second.stem) - 3, None), (int(second.stem), 1)):
        before = BEGINNING + timedelta(minutes=minutes)
        old = trail.retention.older_than(before)
        assert (old and old.last.sequence) == (gone and int(second.stem) - 1)


def test_nothing_goes_that_somebody_is_still_to_get(trail):
    third = int(trail.segments[2].stem)
    assert trail.retention.older_than(LATER, delivered=0) is None
    assert trail.retention.older_than(LATER, delivered=third - 2).last.sequence == int(trail.segments[1].stem) - 1
    assert trail.retention.older_than(LATER, delivered=third - 1).last.sequence == third - 1


def test_the_trail_goes_on_and_is_shortened_again(trail):
    first = remove(trail)
    trail.grow(40)
    second = remove(trail)
    assert (first.first, second.first) == (1, first.sequence + 1)
    report = trail.verify()
    assert report.faults == () and len(report.removed) == 2


def test_nothing_old_enough_leaves_everything_as_it_is(trail):
    before = {path.name: path.read_bytes() for path in trail.folder.iterdir()}
    assert remove(trail, LONG_AGO) is None
    assert {path.name: path.read_bytes() for path in trail.folder.iterdir()} == before


def test_records_that_were_tampered_with_are_evidence_and_stay(trail):
    segment = trail.segments[1]
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    with pytest.raises(TrailDamaged):
        trail.retention.older_than(LATER)


def test_segments_that_somebody_else_removed_are_missed(trail):
    trail.segments[0].unlink()
    (fault,) = trail.verify().faults
    assert "records 1 to" in fault and "are missing" in fault
    with pytest.raises(TrailDamaged):
        list(read_trail(trail.folder, KEY))


def test_more_may_not_go_than_was_signed_for(trail):
    trail.grow(40)
    remove(trail, BEGINNING + timedelta(minutes=30))
    assert trail.verify().faults == ()
    trail.segments[0].unlink()
    assert "are missing" in trail.verify().faults[0]


@pytest.mark.parametrize("change", ["dropped", "first line dropped", "last line dropped", "forged", "edited", "torn"])
def test_a_statement_that_was_changed_is_found(trail, change):
    remove(trail)
    trail.grow(40)
    remove(trail)
    file = trail.folder / REMOVALS_NAME
    lines = file.read_text().splitlines(keepends=True)
    match change:
        case "dropped":
            file.unlink()
        case "first line dropped":
            file.write_text(lines[1])
        case "last line dropped":
            file.write_text(lines[0])
        case "forged":
            removal = read_removals(trail.folder)[1]
            forged = Removal.signed(
                identity("forger").signer, removal.first, position_of(removal), time="t", before="t", who="w", why="y"
            )
            file.write_text(lines[0] + forged.line + "\n")
        case "edited":
            file.write_text("".join(lines).replace("six years", "two years"))
        case "torn":
            file.write_text("".join(lines)[:-9])
    assert trail.verify().faults


def test_a_removal_that_a_crash_interrupts_is_no_damage_and_the_next_one_finishes_it(trail, monkeypatch):
    retention = trail.retention
    old = retention.older_than(LATER)
    with monkeypatch.context() as crash:
        crash.setattr(type(retention), "_unlink", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(AuditUnavailable):
            retention.remove(old, before=LATER, who="root", why="kept for six years")
    assert trail.verify().faults == ()
    trail.segments[0].unlink()
    assert trail.verify().faults == (), "half of it done"
    list(read_trail(trail.folder, KEY))
    trail.grow(40)
    remove(trail)
    assert len(trail.segments) == 1 and trail.verify().faults == ()


def test_a_trail_that_ends_before_what_was_once_removed_is_an_older_one(trail, tmp_path):
    shutil.copytree(trail.folder, tmp_path / "backup")
    trail.grow(60)
    remove(trail)
    shutil.copy(trail.folder / REMOVALS_NAME, tmp_path / "backup" / REMOVALS_NAME)
    shutil.rmtree(trail.folder)
    (tmp_path / "backup").rename(trail.folder)
    assert "was once removed" in trail.verify().faults[0]
