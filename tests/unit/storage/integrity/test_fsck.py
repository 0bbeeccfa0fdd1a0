"""The independent checker: whatever is changed, dropped, added or moved in objects, ledger or index is found."""

import os
import shutil
import sqlite3
import threading
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import pytest

from storage.errors import LedgerDamaged
from storage.events import NamedInstance, facts_naming
from storage.index.schema import METADATA
from storage.instance import Splice
from storage.integrity import fsck, ledger
from storage.integrity.fsck import examination, strangers
from storage.integrity.fsck.catalogue import Catalogue
from storage.integrity.fsck.index_file import IndexFile
from storage.integrity.fsck.ledger_lines import LedgerLines
from storage.ports import BlobStore, LedgerEntry
from storage.transfer_syntax import DEFLATED_LITTLE, EXPLICIT_BIG, IMPLICIT_LITTLE
from tests.simulators import object_store
from tests.simulators.memory_archive import encoded, image
from tests.simulators.object_store import (
    ObjectStore,
    data_set,
    declared,
    element,
    sealed,
    signer,
    signer_certificate,
    store,
)

OURS = frozenset({sha256(signer_certificate()).digest()})
"""Fingerprint of the signer of the tests."""


@dataclass
class Place:
    root: Path

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger"

    @property
    def index(self) -> Path:
        return self.root / "index.sqlite"


class Kept:
    """A store that was filled and stopped, to be damaged and put back."""

    def __init__(self, root: Path) -> None:
        self.store = ObjectStore(root)
        self.place = Place(root)

    def faults(self, *, full: bool = True, live: bool = False, signers: frozenset[bytes] = OURS) -> tuple[str, ...]:
        return fsck.check(self.place, self.store.keyring, signers, full=full, being_written=live).faults

    def segment(self) -> Path:
        return max(self.place.ledger.iterdir())

    def change_index(self, *statements: str, values: tuple[object, ...] = ()) -> None:
        with closing(sqlite3.connect(self.place.index)) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            for statement in statements:
                connection.execute(statement, values)
            connection.commit()


def picture(instance: str, study: str, series: str, *more: tuple[int, str, bytes]) -> bytes:
    """A data set with more elements, in their order."""
    elements = [
        (0x00080016, "UI", object_store.CT.encode()),
        (0x00080018, "UI", instance.encode()),
        (0x00080020, "DA", b"20260102"),
        (0x00080030, "TM", b"1200"),
        (0x00100010, "PN", b"Doe^Jane"),
        (0x00100020, "LO", b"P1"),
        (0x0020000D, "UI", study.encode()),
        (0x0020000E, "UI", series.encode()),
        *more,
        (0x7FE00010, "OW", b"\1\2" * 50),
    ]
    return b"".join(element(*one) for one in sorted(elements))


CT, SR = (0x00080060, "CS", b"CT"), (0x00080060, "CS", b"SR")
NORTH, SOUTH = (0x00080080, "LO", b"North"), (0x00080080, "LO", b"South")
ANNA, BERTA = (0x00081050, "PN", b"Anna"), (0x00081050, "PN", b"Berta")
HEAD = (0x00180015, "CS", b"HEAD")


def fill(kept: Kept) -> None:
    """Two studies; the first with two series that disagree with it, and with labels."""
    repository = kept.store.start()
    store(repository, picture("1.1", "1.2", "1.3", CT, NORTH, ANNA, HEAD), "1.1")
    store(repository, picture("1.4", "1.2", "1.3", CT, SOUTH, ANNA), "1.4")
    repository.record("labelled", {"study_uid": "1.2", "label": "research"}, {})
    repository.record("labelled", {"study_uid": "1.2", "label": "gone"}, {})
    store(repository, picture("1.5", "1.2", "1.6", SR, NORTH, BERTA), "1.5")
    repository.record("unlabelled", {"study_uid": "1.2", "label": "gone"}, {})
    repository.record("authority", {"change": "none"}, {})
    store(repository, picture("2.1", "2.2", "2.3", CT), "2.1")
    kept.store.stop()


