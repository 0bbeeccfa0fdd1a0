"""Reading the trail beside its writer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive.audit.forward.tail import Place, TrailTail, newest_sequence
from archive.audit.trail import AuditTrail, read_trail
from archive.errors import TrailDamaged

KEY = bytes(range(32))


def a_record(number, size=0):
    return {"time": "2026-01-01T00:00:00.000+00:00", "kind": "security-alert", "facts": {"n": number, "x": "y" * size}}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "trail"


def everything(tail):
    found = []
    while batch := list(tail.read()):
        found += batch
    return found


def numbers(tail):
    return [record.facts["n"] for record, _ in everything(tail)]


def test_what_is_appended_is_read_once_and_in_order_across_segments(folder):
    trail = AuditTrail(folder, KEY, segment_bytes=2_000)
    tail = TrailTail(folder, KEY)
    read = []
    for number in range(100):
        trail.append([a_record(number)])
        if number % 7 == 0:
            read += numbers(tail)
    trail.close()
    assert read + numbers(tail) == list(range(100))
    assert len(list(folder.glob("*.trail"))) > 3
    assert newest_sequence(folder) == 100


def test_an_empty_or_absent_trail_has_nothing_yet(folder):
    tail = TrailTail(folder, KEY)
    assert everything(tail) == [] and newest_sequence(folder) == 0
    trail = AuditTrail(folder, KEY)
    assert everything(tail) == [] and newest_sequence(folder) == 0
    trail.append([a_record(0)])
    assert numbers(tail) == [0]
    trail.close()


@given(cut=st.integers(1, 12), size=st.sampled_from([0, 300, 400_000]))
@settings(max_examples=12, deadline=None)
def test_from_any_place_kept_as_json_it_goes_on_with_the_next_record(tmp_path_factory, cut, size):
    folder = tmp_path_factory.mktemp("trail")
    trail = AuditTrail(folder, KEY, segment_bytes=1_000)
    trail.append([a_record(number, size) for number in range(5)])
    trail.append([a_record(number) for number in range(5, 12)])
    trail.close()
    place = everything(TrailTail(folder, KEY))[cut - 1][1]
    assert Place.from_json(place.as_json()) == place
    assert numbers(TrailTail(folder, KEY, Place.from_json(place.as_json()))) == list(range(cut, 12))


def test_a_record_that_is_being_written_is_left_for_the_next_look(folder):
    trail = AuditTrail(folder, KEY)
    trail.append([a_record(0), a_record(1)])
    trail.close()
    (segment,) = folder.glob("*.trail")
    whole = segment.read_bytes()
    for length in range(len(whole) - 100, len(whole)):
        segment.write_bytes(whole[:length])
        tail = TrailTail(folder, KEY)
        assert numbers(tail) == [0] and newest_sequence(folder) == 1
    segment.write_bytes(whole)
    assert numbers(tail) == [1]


def test_a_place_that_the_trail_does_not_have_becomes_the_start_of_its_segment(folder, tmp_path):
    """An older copy of the home was put back: what it records from now on must not be passed over."""
    trail = AuditTrail(folder, KEY)
    trail.append([a_record(number) for number in range(3)])
    older = next(folder.glob("*.trail")).read_bytes()
    trail.append([a_record(number) for number in range(3, 6)])
    trail.close()
    place = everything(TrailTail(folder, KEY))[4][1]
    next(folder.glob("*.trail")).write_bytes(older)
    trail = AuditTrail(folder, KEY)
    trail.append([a_record(number) for number in range(30, 36)])
    trail.close()
    assert numbers(TrailTail(folder, KEY, place)) == [0, 1, 2, 30, 31, 32, 33, 34, 35]


def test_records_that_were_removed_lawfully_are_passed_over(folder):
    trail = AuditTrail(folder, KEY, segment_bytes=1_000)
    for number in range(40):
        trail.append([a_record(number)])
    trail.close()
    tail = TrailTail(folder, KEY)
    place = next(iter(tail.read()))[1]
    first, second, *_ = sorted(folder.glob("*.trail"))
    first.unlink()
    oldest = int(second.stem)
    for reader in (tail, TrailTail(folder, KEY, place)):
        assert [record.sequence for record, _ in everything(reader)] == list(range(oldest, 41))


def test_a_damaged_record_ends_the_reading_and_what_is_before_it_is_read(folder):
    trail = AuditTrail(folder, KEY)
    trail.append([a_record(number) for number in range(4)])
    trail.close()
    (segment,) = folder.glob("*.trail")
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    read = []
    with pytest.raises(TrailDamaged):
        for record, _ in TrailTail(folder, KEY).read():
            read.append(record.facts["n"])
    assert read == [0, 1, 2]


def test_it_reads_what_a_reading_of_the_whole_trail_does(folder):
    trail = AuditTrail(folder, KEY, segment_bytes=5_000)
    trail.append([a_record(number, number * 13 % 700) for number in range(300)])
    trail.close()
    assert [record for record, _ in everything(TrailTail(folder, KEY))] == list(read_trail(folder, KEY))
