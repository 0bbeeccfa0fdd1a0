"""The check itself: which thing is compared with which, in an order that holds beside a live server.

The server commits in the order objects, ledger, audit trail, index. So the index's position is read first and the
ledger after it: what the index knew then, the ledger and the objects must know. What is committed later is followed
where a row of the index or a file speaks of it, and otherwise left alone: one that the ledger does not explain is a
fault only if it still does not once the ledger is read to its end again, after the row or file was seen.

1. the index is a database of this release's form, and complete;
2. every ledger record is what was written, in its place, up to the index's position at least;
3. every object is there, and is the one that its record names; in full: every byte of it (`content`);
4. every index row has its object and every object its row; what policy reads of a study is sealed, and its labels are
   the ledger's (`vouching`); in full: every row and column (`expected`);
5. what outlasts a study's rows is what the ledger says: holds, tombstones, labels of what is gone (`outlasting`);
6. nothing else lies in the folders, and nothing that was erased.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

from storage.crypto.keyring import Keyring
from storage.errors import StorageError
from storage.instance import InstanceRows
from storage.integrity.fsck.blob import Blob
from storage.integrity.fsck.catalogue import LAST, Catalogue, Happening, Kept
from storage.integrity.fsck.content import check_content, check_names, signatures_of
from storage.integrity.fsck.expected import ExpectedStudy, Row
from storage.integrity.fsck.index_file import SET_TABLES, IndexFile, StudyRows
from storage.integrity.fsck.ledger_lines import LedgerLines
from storage.integrity.fsck.outlasting import check_outlasting
from storage.integrity.fsck.report import Findings, Place, Report
from storage.integrity.fsck.strangers import find_ledger_strangers, find_strangers, object_path
from storage.integrity.fsck.vouching import check_vouching

_NOT_COMPARED: Final = frozenset({"id", "series_fk"})
"""Keys: what they lead to is compared instead."""


def check(
    place: Place, keyring: Keyring, signers: frozenset[bytes], *, full: bool = False, being_written: bool = False
) -> Report:
    """Check everything that is kept. Writes nothing, and raises nothing for what it finds.

    Args:
        place: where objects, ledger and index lie.
        keyring: the keys they were written with.
        signers: SHA-256 fingerprints of the certificates whose signatures count as the archive's own.
        full: every byte of every object, every signature and every column of the index; else that objects are there
            and are the ledger's, and that the index has a row for each.
        being_written: a server may be running; else nothing may be under way, and nothing left behind.
    """
    findings = Findings()
    lines = LedgerLines(place.ledger, keyring.ledger_key)
    with closing(Catalogue(lines, findings)) as catalogue:
        return _Examination(place, keyring, signers, full, being_written, catalogue, lines, findings).run()


class _Examination:
    def __init__(
        self,
        place: Place,
        keyring: Keyring,
        signers: frozenset[bytes],
        full: bool,
        being_written: bool,
        catalogue: Catalogue,
        lines: LedgerLines,
        findings: Findings,
    ) -> None:
        self._place = place
        self._keyring = keyring
        self._signers = signers
        self._full = full
        self._being_written = being_written
        self._catalogue = catalogue
        self._lines = lines
        self._findings = findings
        self._index: IndexFile | None = None
        """None: its rows cannot be compared."""
        self._position = 0
        """Of the index when the check began."""

    def run(self) -> Report:
        with self._index_faults():
            self._open_index()
        try:
            self._check_ledger()
            if self._full:
                for study_uid in self._catalogue.studies():
                    self._check_study(study_uid)
            else:
                for kept in self._catalogue.every_object():
                    self._check_object(kept)
            with self._index_faults():
                self._check_rows()
            with self._index_faults():
                if self._index is not None and not self._catalogue.damaged:
                    check_outlasting(self._index, self._catalogue, self._being_written, self._findings)
        finally:
            if self._index is not None:
                self._index.close()
        find_strangers(self._place.blobs, self._catalogue, self._being_written, self._findings)
        find_ledger_strangers(self._place.ledger, self._lines, self._being_written, self._findings)
        return Report(self._catalogue.count(), self._catalogue.sequence, self._position, self._findings.faults)

    def _open_index(self) -> None:
        """Step 1."""
        index = IndexFile(self._place.index)
        try:
            usable = index.check_form(self._findings)
            index.check_pages(self._findings, self._full)
            if usable:
                self._position = index.position()
                self._index = index
        finally:
            if self._index is None:
                index.close()

    def _check_ledger(self) -> None:
        """Step 2."""
        self._catalogue.advance()
        if self._catalogue.damaged:
            return
        reached = self._catalogue.sequence
        if not self._lines.segments:
            self._findings.add("ledger: it is not there")
        if self._lines.tail and not self._being_written:
            self._findings.add(f"ledger: it ends inside record {reached + 1}: not what was written, or an unclean stop")
        if self._position > reached:
            self._findings.add(f"ledger: it ends at record {reached}, and the index has reached {self._position}")
        elif self._index is not None and self._position < reached and not self._being_written:
            self._findings.add(f"index: it has reached record {self._position} of {reached}: start the server once")

    def _check_object(self, kept: Kept) -> InstanceRows | None:
        """Step 3; what the index has to say of the object, if every byte was read and found good."""
        try:
            with Blob(object_path(self._place.blobs, kept.address), self._keyring) as blob:
                if not self._full:
                    check_names(blob, kept)
                    return None
                rows = check_content(blob, kept, self._keyring, self._signers)
                with self._index_faults():
                    self._check_instance(kept, rows, blob)
                return rows
        except StorageError as error:
            if not self._erased_meanwhile(kept):
                self._findings.add(f"{kept}: {error}")
            return None

    def _erased_meanwhile(self, kept: Kept) -> bool:
        """Whether a server erased an object since the ledger was read."""
        if self._being_written:
            self._catalogue.advance()
        return self._catalogue.known(kept.number).erased is not None

    def _check_instance(self, kept: Kept, rows: InstanceRows, blob: Blob) -> None:
        """Every column of an instance; one that is not there is told of in step 4."""
        row = self._index.instance(kept.sop_instance_uid) if self._index is not None else None
        if row is None:
            return
        if self._being_written and row["ledger_sequence"] != kept.sequence:
            # It may have been taken away and restored since.
            self._catalogue.advance()
            kept = self._catalogue.known(kept.number)
        expected = {
            **rows.instance,
            "object_id": kept.object_id,
            "address": kept.address,
            "canonical_digest": blob.trailer.canonical_digest,
            "signatures": signatures_of(blob.trailer),
            "size": kept.size,
            "ledger_sequence": kept.sequence,
            "filed.study": kept.study_uid,
            "filed.series": kept.series_uid,
        }
        self._compare(f"{kept}: its row", row, expected)

    def _check_study(self, study_uid: str) -> None:
        """Steps 3 and 4 for all objects of a study, and its rows above them."""
        expected = ExpectedStudy()
        seen: set[int] = set()
        complete = self._follow(expected, study_uid, 0, self._position, seen)
        found: StudyRows | None = None
        with self._index_faults():
            found = self._index.study(study_uid) if self._index is not None else None
        reached = self._position
        if found is not None and found.position > reached:
            # The server went on. What the index has of the study by now, the ledger has too.
            self._catalogue.advance()
            complete &= self._follow(expected, study_uid, reached, found.position, seen)
            reached = found.position
        for kept in self._catalogue.objects(study_uid):
            if kept.number not in seen:
                self._check_object(kept)
        complete &= not self._catalogue.is_erased_after(study_uid, reached)
        if found is None or not complete or self._catalogue.damaged:
            return
        if not expected.empty:
            self._compare_study(expected, found, self._catalogue.labels(study_uid, reached), study_uid)
        elif found.study is not None:
            self._findings.add(f"{self._name(study_uid)} has a row, and nothing of it is kept")

    def _follow(self, expected: ExpectedStudy, study_uid: str, after: int, upto: int, seen: set[int]) -> bool:
        """Check a study's objects between two records, and expect the rows they leave; whether all were good."""
        complete = True
        last: Happening | None = None
        for happening in self._catalogue.happenings(study_uid, after, upto):
            if last is not None and last.sequence != happening.sequence:
                self._settle(expected, last)
            last = happening
            kept = happening.kept
            if kept.erased is not None:
                continue
            if happening.kind == "tombstoned":
                if self._was_kept(kept, happening.sequence):
                    expected.take(kept.series_uid, kept.sop_class_uid)
                continue
            rows = self._check_object(kept)
            seen.add(kept.number)
            if rows is None:
                complete = False
            else:
                expected.add(rows)
        if last is not None:
            self._settle(expected, last)
        return complete

    def _settle(self, expected: ExpectedStudy, last: Happening) -> None:
        """All that a record did to a study is done."""
        if last.kind == "tombstoned":
            expected.settle()
        said = self._catalogue.snapshot(last.sequence) if last.kind == "erased" else None
        if said is not None and not expected.empty:
            expected.say_again(said)

    def _was_kept(self, kept: Kept, sequence: int) -> bool:
        """Whether an object was there to be taken away; a second tombstone only gives another reason."""
        return self._catalogue.before(kept, sequence) in ("stored", "restored")

    def _compare_study(self, expected: ExpectedStudy, found: StudyRows, labels: frozenset[str], study_uid: str) -> None:
        name = self._name(study_uid)
        if found.study is None:
            self._findings.add(f"{name} has no row")
            return
        # Its seal has been looked at, or will be, with that of every other study.
        self._compare(name, found.study, {**expected.study(labels), "facts_seal": found.study["facts_seal"]})
        series = {row["series_uid"]: row for row in found.series}
        for uid, row in expected.series().items():
            kept = series.pop(uid, None)
            if kept is None:
                self._findings.add(f"{name} lacks a series")
            else:
                self._compare(f"{name}: a series of it", kept, row)
        if series:
            self._findings.add(f"{name} has {len(series)} series that no object is of")
        sets = expected.sets()
        for table in SET_TABLES:
            if set(found.sets[table]) != sets[table]:
                self._findings.add(f"{name}: table {table} is not what its objects say")

    def _name(self, study_uid: str) -> str:
        first = next(self._catalogue.happenings(study_uid, 0, LAST))
        return f"index: the study that record {first.sequence} began"

    def _check_rows(self) -> None:
        """Step 4: as many rows as objects, and each its own."""
        if self._index is None or self._catalogue.damaged:
            return
        if self._index.ahead():
            self._findings.add("index: it has rows beyond the position that it says it has reached")
        last = 0
        for row in self._index.instances():
            sequence = row["ledger_sequence"] if type(row["ledger_sequence"]) is int else -1
            kept = self._object_of(row, sequence)
            if kept is None:
                self._findings.add(f"index: the instance of row {row['id']} is not in the ledger")
                continue
            if kept.removed is not None and kept.removed <= self._position:
                self._findings.add(f"{kept}: the index has a row of it, and it was taken away")
                continue
            self._catalogue.mark_indexed(kept)
            if sequence < last:
                self._findings.add(f"{kept}: its row does not stand where it was stored")
            last = sequence
            if not self._full:
                self._compare(f"{kept}: its row", row, {**row, **_identity(kept)})
        # What was taken away before its row could be read, the ledger has known for longer than the index.
        self._catalogue.advance()
        for kept in self._catalogue.not_indexed(self._position):
            self._findings.add(f"{kept}: the index has no row of it")
        for number, (position, row) in enumerate(self._index.studies(), 1):
            name, key = f"index: study number {number} in it", self._keyring.ledger_key
            if not isinstance(row["study_uid"], str) or not self._keeps_study(row["study_uid"]):
                self._findings.add(f"{name} has no object")
            else:
                check_vouching(name, row, position, self._catalogue, key, self._findings)

    def _object_of(self, row: Row, sequence: int) -> Kept | None:
        """The object that a row of the index is of, by the record that it names."""
        if sequence > self._catalogue.sequence:
            self._catalogue.advance()
        return self._catalogue.at(sequence, str(row["sop_instance_uid"]))

    def _keeps_study(self, study_uid: str) -> bool:
        """Whether the ledger has an object of a study that the index speaks of."""
        if not self._catalogue.keeps_study(study_uid, self._position):
            # It may have begun since the ledger was read. The ledger came to know of it before the index did.
            self._catalogue.advance()
        return self._catalogue.keeps_study(study_uid, self._position)

    def _compare(self, name: str, found: Row, expected: Row) -> None:
        """Every column, its type included."""
        for column in sorted(expected.keys() | (found.keys() - _NOT_COMPARED)):
            there = column in found and column in expected
            if not there or type(found[column]) is not type(expected[column]) or found[column] != expected[column]:
                self._findings.add(f"{name}: {column.removeprefix('filed.')} is not what the object says")

    @contextmanager
    def _index_faults(self) -> Iterator[None]:
        """A database that cannot be read is a fault, and is not read any further."""
        try:
            yield
        except sqlite3.Error as error:
            self._findings.add(f"index: it cannot be read: {error}")
            index, self._index = self._index, None
            if index is not None:
                index.close()


def _identity(kept: Kept) -> Row:
    """What the ledger itself knows of a row."""
    return {
        "sop_class_uid": kept.sop_class_uid,
        "transfer_syntax": kept.transfer_syntax,
        "object_id": kept.object_id,
        "address": kept.address,
        "size": kept.size,
        "filed.study": kept.study_uid,
        "filed.series": kept.series_uid,
    }