def take_away(kept: Kept) -> None:
    """Every kind of end: taken away, restored, erased; of a part of a study and of all of it; and what outlasts it."""
    repository = kept.store.start()
    store(repository, picture("1.7", "1.2", "1.6", CT, BERTA), "1.7")
    store(repository, picture("3.1", "3.2", "3.3", SR), "3.1")
    repository.record("labelled", {"study_uid": "3.2", "label": "restricted"}, {})
    repository.record("held", {"study_uid": "2.2"}, {})
    first, last = named(repository, "1.1"), named(repository, "1.5", "1.7")
    third = named(repository, "3.1")
    for study, instances in (("1.2", first), ("1.2", last), ("3.2", third)):
        facts = facts_naming(study, instances, reason="113037", note="9.1", comes_back=study == "3.2")
        repository.record("tombstoned", facts, {})
    repository.restore("1.2", last[1:], {})
    repository.record("erased", facts_naming("1.2", first), {})
    repository.record("erased", facts_naming("3.2", third), {})
    kept.store.stop()


def named(repository, *instances):
    found = repository.reader.lookup(instances)
    return [NamedInstance(uid, it.stored.object_id, it.stored.address) for uid, it in sorted(found.items())]


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Kept:
    kept = Kept(tmp_path_factory.mktemp("filled"))
    fill(kept)
    return kept


@pytest.fixture(scope="module")
def thinned_out(tmp_path_factory) -> Kept:
    kept = Kept(tmp_path_factory.mktemp("thinned"))
    fill(kept)
    take_away(kept)
    return kept


@pytest.fixture
def kept(filled, tmp_path) -> Kept:
    """A copy to be damaged."""
    return copied(filled, tmp_path)


@pytest.fixture
def thin(thinned_out, tmp_path) -> Kept:
    """A copy, to be damaged, of one of which things were taken away."""
    return copied(thinned_out, tmp_path)


def copied(kept: Kept, folder: Path) -> Kept:
    copy = Kept.__new__(Kept)
    copy.store = kept.store
    copy.place = Place(folder / "copy")
    shutil.copytree(kept.place.root, copy.place.root)
    return copy


@pytest.fixture
def empty(tmp_path) -> Iterator[Kept]:
    """A store of its own, to be started; stopped at the end."""
    made = Kept(tmp_path)
    yield made
    made.store.stop()


def objects(kept: Kept) -> list[Path]:
    return sorted(path for path in (kept.place.blobs / "objects").rglob("*") if path.is_file())


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("live", [False, True])
def test_what_is_as_it_was_written_has_no_fault(filled, full, live):
    report = fsck.check(filled.place, filled.store.keyring, OURS, full=full, being_written=live)
    assert report == fsck.Report(objects=4, ledger_position=8, index_position=8, faults=())


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("live", [False, True])
def test_what_was_taken_away_as_the_ledger_says_is_no_fault(thin, full, live):
    report = fsck.check(thin.place, thin.store.keyring, OURS, full=full, being_written=live)
    assert report == fsck.Report(objects=4, ledger_position=18, index_position=18, faults=())


def test_an_archive_that_holds_nothing_yet_has_no_fault(empty):
    empty.store.start()
    assert empty.faults(live=True) == ()
    empty.store.stop()
    assert empty.faults() == ()


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE])
def test_objects_of_every_encoding_are_read(empty, syntax):
    made = image(PatientName="Müller^Änne", SpecificCharacterSet="ISO_IR 192")
    data = encoded(made, syntax)
    if syntax == DEFLATED_LITTLE:
        deflate = zlib.compressobj(wbits=-15)
        data = deflate.compress(data) + deflate.flush()
        data += b"\0" * (len(data) & 1)
    repository = empty.store.start()
    repository.commit(sealed(repository, data, replace(declared(made.SOPInstanceUID), transfer_syntax=syntax)), {})
    empty.store.stop()
    assert empty.faults() == ()


def test_each_flipped_byte_of_an_object_is_found(kept):
    path = objects(kept)[0]
    good = path.read_bytes()
    path.chmod(0o600)
    missed = []
    for offset in [*range(0, 200, 7), *range(200, len(good) - 40, 101), *range(len(good) - 40, len(good), 3)]:
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
        if not kept.faults():
            missed.append(offset)
    assert missed == []


