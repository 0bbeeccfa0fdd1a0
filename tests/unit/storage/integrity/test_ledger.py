"""The ledger: a chain that shows every change, and an end that a crash may have torn."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import LedgerDamaged, StoreReadOnly
from storage.integrity.ledger import MAX_BATCH, Event, Ledger, LineCodec, read_ledger

KEY = b"k" * 32
TIME = "2026-01-02T03:04:05.000006+00:00"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "ledger"


def event(number):
    return Event("authority", {"number": number}, {"actor": {"person": f"Jürgen {number}"}})


def fill(folder, count, *, batch=1, segment_bytes=8 * 1024 * 1024):
    ledger = Ledger(folder, KEY, 0, segment_bytes=segment_bytes)
    for first in range(1, count + 1, batch):
        ledger.append([event(number) for number in range(first, min(first + batch, count + 1))], TIME)
    ledger.close()


def numbers(folder, after=0):
    return [entry.facts["number"] for entry in read_ledger(folder, LineCodec(KEY), after)]


def segments(folder):
    return sorted(folder.iterdir())


def test_what_was_appended_is_read_back(folder):
    ledger = Ledger(folder, KEY, 0)
    appended = ledger.append([event(1), event(2)], TIME) + ledger.append([event(3)], TIME)
    assert [entry.sequence for entry in appended] == [1, 2, 3]
    assert list(ledger.entries()) == appended
    assert list(ledger.entries(2)) == appended[2:]
    ledger.close()


@pytest.mark.parametrize("segment_bytes", [1, 1000, 10**6])
def test_segments_make_one_chain(folder, segment_bytes):
    fill(folder, 20, batch=3, segment_bytes=segment_bytes)
    assert (len(segments(folder)) > 1) == (segment_bytes < 10**6)
    for after in range(21):
        assert numbers(folder, after) == list(range(after + 1, 21))
    ledger = Ledger(folder, KEY, 20, segment_bytes=segment_bytes)
    assert (ledger.sequence, ledger.torn) == (20, 0)
    ledger.append([event(21)], TIME)
    assert numbers(folder) == list(range(1, 22))
    ledger.close()


def test_the_provenance_cannot_be_read_without_the_key(folder):
    fill(folder, 1)
    text = segments(folder)[0].read_text()
    assert "rgen" not in text and json.loads(text)["seq"] == 1
    with pytest.raises(LedgerDamaged):
        list(read_ledger(folder, LineCodec(b"x" * 32)))


def test_every_flipped_byte_is_found(folder):
    fill(folder, 2)
    path = segments(folder)[0]
    good = path.read_bytes()
    for at in range(len(good) - 1):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(LedgerDamaged):
            list(read_ledger(folder, LineCodec(KEY)))
        if at % 25 == 0:
            with pytest.raises(LedgerDamaged):
                Ledger(folder, KEY, 2)


def test_a_record_cannot_be_dropped_doubled_or_moved(folder):
    fill(folder, 4)
    path = segments(folder)[0]
    one, two, three, four = path.read_bytes().splitlines(keepends=True)
    for lines in (
        [one, three, four],
        [one, two, two, three, four],
        [one, three, two, four],
        [two, three, four],
        [four, three, two, one],
    ):
        path.write_bytes(b"".join(lines))
        with pytest.raises(LedgerDamaged):
            list(read_ledger(folder, LineCodec(KEY)))
        with pytest.raises(LedgerDamaged):
            Ledger(folder, KEY, 4)


def test_a_record_of_another_chain_does_not_fit(tmp_path):
    fill(tmp_path / "one", 3)
    fill(tmp_path / "two", 3)
    one, two = segments(tmp_path / "one")[0], segments(tmp_path / "two")[0]
    first, _, third = one.read_bytes().splitlines(keepends=True)
    one.write_bytes(first + two.read_bytes().splitlines(keepends=True)[1] + third)
    with pytest.raises(LedgerDamaged):
        list(read_ledger(tmp_path / "one", LineCodec(KEY)))


def test_a_missing_segment_is_found(folder):
    fill(folder, 9, segment_bytes=1)
    kept = segments(folder)
    kept[4].unlink()
    with pytest.raises(LedgerDamaged):
        list(read_ledger(folder, LineCodec(KEY)))
    for path in kept[:8]:
        path.unlink(missing_ok=True)
    with pytest.raises(LedgerDamaged):
        list(read_ledger(folder, LineCodec(KEY)))


@pytest.mark.parametrize("reached", [1, 5])
def test_a_ledger_that_ends_before_the_trail_or_index_does_stops_the_store(folder, reached):
    with pytest.raises(LedgerDamaged):
        Ledger(folder, KEY, reached)
    fill(folder, reached)
    with pytest.raises(LedgerDamaged):
        Ledger(folder, KEY, reached + 1)


@settings(max_examples=30)
@given(st.data())
def test_a_torn_end_beyond_what_was_told_of_is_cut_off(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("home") / "ledger"
    fill(folder, 6, batch=3)
    path = segments(folder)[0]
    lines = path.read_bytes().splitlines(keepends=True)
    told = len(b"".join(lines[:3]))
    whole = path.read_bytes()
    cut = data.draw(st.integers(told, len(whole)))
    # Pages of a file may reach the disk in any order: what is cut short may have holes too.
    hole = data.draw(st.integers(cut, len(whole)))
    path.write_bytes(whole[:cut] + bytes(hole - cut) + whole[hole:] if cut < hole else whole[:cut])
    ledger = Ledger(folder, KEY, 3)
    kept = ledger.sequence
    assert 3 <= kept <= 6 and path.read_bytes() == b"".join(lines[:kept])
    ledger.append([event(kept + 1)], TIME)
    ledger.close()
    assert numbers(folder) == list(range(1, kept + 2))


def test_a_torn_end_at_what_was_told_of_stops_the_store(folder):
    fill(folder, 3)
    path = segments(folder)[0]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(LedgerDamaged):
        Ledger(folder, KEY, 3)
    ledger = Ledger(folder, KEY, 2)
    assert ledger.sequence == 2 and ledger.torn > 0
    ledger.close()


def test_no_more_than_a_batch_is_ever_cut_off(folder):
    fill(folder, MAX_BATCH + 5, batch=MAX_BATCH)
    path = segments(folder)[0]
    good = path.read_bytes()
    path.write_bytes(b"x" + good[1:])
    with pytest.raises(LedgerDamaged):
        Ledger(folder, KEY, 0)
    assert path.read_bytes() == b"x" + good[1:]


def test_a_segment_begun_and_never_written_is_carried_on(folder):
    fill(folder, 3, segment_bytes=1)
    (folder / f"{4:016d}.jsonl").write_bytes(b"")
    ledger = Ledger(folder, KEY, 3)
    ledger.append([event(4)], TIME)
    ledger.close()
    assert numbers(folder) == [1, 2, 3, 4]


def test_a_torn_first_record_of_a_new_segment_is_cut_off(folder):
    fill(folder, 3, segment_bytes=1)
    (folder / f"{4:016d}.jsonl").write_bytes(b'{"seq":4,"ti')
    ledger = Ledger(folder, KEY, 3)
    assert ledger.torn == 12
    ledger.append([event(4)], TIME)
    ledger.close()
    assert numbers(folder) == [1, 2, 3, 4]


def test_a_segment_that_does_not_follow_stops_the_store(folder):
    fill(folder, 3, segment_bytes=1)
    (folder / f"{6:016d}.jsonl").write_bytes(b"")
    with pytest.raises(LedgerDamaged):
        Ledger(folder, KEY, 3)


@pytest.mark.parametrize("call", ["fdatasync", "write"])
def test_a_failed_append_is_never_tried_again(folder, monkeypatch, call):
    ledger = Ledger(folder, KEY, 0)
    ledger.append([event(1)], TIME)
    with monkeypatch.context() as patched:
        patched.setattr(os, call, lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(StoreReadOnly):
            ledger.append([event(2)], TIME)
    with pytest.raises(StoreReadOnly):
        ledger.append([event(2)], TIME)
    assert ledger.sequence == 1
    ledger.close()


@given(st.binary(max_size=300))
def test_any_other_bytes_are_refused_in_order(data):
    with pytest.raises(LedgerDamaged):
        LineCodec(KEY).open(data, 1, None)
