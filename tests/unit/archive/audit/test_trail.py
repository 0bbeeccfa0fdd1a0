"""The audit trail: durable before return, chained, encrypted, and closed for good once a sync fails."""

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.audit.trail import AuditTrail, read_trail
from archive.audit.trail_format import FrameCodec, Position
from archive.audit.verify import verify_trail
from archive.errors import AuditUnavailable, TrailDamaged

KEY = bytes(range(32))


def a_record(number=0, **more):
    return {"time": "2026-01-01T00:00:00.000+00:00", "kind": "security-alert", "facts": {"n": number}} | more


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "trail"


def written(folder, count=5, **options):
    trail = AuditTrail(folder, KEY, **options)
    for number in range(count):
        trail.append([a_record(number, ledger=number)])
    trail.close()


def test_records_come_back_in_order_with_their_ledger_position(folder):
    written(folder)
    records = list(read_trail(folder, KEY))
    assert [record.facts["n"] for record in records] == [0, 1, 2, 3, 4]
    assert [record.sequence for record in records] == [1, 2, 3, 4, 5]
    assert verify_trail(folder, KEY).ledger_position == 4


def test_a_reopened_trail_goes_on_where_it_stood(folder):
    written(folder, 3)
    trail = AuditTrail(folder, KEY)
    assert (trail.sequence, trail.ledger_position, trail.torn) == (3, 2, 0)
    trail.append([a_record(3)])
    trail.close()
    assert verify_trail(folder, KEY).records == 4


def test_nothing_in_the_trail_can_be_read_without_the_key(folder):
    trail = AuditTrail(folder, KEY)
    trail.append([a_record(facts={"patient_name": "Achter^Wilhelm"})])
    trail.close()
    assert all(b"Achter" not in path.read_bytes() for path in folder.iterdir())
    with pytest.raises(TrailDamaged):
        list(read_trail(folder, bytes(32)))


def test_each_flipped_byte_is_found(folder):
    written(folder, 3)
    (segment,) = folder.iterdir()
    good = segment.read_bytes()
    for offset in range(len(good)):
        segment.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
        assert verify_trail(folder, KEY).faults, f"byte {offset}"


def test_a_record_dropped_repeated_or_moved_is_found(folder):
    written(folder, 3)
    (segment,) = folder.iterdir()
    data = segment.read_bytes()
    codec = FrameCodec(KEY)
    position, start, frames = codec.open_header(data), 0, []
    body = data[len(codec.header(position)) :]
    head = data[: -len(body)]
    for _, _, end in codec.records(body, position):
        frames.append(body[start:end])
        start = end
    for order in ([0, 2], [1, 0, 2], [0, 0, 1, 2], [1, 2]):
        segment.write_bytes(head + b"".join(frames[index] for index in order))
        assert verify_trail(folder, KEY).faults


def test_an_append_cut_short_by_a_crash_is_cut_off_and_reported(folder):
    written(folder, 3)
    (segment,) = folder.iterdir()
    whole = segment.read_bytes()
    with segment.open("ab") as file:
        file.write(b"\0\0\1\0half a frame")
    assert verify_trail(folder, KEY).faults
    assert not verify_trail(folder, KEY, being_written=True).faults
    trail = AuditTrail(folder, KEY)
    assert trail.torn == 16
    trail.close()
    assert segment.read_bytes() == whole


def test_a_damaged_record_stops_the_trail_from_opening(folder):
    written(folder, 3)
    (segment,) = folder.iterdir()
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    with pytest.raises(TrailDamaged):
        AuditTrail(folder, KEY)


def test_a_full_segment_is_followed_by_the_next_and_none_may_be_missing(folder):
    written(folder, 12, segment_bytes=600)
    segments = sorted(folder.iterdir())
    assert len(segments) > 2
    assert verify_trail(folder, KEY).records == 12
    segments[1].unlink()
    assert verify_trail(folder, KEY).faults


def test_a_failed_sync_is_never_retried(folder, monkeypatch):
    trail = AuditTrail(folder, KEY)
    trail.append([a_record(0)])
    calls = []

    def failing(descriptor):
        calls.append(descriptor)
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", failing)
    for _ in range(3):
        with pytest.raises(AuditUnavailable):
            trail.append([a_record(1)])
    monkeypatch.undo()
    with pytest.raises(AuditUnavailable):
        trail.append([a_record(2)])
    assert len(calls) == 1


def test_appends_from_many_threads_all_arrive_once(folder):
    trail = AuditTrail(folder, KEY)
    threads = [
        threading.Thread(target=lambda base=base: [trail.append([a_record(base + n)]) for n in range(20)])
        for base in range(0, 160, 20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trail.close()
    assert sorted(record.facts["n"] for record in read_trail(folder, KEY)) == list(range(160))


def test_a_stranger_in_the_folder_is_a_fault(folder):
    written(folder, 1)
    (folder / "notes.txt").write_text("x")
    assert verify_trail(folder, KEY).faults == ("E111 notes.txt: not part of the audit trail",)


@given(st.binary(max_size=300))
def test_any_bytes_in_place_of_frames_are_damage_and_nothing_else(data):
    codec = FrameCodec(KEY)
    try:
        records = list(codec.records(data, Position.beginning()))
    except TrailDamaged:
        return
    assert records == [] and data == b""