def test_an_object_cut_short_or_longer_is_found_without_reading_it_whole(kept):
    path = objects(kept)[0]
    good = path.read_bytes()
    for damaged in (good[:-1], good + b"\0", good[: len(good) // 2], b"", good[:100] + good[101:]):
        path.write_bytes(damaged)
        assert kept.faults(full=False), len(damaged)


def test_each_flipped_byte_of_the_ledger_is_found(kept):
    path = kept.segment()
    good = path.read_bytes()
    for offset in range(0, len(good), 5):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
        lines = LedgerLines(kept.place.ledger, kept.store.keyring.ledger_key)
        with closing(lines), pytest.raises(LedgerDamaged):
            list(lines.more())
            if lines.tail:
                raise LedgerDamaged
    for offset in (0, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
        assert kept.faults(full=False)


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: lines[:3] + lines[4:],
        lambda lines: [*lines[:4], *lines[3:]],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [*lines[:-2], lines[-1], lines[-2]],
        lambda lines: [],
        lambda lines: [*lines[:4], b"\n", *lines[4:]],
        lambda lines: [*lines[:4], lines[4].replace(b":", b": ", 1), *lines[5:]],
    ],
)
def test_a_ledger_line_dropped_doubled_moved_or_added_is_found(kept, change, live):
    path = kept.segment()
    path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))
    assert kept.faults(full=False, live=live)


def test_a_ledger_that_is_gone_is_found(kept):
    kept.segment().unlink()
    assert kept.faults(full=False)
    kept.place.ledger.rmdir()
    assert kept.faults(full=False)


def test_a_ledger_that_ends_inside_a_record_is_a_fault_unless_somebody_writes(kept):
    with kept.segment().open("ab") as file:
        file.write(b'{"seq":9,')
    assert kept.faults(live=True) == ()
    assert any("ends inside record 9" in fault for fault in kept.faults())


EMPTY_AT_REST = "erasure"


def columns() -> list[tuple[str, str]]:
    """Every column, but the key of an instance: nothing refers to it, and its order has a test of its own."""
    found = [(table.name, column.name) for table in METADATA.sorted_tables for column in table.columns]
    return [place for place in found if place != ("instance", "id") and place[0] != EMPTY_AT_REST]


@pytest.mark.parametrize(("table", "column"), columns())
def test_a_changed_value_in_any_column_is_found(thin, table, column):
    kept = thin
    with closing(sqlite3.connect(kept.place.index)) as connection:
        rows = connection.execute(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL").fetchall()
    value = rows[0][0] if rows else None
    changed: object
    if isinstance(value, int):
        changed = value + 100
    elif isinstance(value, bytes):
        changed = bytes([value[0] ^ 1]) + value[1:]
    else:
        changed = (value or "") + "X"
    where = "IS ?" if rows else "IS NULL AND ? IS NULL"
    kept.change_index(f"UPDATE {table} SET {column} = ? WHERE {column} {where}", values=(changed, value))
    assert kept.faults(), (table, column, value)


def test_a_number_that_became_a_text_is_another_value(kept):
    kept.change_index("UPDATE study SET referring_physician = CAST('' AS BLOB)")
    assert any("referring_physician" in fault for fault in kept.faults())


def test_bytes_that_are_no_text_any_more_are_a_fault_of_their_column(kept):
    kept.change_index("UPDATE study SET patient_name = CAST(x'44ff' AS TEXT)")
    assert any("patient_name" in fault for fault in kept.faults())


@pytest.mark.parametrize("table", [table.name for table in METADATA.sorted_tables if table.name != EMPTY_AT_REST])
def test_rows_that_were_removed_are_found(thin, table):
    thin.change_index(f"DELETE FROM {table}")
    assert thin.faults()


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tombstone SET erased = NULL",
        "UPDATE tombstone SET comes_back = 1 - comes_back",
        "INSERT INTO study_hold VALUES ('1.2')",
        "INSERT INTO absent_label VALUES ('3.2', 'research')",
        "UPDATE absent_label SET study_uid = '2.2'",
        "UPDATE instance SET ledger_sequence = 7 WHERE sop_instance_uid = '1.7'",
    ],
)
def test_what_outlasts_a_study_and_was_turned_is_found(thin, statement, live):
    thin.change_index(statement)
    assert thin.faults(live=live)


