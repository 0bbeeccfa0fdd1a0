"""Somebody changes the trail's files: edits, cuts, reorders, swaps segments, forges checkpoints. Every change is found.

The attacker may write every file of the trail and has another archive's trail, an older copy of this one and a key of
their own. They have neither the audit key nor the signer's. A cut at the end, and the older copy, are found by a
checkpoint that was kept elsewhere; everything else is found without one.
"""

import json
import random
import shutil
from datetime import timedelta

import pytest

from archive.audit.removal import REMOVALS_NAME
from archive.audit.trail_format import HEADER_BYTES, FrameCodec
from tests.simulators.audit_trails import BEGINNING, KEY, TrailOnDisk, identity


class House:
    """A trail with a lawful removal behind it, an older copy of it, and what the attacker has besides."""

    def __init__(self, tmp_path):
        self.trail = TrailOnDisk(tmp_path / "trail").grow(60)
        retention, moment = self.trail.retention, BEGINNING + timedelta(minutes=20)
        retention.remove(retention.older_than(moment), before=moment, who="root", why="law")
        self.older = self.copy()
        self.trail.grow(30)
        self.checkpoint = self.trail.checkpoint()
        self.good = self.copy()
        self.other = TrailOnDisk(tmp_path / "other").grow(60)
        self.forger = TrailOnDisk(tmp_path / "forger", signer=identity("forger")).grow(60)
        assert len(self.trail.segments) > 4

    def copy(self):
        return {path.name: path.read_bytes() for path in self.trail.folder.iterdir()}

    def put(self, files):
        shutil.rmtree(self.trail.folder)
        self.trail.folder.mkdir()
        for name, data in files.items():
            (self.trail.folder / name).write_bytes(data)

    def frames(self, data):
        """The header of a segment, and each of its frames."""
        position, start, found = FrameCodec(KEY).open_header(data), 0, []
        for _, _, end in FrameCodec(KEY).records(data[HEADER_BYTES:], position):
            found.append(data[HEADER_BYTES + start : HEADER_BYTES + end])
            start = end
        return data[:HEADER_BYTES], found


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


# Each takes the house, the files and a source of chance, and changes the files.


def edit(house, files, chance):
    """Some bytes of one file are others."""
    name = chance.choice(sorted(files))
    data = bytearray(files[name])
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] ^= chance.randint(1, 255)
    files[name] = bytes(data)


def insert(house, files, chance):
    """Bytes are added somewhere in a file."""
    name = chance.choice(sorted(files))
    place = chance.randint(0, len(files[name]))
    files[name] = files[name][:place] + chance.randbytes(chance.randint(1, 200)) + files[name][place:]


def cut_out(house, files, chance):
    """Bytes are missing in a file."""
    name = chance.choice(sorted(files))
    start = chance.randrange(len(files[name]))
    end = min(len(files[name]), start + chance.randint(1, 2000))
    files[name] = files[name][:start] + files[name][end:]


def reorder(house, files, chance):
    """Whole records of a segment are dropped, repeated or moved."""
    name = chance.choice(segments(files))
    head, frames = house.frames(files[name])
    one, two = chance.randrange(len(frames)), chance.randrange(len(frames))
    match chance.randrange(3):
        case 0:
            del frames[one]
        case 1:
            frames.insert(two, frames[one])
        case 2:
            frames.insert(two, frames.pop(one))
    files[name] = head + b"".join(frames)


def swap(house, files, chance):
    """A segment gets another one's name, or its place is taken by one of another trail."""
    name = chance.choice(segments(files))
    match chance.randrange(3):
        case 0:
            other = chance.choice([one for one in segments(files) if one != name])
            files[name], files[other] = files[other], files[name]
        case 1:
            files[name] = chance.choice(house.other.segments).read_bytes()
        case 2:
            files[chance.choice([one for one in segments(files) if one != name])] = files[name]


def drop(house, files, chance):
    """A file is gone."""
    del files[chance.choice(sorted(files))]


def add(house, files, chance):
    """A file is there that is none of the trail's."""
    files[chance.choice(["0000000000000001.trail", "9" * 16 + ".trail", "x.trail", "notes", "removals.json"])] = (
        chance.choice([b"", chance.randbytes(300), chance.choice(house.other.segments).read_bytes()])
    )


