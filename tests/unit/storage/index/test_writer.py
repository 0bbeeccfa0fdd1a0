"""What becomes of a study when its second instance disagrees with the first."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from storage.errors import IndexFault, InstanceConflict
from storage.identifiers import ObjectId
from storage.index.columns import Level
from storage.index.engine import IndexEngine
from storage.index.matching import FindQuery
from storage.index.predicate import EVERYTHING, Holds, Predicate
from storage.index.reader import IndexReader
from storage.index.state import begin_rebuild
from storage.index.writer import IndexEntry, apply, label
from tests.simulators.indexed import entry, rows

COUNTS = (0x00201206, 0x00201208, 0x00080061, 0x00080062)


@pytest.fixture
def engine(tmp_path) -> Iterator[IndexEngine]:
    engine = IndexEngine.open(tmp_path / "index.sqlite")
    yield engine
    engine.close()


@pytest.fixture
def reader(engine) -> IndexReader:
    return IndexReader(engine)


def store(engine: IndexEngine, *entries: IndexEntry) -> list[tuple[str, ...]]:
    with engine.writing() as connection:
        return apply(connection, entries)


def studies(reader: IndexReader, scope: Predicate = EVERYTHING) -> list[tuple[str, ...]]:
    query = FindQuery(Level.STUDY, EVERYTHING, COUNTS, ())
    return [tuple(match.values[tag] for tag in COUNTS) for page in reader.find(query, scope) for match in page]


def test_the_first_instance_fixes_the_study_and_a_later_one_is_reported(engine, reader):
    assert store(engine, entry("1.1", InstitutionName="North", PatientID="p")) == [()]
    later = entry("1.2", series="1.2.9", InstitutionName="South", PatientID="p", StationName="s")
    assert store(engine, later) == [("institution", "station")]
    facts = reader.study_facts("1.2.1")
    assert (facts.institution, facts.station, facts.patient_id) == ("North", None, "p")
    assert reader.lookup(["1.2"])["1.2"].stored.facts == facts


def test_the_order_inside_a_batch_counts_as_the_order_of_batches(engine, reader):
    told = store(engine, entry("1.1", InstitutionName="North"), entry("1.2", InstitutionName="South"))
    assert told == [(), ("institution",)]
    assert reader.study_facts("1.2.1").institution == "North"


def test_a_series_is_reported_once_for_each_value(engine):
    store(engine, entry("1.1", StationName="a"))
    differing = [entry(f"1.{n}", series="1.2.9", StationName=station) for n, station in enumerate("bbcc", start=2)]
    assert store(engine, *differing[:1]) == [("station",)]
    assert store(engine, *differing[1:]) == [(), ("station",), ()]
    assert store(engine, entry("1.9", series="1.2.8", StationName="b")) == [("station",)]


def test_a_later_modality_is_found_but_never_read_by_policy(engine, reader):
    store(engine, entry("1.1", Modality="CT"))
    assert store(engine, entry("1.2", series="1.2.9", Modality="SR")) == [("modalities",)]
    assert studies(reader) == [("2", "2", "CT\\SR", "1.2.840.10008.5.1.4.1.1.2")]
    assert reader.study_facts("1.2.1").modalities == {"CT"}
    assert studies(reader, Holds("modalities", ("SR",))) == []
    assert len(studies(reader, Holds("modalities_in_study", ("SR",)))) == 1


def test_counts_grow_by_batch_and_instance(engine, reader):
    store(engine, entry("1.1"), entry("1.2"), entry("1.3", series="1.2.9"))
    store(engine, entry("1.4"), entry("2.1", study="2", series="2.2"))
    found = [(series, instances) for series, instances, *_ in studies(reader)]
    assert sorted(found) == [("1", "1"), ("2", "4")]


def test_a_batch_applied_again_changes_nothing(engine, reader):
    batch = [entry("1.1", StationName="a"), entry("1.2", StationName="b")]
    assert store(engine, *batch) == [(), ("station",)]
    before = studies(reader)
    assert store(engine, *batch, batch[0]) == [(), (), ()]
    assert studies(reader) == before


def test_another_object_under_a_kept_uid_is_a_fault_and_nothing_is_written(engine, reader):
    store(engine, entry("1.1"))
    other = replace(entry("1.1"), object_id=ObjectId("0" * 32))
    with pytest.raises(InstanceConflict):
        store(engine, entry("1.2"), other)
    assert list(reader.lookup(["1.1", "1.2"])) == ["1.1"]
    with pytest.raises(InstanceConflict):
        store(engine, entry("1.3"), replace(entry("1.3"), object_id=ObjectId("0" * 32)))


def test_a_series_uid_used_in_two_studies_is_two_series(engine, reader):
    store(engine, entry("1.1", study="1.2.1", series="9"), entry("1.2", study="1.2.2", series="9"))
    kept = reader.lookup(["1.1", "1.2"])
    assert [kept[uid].stored.key.study_uid for uid in ("1.1", "1.2")] == ["1.2.1", "1.2.2"]
    assert [series for series, *_ in studies(reader)] == ["1", "1"]


def test_labels_come_and_go_and_are_part_of_the_facts(engine, reader):
    store(engine, entry("1.1"))
    with engine.writing() as connection:
        label(connection, "1.2.1", "re'search", present=True)
        label(connection, "1.2.1", "re'search", present=True)
    assert reader.study_facts("1.2.1").labels == {"re'search"}
    assert len(studies(reader, Holds("labels", ("re'search",)))) == 1
    with engine.writing() as connection:
        label(connection, "1.2.1", "re'search", present=False)
        label(connection, "1.2.1", "re'search", present=False)
    assert reader.study_facts("1.2.1").labels == frozenset()
    assert studies(reader, Holds("labels", ("re'search",))) == []


def test_a_label_is_not_undone_by_a_later_instance(engine, reader):
    store(engine, entry("1.1"))
    with engine.writing() as connection:
        label(connection, "1.2.1", "restricted", present=True)
    assert store(engine, entry("1.2")) == [()]
    assert reader.study_facts("1.2.1").labels == {"restricted"}


def test_a_label_of_a_study_that_is_gone_waits_for_its_return(engine, reader):
    with engine.writing() as connection:
        for text in ("restricted", "old", "restricted"):
            label(connection, "1.2.1", text, present=True)
        label(connection, "1.2.1", "old", present=False)
    store(engine, entry("1.1"), entry("1.9", study="1.2.9"))
    assert reader.study_facts("1.2.1").labels == {"restricted"}
    assert reader.study_facts("1.2.9").labels == frozenset()
    assert len(studies(reader, Holds("labels", ("restricted",)))) == 1


def test_a_rebuild_begins_with_an_empty_index(engine, reader):
    store(engine, entry("1.1", Modality="CT", BodyPartExamined="HEAD", PerformingPhysicianName="A"))
    with engine.writing() as connection:
        label(connection, "1.2.1", "x", present=True)
        begin_rebuild(connection)
    assert reader.study_facts("1.2.1") is None
    assert list(reader.kept()) == []
    assert store(engine, entry("1.1", Modality="CT")) == [()]


@pytest.mark.parametrize("value", ["%' OR 1=1 --", '"; DROP TABLE study', "*[?]_\\x", "\u202e\U0001f600"])
def test_hostile_values_are_data(engine, reader, value):
    values = dict.fromkeys(("PatientID", "PatientName", "Modality", "InstitutionName", "PatientAddress"), value)
    store(engine, entry("1.1", **values))
    facts = reader.study_facts("1.2.1")
    assert facts.patient_id == value
    assert facts.modalities == frozenset(value.split("\\"))
    assert facts == rows("1.1", **values).facts


def test_a_transaction_that_fails_later_takes_the_rows_with_it(engine, reader):
    with pytest.raises(IndexFault), engine.writing() as connection:
        apply(connection, [entry("1.1")])
        connection.exec_driver_sql("SELECT no_such_function()")
    assert studies(reader) == []