def test_an_object_that_the_ledger_says_is_erased_must_be_gone(thin):
    lines = LedgerLines(thin.place.ledger, thin.store.keyring.ledger_key)
    with closing(lines):
        (name, *_) = [it[2] for line in lines.more() if line.event == "erased" for it in line.facts["instances"]]
    shutil.copy2(objects(thin)[0], thin.place.blobs / "objects" / name[:2] / name)
    assert any("is not in the ledger" in fault for fault in thin.faults(full=False))


def test_an_object_that_was_taken_away_must_still_be_whole(thin):
    good = {path: path.read_bytes() for path in objects(thin)}
    for path, content in good.items():
        path.chmod(0o600)
        path.write_bytes(content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])
        assert thin.faults(), path
        path.write_bytes(content)


def test_an_erasure_that_was_not_carried_out_is_a_fault_unless_somebody_does(thin):
    thin.change_index("INSERT INTO erasure VALUES (x'00')")
    assert any("erasure" in fault for fault in thin.faults())
    assert thin.faults(live=True) == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE study SET labels = '\\restricted\\' WHERE study_uid = '2.2'",
        "INSERT INTO study_physician SELECT id, 'Mallory' FROM study",
        "INSERT INTO study_modality SELECT id, 'MR', 1, 1 FROM study",
        "UPDATE study_modality SET fixed = 1",
        "UPDATE study_modality SET current = 0",
        "INSERT INTO index_state VALUES ('more', 'x')",
        "UPDATE index_state SET value = 'yes' WHERE key = 'rebuilding' OR key = 'schema'",
        "UPDATE index_state SET value = '7' WHERE key = 'position'",
        "UPDATE index_state SET value = '9' WHERE key = 'position'",
        "UPDATE index_state SET value = '-1' WHERE key = 'position'",
        "INSERT INTO index_state VALUES ('rebuilding', 'yes')",
        "INSERT INTO series (study_fk, series_uid, instance_count, differs) SELECT id, '9.9', 0, '{}' FROM study",
        "INSERT INTO study (study_uid, sort_date, labels, facts, series_count, instance_count)"
        " VALUES ('9.9', 0, '', '[]', 0, 0)",
        "CREATE TRIGGER hidden AFTER INSERT ON study BEGIN DELETE FROM study_physician; END",
        "CREATE TABLE more (x)",
        "ALTER TABLE study ADD COLUMN more",
        "DROP INDEX study_patient_id",
        "DROP TABLE study_physician",
        "UPDATE instance SET id = 100 - id",
    ],
)
@pytest.mark.parametrize("live", [False, True])
def test_what_was_put_into_the_index_or_turned_is_found(kept, statement, live):
    kept.change_index(statement)
    assert kept.faults(live=live)


def test_an_instance_that_no_object_backs_is_found_at_once(kept):
    with closing(sqlite3.connect(kept.place.index)) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(instance)") if row[1] != "id"]
    copied = ", ".join({"sop_instance_uid": "'9.9'", "ledger_sequence": "7"}.get(name, name) for name in names)
    kept.change_index(f"INSERT INTO instance ({', '.join(names)}) SELECT {copied} FROM instance LIMIT 1")
    assert any("not in the ledger" in fault for fault in kept.faults(full=False))


def test_labels_that_were_turned_around_in_every_place_are_found(kept):
    with closing(sqlite3.connect(kept.place.index)) as connection:
        (facts,) = connection.execute("SELECT facts FROM study WHERE study_uid = '1.2'").fetchone()
    kept.change_index("UPDATE study SET facts = ?", values=(facts.replace("research", "restrict"),))
    kept.change_index("UPDATE study SET labels = replace(labels, 'research', 'restrict')")
    assert any("labels are not what the ledger says" in fault for fault in kept.faults())


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE study SET labels = '' WHERE study_uid = '1.2'", ["not what this archive wrote", "the ledger says"]),
        ("UPDATE study SET facts = replace(facts, 'North', 'South')", ["not what this archive wrote"]),
        ("UPDATE study SET facts_seal = NULL WHERE study_uid = '2.2'", ["not what this archive wrote"]),
        ("UPDATE study SET facts_seal = zeroblob(32)", ["not what this archive wrote"] * 2),
        ("UPDATE study SET facts = '[]' WHERE study_uid = '2.2'", ["not what this archive wrote", "the ledger says"]),
    ],
)
def test_a_changed_label_or_fact_is_found_by_every_check(kept, statement, found, live):
    kept.change_index(statement)
    faults = kept.faults(full=False, live=live)
    assert len(faults) == len(found) and all(map(str.__contains__, faults, found)), faults