def truncate(house, files, chance):
    """The end is missing, from some byte of some segment on."""
    names = segments(files)
    first = chance.randrange(len(names))
    cut = chance.randrange(len(files[names[first]]))
    for name in names[first + 1 :]:
        del files[name]
    files[names[first]] = files[names[first]][:cut]


def cut_records(house, files, chance):
    """The end is missing, from some record on, so that nothing is torn."""
    names = segments(files)
    first = chance.randrange(len(names))
    head, frames = house.frames(files[names[first]])
    for name in names[first + 1 :]:
        del files[name]
    files[names[first]] = head + b"".join(frames[: chance.randrange(len(frames))])


def put_back(house, files, chance):
    """The whole trail, or its newest segments, are those of an earlier day."""
    files.clear()
    files.update(house.older)


def forge_statement(house, files, chance):
    """What became of the oldest records is told anew, with another signature or another content."""
    line = files[REMOVALS_NAME].decode()
    fields = json.loads(line)
    name = chance.choice(sorted(fields.keys() - {"signature", "signer", "format"}))
    changed = {**fields, name: fields[name] + 1 if isinstance(fields[name], int) else fields[name] + "0"}
    if chance.random() < 0.5:
        kept = {key: value for key, value in changed.items() if key not in ("format", "signer", "signature")}
        files[REMOVALS_NAME] = identity("forger").signer.line("removal", kept).encode() + b"\n"
    else:
        files[REMOVALS_NAME] = json.dumps(changed, separators=(",", ":")).encode() + b"\n"


def segments(files):
    return sorted(name for name in files if name.endswith(".trail"))


CHANGES = [edit, insert, cut_out, reorder, swap, drop, add, truncate, cut_records, put_back, forge_statement]


def unnoticed(house, rounds, seed):
    """The changes among so many random ones that a check did not find."""
    chance = random.Random(seed)
    missed = []
    for number in range(rounds):
        change = CHANGES[number % len(CHANGES)]
        files = dict(house.good)
        change(house, files, chance)
        if files == house.good:
            continue
        house.put(files)
        if not house.trail.verify(house.checkpoint).faults:
            missed.append((number, change.__name__))
    house.put(house.good)
    assert house.trail.verify(house.checkpoint).faults == ()
    return missed


def test_300_random_changes_are_all_found(house):
    assert unnoticed(house, 300, seed=8) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_10000_random_changes_are_all_found(house):
    assert unnoticed(house, 10_000, seed=2026) == []


def test_without_a_checkpoint_a_cut_at_a_record_is_not_claimed_to_be_complete(house):
    """What cannot be known is not said."""
    files = dict(house.good)
    for name in segments(files)[-2:]:
        del files[name]
    house.put(files)
    report = house.trail.verify()
    assert report.faults == () and report.verdict == "internally consistent"
    assert house.trail.verify(house.checkpoint).faults


@pytest.mark.parametrize("field", ["trail", "sequence", "chain", "ledger", "time", "signer", "signature", "format"])
def test_a_checkpoint_from_elsewhere_with_an_altered_field_is_refused(house, field):
    fields = json.loads(house.checkpoint)
    fields[field] = fields[field] - 1 if isinstance(fields[field], int) else "0" + fields[field][1:] + "="
    line = json.dumps(fields, separators=(",", ":"))
    report = house.trail.verify(line)
    assert report.confirmed == 0
    assert report.faults[0].startswith("E111 checkpoint 1 from elsewhere: ")


def test_a_checkpoint_that_the_attacker_signed_is_refused(house):
    fields = {key: value for key, value in json.loads(house.checkpoint).items() if key not in ("format", "signature")}
    del fields["signer"]
    report = house.trail.verify(identity("forger").signer.line("checkpoint", fields))
    assert "not this archive's signer" in report.faults[0] and report.confirmed == 0


def test_a_checkpoint_of_another_archive_with_the_same_signer_is_refused(house):
    report = house.trail.verify(house.other.checkpoint())
    assert "of another trail" in report.faults[0] and report.confirmed == 0


def test_whoever_has_the_audit_key_and_not_the_signers_cannot_put_a_checkpoint_in(house):
    house.put({path.name: path.read_bytes() for path in house.forger.segments})
    assert "not this archive's signer" in house.trail.verify().faults[0]
