"""What a check of the trail says: the first broken link by name, and no more than is known."""

import shutil

import pytest

from tests.simulators.audit_trails import KEY, TrailOnDisk, identity


@pytest.fixture
def trail(tmp_path):
    return TrailOnDisk(tmp_path / "trail")


def another(tmp_path, count=20, **more):
    return TrailOnDisk(tmp_path / "another", **more).grow(count)


def test_without_a_checkpoint_from_elsewhere_the_verdict_is_internally_consistent(trail):
    report = trail.grow(20).verify()
    assert report.faults == () and report.verdict == "internally consistent"
    assert report.checkpoint == report.records - 1


def test_with_one_it_is_complete_up_to_there(trail):
    kept = trail.grow(5).checkpoint()
    report = trail.grow(5).verify(kept)
    assert report.faults == ()
    assert report.confirmed == 5 and report.verdict.startswith("complete up to record 5 (2026-01-01T00:05")


def test_the_newest_of_several_counts(trail):
    first = trail.grow(5).checkpoint()
    second = trail.grow(5).checkpoint()
    assert trail.verify(second, first).confirmed == 11


def test_a_tail_cut_at_a_record_is_found_by_the_checkpoint_alone(trail):
    kept = trail.grow(20).checkpoint()
    trail.segments[-1].unlink()
    assert trail.verify().verdict == "internally consistent"
    (fault,) = trail.verify(kept).faults
    assert fault.startswith("E111 the audit trail ends at record ") and "older home" in fault
    assert trail.verify(kept, being_written=True).faults == (fault,)


def test_an_older_home_that_went_on_differently_is_found(trail, tmp_path):
    trail.grow(5)
    shutil.copytree(trail.folder, tmp_path / "backup")
    kept = trail.grow(5).checkpoint()
    shutil.rmtree(trail.folder)
    (tmp_path / "backup").rename(trail.folder)
    trail.grow(30)
    assert trail.verify().faults == ()
    (fault,) = trail.verify(kept).faults
    assert "saw other records up to 11" in fault


def test_a_checkpoint_of_another_trail_or_signer_confirms_nothing(trail, tmp_path):
    trail.grow(20)
    (fault,) = trail.verify(another(tmp_path).checkpoint()).faults
    assert "is of another trail" in fault
    forger = TrailOnDisk(tmp_path / "forged", signer=identity("forger")).grow(20)
    report = trail.verify(forger.checkpoint())
    assert "not this archive's signer" in report.faults[0] and report.confirmed == 0


def test_the_first_broken_link_is_named(trail):
    trail.grow(20)
    segment = trail.segments[2]
    first = int(segment.stem)
    data = bytearray(segment.read_bytes())
    data[200] ^= 1
    segment.write_bytes(data)
    (fault,) = trail.verify().faults
    assert fault == f"E111 {segment.name}: record {first} of the audit trail is not what was written"


def test_a_missing_segment_is_named_by_its_records(trail):
    trail.grow(20)
    gone, following = trail.segments[1:3]
    gone.unlink()
    (fault,) = trail.verify().faults
    missing = f"records {int(gone.stem)} to {int(following.stem) - 1} of the audit trail are missing"
    assert fault == f"E111 {following.name}: {missing}"


def test_a_torn_last_record_has_a_code_of_its_own_and_in_an_earlier_segment_it_is_damage(trail):
    trail.grow(20)
    last = trail.segments[-1]
    last.write_bytes(last.read_bytes()[:-3])
    (fault,) = trail.verify().faults
    assert fault.startswith(f"E112 {last.name}: the audit trail ends inside record ")
    assert trail.verify(being_written=True).faults == ()
    first = trail.segments[0]
    first.write_bytes(first.read_bytes()[:-3])
    assert trail.verify(being_written=True).faults[0].startswith(f"E111 {first.name}")


def test_a_torn_end_does_not_hide_that_more_is_missing(trail):
    kept = trail.grow(20).checkpoint()
    last = trail.segments[-1]
    last.write_bytes(last.read_bytes()[:150])
    assert "its end was cut off" in trail.verify(kept, being_written=True).faults[0]


def test_whoever_has_the_audit_key_still_cannot_rewrite_a_finished_segment(trail, tmp_path):
    """The audit key alone makes a trail that is whole in itself; it lacks the signer."""
    trail.grow(20)
    for option in (identity("forger"), None):
        shutil.rmtree(tmp_path / "rewritten", ignore_errors=True)
        rewritten = TrailOnDisk(tmp_path / "rewritten", signer=option or identity())
        if option:
            rewritten.grow(20)
        else:
            from archive.audit.trail import AuditTrail

            opened = AuditTrail(rewritten.folder, KEY, segment_bytes=1200)
            for _ in range(20):
                opened.append([rewritten.record()])
            opened.close()
        rewritten.signer = identity()
        (fault,) = rewritten.verify().faults
        assert "not this archive's signer" in fault or "no checkpoint ends the segment" in fault


def test_an_empty_folder_is_no_trail(trail):
    trail.folder.mkdir()
    assert trail.verify().faults == ("E111 the audit trail is empty",)