def test_a_study_set_back_with_its_seal_to_what_it_said_before_is_found_by_every_check(tmp_path):
    kept = Kept(tmp_path)
    columns = "facts, labels, facts_seal"
    repository = kept.store.start()
    store(repository, picture("1.1", "1.2", "1.3", CT), "1.1")
    with closing(sqlite3.connect(kept.place.index)) as connection:
        before = connection.execute(f"SELECT {columns} FROM study").fetchone()
    repository.record("labelled", {"study_uid": "1.2", "label": "restricted"}, {})
    kept.store.stop()
    assert kept.faults(full=False) == ()
    kept.change_index("UPDATE study SET facts = ?, labels = ?, facts_seal = ?", values=before)
    (fault,) = kept.faults(full=False)
    assert "its labels are not what the ledger says" in fault


def test_an_index_that_is_no_database_or_not_there_is_a_fault(kept):
    good = kept.place.index.read_bytes()
    for content in (b"", b"no database at all" * 100, good[: len(good) // 2], good[:100] + b"\xff" * (len(good) - 100)):
        kept.place.index.write_bytes(content)
        assert kept.faults()
    kept.place.index.unlink()
    assert any(fault.startswith("index: it cannot be read") for fault in kept.faults())


def test_an_object_that_is_gone_or_under_anothers_address_is_found(kept):
    first, second, *_ = objects(kept)
    good = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert any("another object" in fault for fault in kept.faults(full=False))
    first.unlink()
    assert any("file is not there" in fault for fault in kept.faults(full=False))
    first.symlink_to(second)
    assert kept.faults(full=False)
    first.unlink()
    first.write_bytes(good)
    assert kept.faults() == ()


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "blobs/x",
        "blobs/staging/x",
        "blobs/objects/x",
        "blobs/objects/00/x",
        "blobs/objects/00/" + "00" * 32,
        "blobs/objects/01/" + "00" * 32,
        "ledger/x",
        "ledger/0000000000000005.jsonl",
    ],
)
def test_a_stranger_is_found(kept, name, live):
    (kept.place.root / name).parent.mkdir(exist_ok=True)
    (kept.place.root / name).write_bytes(b"")
    assert len(kept.faults(full=False, live=live)) == 1


def test_what_is_under_way_beside_a_server_is_no_fault_and_left_behind_it_is(kept):
    staged = kept.place.blobs / "staging" / ("ab" * 16)
    staged.write_bytes(b"half")
    published = kept.place.blobs / "objects" / "00" / ("00" * 32)
    published.parent.mkdir(exist_ok=True)
    os.link(staged, published)
    (kept.place.ledger / "0000000000000009.jsonl").touch()
    assert kept.faults(full=False, live=True) == ()
    assert len(kept.faults(full=False)) == 2


def test_an_index_behind_the_ledger_is_under_way_only_while_somebody_writes(kept):
    kept.change_index("UPDATE index_state SET value = '7' WHERE key = 'position'")
    assert any("rows beyond" in fault for fault in kept.faults(live=True))
    with closing(sqlite3.connect(kept.place.index)) as connection:
        ((study,),) = connection.execute("SELECT id FROM study WHERE study_uid = '2.2'").fetchall()
    for table in ("study_modality", "study_sop_class", "study_name_part"):
        kept.change_index(f"DELETE FROM {table} WHERE study_fk = {study}")
    kept.change_index(
        "DELETE FROM instance WHERE sop_instance_uid = '2.1'",
        "DELETE FROM series WHERE series_uid = '2.3'",
        "DELETE FROM study WHERE study_uid = '2.2'",
    )
    assert kept.faults(live=True) == ()
    assert any("start the server" in fault for fault in kept.faults())


def test_a_signature_of_another_signer_does_not_count(kept):
    assert all("signer" in fault for fault in kept.faults(signers=frozenset()))
    assert len(kept.faults(signers=frozenset({b"x" * 32}))) == 4


class Meddler:
    """Signs as our signer does, and then changes what it made."""

    def __init__(self, change) -> None:
        self._change = change

    def sign(self, *arguments):
        return self._change(signer().sign(*arguments))


@pytest.mark.parametrize(
    "change",
    [
        lambda made: replace(made, splices=()),
        lambda made: replace(made, splices=made.splices[1:]),
        lambda made: replace(made, uid="2.25.1"),
        lambda made: replace(made, value_digest=bytes(32)),
        lambda made: replace(made, splices=(Splice(0, 26, b""), *made.splices)),
        lambda made: replace(made, splices=(*made.splices, Splice(1 << 40, 0, b"xx"))),
        lambda made: replace(
            made,
            splices=(
                *made.splices[:1],
                replace(made.splices[1], inserted=made.splices[1].inserted[:-9] + bytes(9)),
            ),
        ),
    ],
)
def test_a_signature_that_is_not_right_is_found_though_every_byte_is_as_it_was_written(empty, monkeypatch, change):
    monkeypatch.setattr(object_store, "signer", lambda: Meddler(change))
    store(empty.store.start())
    empty.store.stop()
    assert empty.faults(full=False) == ()
    assert len(empty.faults()) == 1


def test_the_ledger_is_read_across_its_segments(empty, monkeypatch):
    monkeypatch.setitem(ledger.Ledger.__init__.__kwdefaults__, "segment_bytes", 2000)
    repository = empty.store.start()
    for number in range(12):
        store(repository, data_set(f"1.2.{number}"), f"1.2.{number}")
    empty.store.stop()
    segments = sorted(empty.place.ledger.iterdir())
    assert len(segments) > 3 and empty.faults() == ()
    good = segments[1].read_bytes()
    segments[1].write_bytes(good + b"x")
    assert any("is incomplete" in fault for fault in empty.faults())
    segments[1].unlink()
    assert empty.faults()
    segments[1].write_bytes(good)
    segments[-1].write_bytes(b"")
    assert empty.faults()


@pytest.mark.parametrize("full", [False, True])
def test_a_study_that_begins_after_the_instances_were_read_is_no_fault(empty, monkeypatch, full):
    """The index speaks of it, and the ledger does only where it is read once more."""
    repository = empty.store.start()
    store(repository, picture("1.1", "1.2", "1.3", CT), "1.1")
    studies = IndexFile.studies

    def begun_just_before(index: IndexFile) -> Iterator[str]:
        store(repository, picture("2.1", "2.2", "2.3", CT), "2.1")
        yield from studies(index)

    monkeypatch.setattr(IndexFile, "studies", begun_just_before)
    assert empty.faults(full=full, live=True) == ()


class HalfWay:
    """Senders of whose commits one is always half way: what is ``published`` or what is ``recorded`` and no more."""

    def __init__(self, kept: Kept, halt: str) -> None:
        self._both = threading.Barrier(2, timeout=30)
        self._journal = kept.store.journal
        repository = kept.store.start(
            blobs=self._in_front if halt == "published" else lambda real: real,
            journal=self if halt == "recorded" else None,
        )
        self._repository = repository
        self._sent = 0
        self._sender = self._begun()

    def go_on(self) -> None:
        """Let what is under way come to its end, and the next one come half way."""
        self.end()
        self._sender = self._begun()

    def end(self) -> None:
        """Let what is under way come to its end."""
        self._both.wait()
        self._sender.join()

    def position(self) -> int:
        return self._journal.position()

    def committed(self, entries: Sequence[LedgerEntry]) -> None:
        self._journal.committed(entries)
        if any(entry.event == "stored" for entry in entries):
            self._halt()

    def _in_front(self, real: BlobStore) -> BlobStore:
        publish = real.publish

        def halting(*published) -> None:
            publish(*published)
            self._halt()

        real.publish = halting
        return real

    def _halt(self) -> None:
        self._both.wait()
        self._both.wait()

    def _begun(self) -> threading.Thread:
        sender = threading.Thread(target=self._send, args=(self._sent,), daemon=True)
        sender.start()
        self._both.wait()
        self._sent += 1
        return sender

    def _send(self, number: int) -> None:
        """By turns into a study that is known and into a new one."""
        study = "1.2" if number % 2 else f"1.2.{number}"
        more = (CT, NORTH if number % 3 else SOUTH)
        store(self._repository, picture(f"1.{number}", study, f"1.3.{number % 4}", *more), f"1.{number}")
        self._repository.record("unlabelled" if number % 4 else "labelled", {"study_uid": study, "label": "x"}, {})


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("halt", ["published", "recorded"])
def test_commits_that_lie_across_every_read_of_a_check_are_no_fault(empty, monkeypatch, halt, full):
    server = HalfWay(empty, halt)
    for _ in range(3):
        server.go_on()
    reads = Counter()

    def busy(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def read(*arguments):
            # Twice for each kind: a check that is kept busy at every single read would never come to its end.
            kind = (name, arguments[1] if owner is IndexFile else None)
            reads[kind] += 1
            if reads[kind] <= 2:
                server.go_on()
            return real(*arguments)

        monkeypatch.setattr(owner, name, read)

    busy(IndexFile, "_all")
    busy(IndexFile, "_rows")
    busy(LedgerLines, "more")
    busy(examination, "Blob")
    busy(strangers, "_entries")
    busy(Catalogue, "keeps")
    try:
        found = empty.faults(full=full, live=True)
    finally:
        server.end()
    assert found == ()
    assert {name for name, _ in reads} == {"_all", "_rows", "more", "Blob", "_entries", "keeps"}
    monkeypatch.undo()
    empty.store.stop()
    assert empty.faults() == ()


def test_a_check_beside_a_busy_server_finds_nothing(empty):
    repository = empty.store.start()
    stop = threading.Event()
    failed: list[BaseException] = []

    def busy(sender: int) -> None:
        try:
            number = 0
            while not stop.is_set():
                number += 1
                uid = f"1.{sender}.{number}"
                more = (CT, SOUTH if number % 3 else NORTH)
                store(repository, picture(uid, f"1.2.{number % 2}", f"1.3.{sender}", *more), uid)
                event = "labelled" if number % 2 else "unlabelled"
                repository.record(event, {"study_uid": "1.2.1", "label": "x"}, {})
        except BaseException as error:
            failed.append(error)

    senders = [threading.Thread(target=busy, args=(sender,)) for sender in (1, 2)]
    for sender in senders:
        sender.start()
    try:
        found = [empty.faults(full=full, live=True) for full in (True, False) * 6]
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert not failed
    assert set(found) == {()}
    empty.store.stop()
    assert empty.faults() == ()


def test_an_index_whose_server_was_killed_is_read_with_its_log(empty):
    repository = empty.store.start()
    store(repository)
    copy = empty.place.root / "copy"
    copy.mkdir()
    for name in ("blobs", "ledger"):
        shutil.copytree(empty.place.root / name, copy / name)
    for path in empty.place.root.glob("index.sqlite*"):
        shutil.copy(path, copy)
    assert (copy / "index.sqlite-wal").stat().st_size
    (copy / "index.sqlite-shm").unlink()
    killed = fsck.check(Place(copy), empty.store.keyring, OURS, full=True)
    assert (killed.objects, killed.index_position, killed.faults) == (1, 1, ())


def test_memory_does_not_grow_with_an_object(empty):
    repository = empty.store.start()
    store(repository, data_set(pixels=bytes(24 * 1024 * 1024)))
    empty.store.stop()
    assert empty.faults() == ()
    tracemalloc.start()
    try:
        assert empty.faults() == ()
        assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_faults_are_bounded_and_name_no_patient(kept):
    for path in objects(kept):
        path.unlink()
    kept.change_index("UPDATE study SET patient_name = 'Roe^Richard'")
    faults = kept.faults()
    assert faults
    assert not any(word in fault for fault in faults for word in ("Doe", "Roe", "P1"))
    findings = fsck.report.Findings()
    for number in range(3000):
        findings.add(str(number))
    assert len(findings.faults) == fsck.report.MAX_FAULTS + 1
    assert findings.faults[-1].startswith("2000 more")
