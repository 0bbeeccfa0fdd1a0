"""Pages of matches within a scope, beside a writer that does not wait."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword

from storage.errors import StoreNotReady
from storage.index.columns import BY_KEYWORD
from storage.index.engine import IndexEngine
from storage.index.matching import QUERY_RETRIEVE_LEVEL, FindQuery, QueryModel, plan_find, plan_retrieve
from storage.index.predicate import EVERYTHING, NOTHING, Compare, Predicate
from storage.index.reader import PAGE, IndexReader, Match, StudyNames
from storage.index.sequences import QueryKey
from storage.index.state import begin_rebuild, end_rebuild
from storage.index.writer import IndexEntry, apply
from tests.simulators.indexed import CT, EXPLICIT, entry

PATIENT_ROOT, STUDY_ROOT = QueryModel.PATIENT_ROOT, QueryModel.STUDY_ROOT


@pytest.fixture
def engine(tmp_path) -> Iterator[IndexEngine]:
    engine = IndexEngine.open(tmp_path / "index.sqlite")
    yield engine
    engine.close()


@pytest.fixture
def reader(engine) -> IndexReader:
    return IndexReader(engine)


def store(engine: IndexEngine, *entries: IndexEntry) -> None:
    with engine.writing() as connection:
        apply(connection, entries)


def keys(level: str, **values: str) -> list[QueryKey]:
    made = [QueryKey(int(tag_for_keyword(name)), dictionary_VR(name)[:2], value) for name, value in values.items()]
    return [*made, QueryKey(QUERY_RETRIEVE_LEVEL, "CS", level)]


def query(level: str, model: QueryModel = STUDY_ROOT, **values: str) -> FindQuery:
    return plan_find(model, keys(level, **values))


def flat(pages: Iterator[list[Match]], *keywords: str) -> list[tuple[str, ...]]:
    return [tuple(match.values[tag_for_keyword(name)] for name in keywords) for page in pages for match in page]


def study(number: int, date: str = "", **values: str) -> IndexEntry:
    return entry(f"1.{number}", study=f"2.{number}", series=f"3.{number}", StudyDate=date, **values)


def test_studies_come_newest_first_and_undated_ones_last(engine, reader):
    store(engine, study(1, "20200101"), study(2), study(3, "20240101"), study(4, "20240101"), study(5, "no date"))
    found = flat(reader.find(query("STUDY", StudyInstanceUID=""), EVERYTHING, 2), "StudyInstanceUID")
    assert found == [("2.4",), ("2.3",), ("2.1",), ("2.5",), ("2.2",)]


@pytest.mark.parametrize("page", [1, 2, 3, 500])
def test_a_range_of_dates_finds_the_range_and_the_undated(engine, reader, page):
    dates = ["20191231", "20200101", "", "20200102", "20200102", "20200103", "no date", ""]
    store(engine, *(study(number, date) for number, date in enumerate(dates)))
    found = flat(reader.find(query("STUDY", StudyDate="20200101-20200102"), EVERYTHING, page), "StudyDate")
    assert found == [("20200102",), ("20200102",), ("20200101",), ("",), ("",)]
    found = flat(reader.find(query("STUDY", StudyDate="-20200101"), EVERYTHING, page), "StudyDate")
    assert found == [("20200101",), ("20191231",), ("",), ("",)]
    found = flat(reader.find(query("STUDY", StudyDate="20200103-20200101"), EVERYTHING, page), "StudyDate")
    assert found == [("",), ("",)]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dates=st.lists(st.sampled_from(["", "20200101", "20200102", "20200103"]), max_size=8), page=st.integers(1, 5))
def test_pages_of_any_size_hold_every_study_once(tmp_path_factory, dates, page):
    engine = IndexEngine.open(tmp_path_factory.mktemp("pages") / "index.sqlite")
    if dates:
        store(engine, *(study(number, date) for number, date in enumerate(dates)))
    found = list(IndexReader(engine).find(query("STUDY", StudyInstanceUID=""), EVERYTHING, page))
    assert all(1 <= len(matches) <= page for matches in found)
    assert sorted(flat(iter(found), "StudyInstanceUID")) == sorted((f"2.{number}",) for number in range(len(dates)))
    engine.close()


def test_the_scope_is_and_ed_to_whatever_is_asked(engine, reader):
    store(engine, study(1, PatientID="mine"), study(2, PatientID="theirs"))
    scope = Compare("patient_id", "==", "mine")
    for asked in (query("STUDY", StudyInstanceUID=""), query("STUDY", StudyInstanceUID="2.1\\2.2")):
        assert flat(reader.find(asked, scope), "StudyInstanceUID") == [("2.1",)]
        assert flat(reader.find(asked, NOTHING), "StudyInstanceUID") == []
    for level, above in (("SERIES", {}), ("IMAGE", {"SeriesInstanceUID": "3.2"})):
        asked = query(level, StudyInstanceUID="2.2", **above)
        assert flat(reader.find(asked, scope)) == []
        assert len(flat(reader.find(asked, EVERYTHING))) == 1


def test_only_what_was_asked_for_is_returned_and_absent_values_are_empty(engine, reader):
    store(engine, study(1, PatientName="Müller^Jörg", PatientID="p"))
    (page,) = reader.find(query("STUDY", PatientName="", AccessionNumber="", NumberOfStudyRelatedSeries=""), EVERYTHING)
    assert dict(page[0].values) == {0x00100010: "Müller^Jörg", 0x00080050: "", 0x00201206: "1"}
    assert page[0].facts == reader.study_facts("2.1")
    assert "Jörg" not in repr(page[0])


def test_series_and_images_of_one_parent(engine, reader):
    store(
        engine,
        entry("1.1", series="3.1", Modality="CT", InstanceNumber="7", ImageType="ORIGINAL\\PRIMARY"),
        entry("1.2", series="3.1", Modality="CT", InstanceNumber="8"),
        entry("1.3", series="3.2", Modality="SR"),
        study(9),
    )
    asked = query("SERIES", StudyInstanceUID="1.2.1", Modality="", NumberOfSeriesRelatedInstances="")
    found = flat(reader.find(asked, EVERYTHING, 1), "StudyInstanceUID", "Modality", "NumberOfSeriesRelatedInstances")
    assert found == [("1.2.1", "CT", "2"), ("1.2.1", "SR", "1")]
    asked = query("IMAGE", StudyInstanceUID="1.2.1", SeriesInstanceUID="3.1", SOPInstanceUID="", InstanceNumber="8")
    assert flat(reader.find(asked, EVERYTHING), "SOPInstanceUID") == [("1.2",)]
    names = {"SOPClassUID": "", "AvailableTransferSyntaxUID": "", "ImageType": "", "InstanceNumber": ""}
    asked = query("IMAGE", StudyInstanceUID="1.2.1", SeriesInstanceUID="3.1", **names)
    assert flat(reader.find(asked, EVERYTHING, 1), *names) == [
        (CT, EXPLICIT, {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY"]}, "7"),
        (CT, EXPLICIT, None, "8"),
    ]


def test_patients_are_counted_within_the_scope_and_nameless_studies_are_no_patient(engine, reader):
    store(
        engine,
        study(1, PatientID="b", PatientName="Old", InstitutionName="x"),
        study(2, PatientID="b", PatientName="New", InstitutionName="x"),
        study(3, PatientID="b", PatientName="Hidden", InstitutionName="y"),
        study(4, PatientID="a", PatientName="Other", InstitutionName="x"),
        study(5, PatientName="Nameless", InstitutionName="x"),
        study(6, PatientID="c", InstitutionName="y"),
    )
    names = ("PatientID", "PatientName", "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedInstances")
    asked = query("PATIENT", PATIENT_ROOT, **dict.fromkeys(names, ""))
    scope = Compare("institution", "==", "x")
    expected = [("a", "Other", "1", "1"), ("b", "New", "2", "2")]
    for page in (1, 2, 500):
        assert flat(reader.find(asked, scope, page), *names) == expected
    (matches,) = reader.find(asked, scope)
    assert {match.facts.institution for match in matches} == {"x"}
    asked = query("PATIENT", PATIENT_ROOT, PatientID="b", PatientName="hid*")
    assert flat(reader.find(asked, scope), "PatientID") == []


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_every_attribute_can_be_asked_for_at_its_level(engine, reader, level):
    store(engine, entry("1.1", PatientID="p"))
    above = {"PATIENT": {}, "STUDY": {"PatientID": "p"}, "SERIES": {"PatientID": "p", "StudyInstanceUID": "1.2.1"}}
    above["IMAGE"] = {**above["SERIES"], "SeriesInstanceUID": "1.2.2"}
    at_level = {name: "" for name, attribute in BY_KEYWORD.items() if attribute.level.value == level}
    asked = query(level, PATIENT_ROOT, **above[level], **at_level)
    (page,) = reader.find(asked, EVERYTHING)
    assert page[0].values.keys() == {BY_KEYWORD[name].tag for name in (*above[level], *at_level)}
    assert all(isinstance(value, str) for value in page[0].values.values())


def test_what_is_stored_between_pages_neither_shifts_nor_repeats_a_match(engine, reader):
    store(engine, *(study(number, "20200101") for number in range(6)))
    pages = reader.find(query("STUDY", StudyInstanceUID=""), EVERYTHING, 2)
    found = flat(iter([next(pages)]), "StudyInstanceUID")
    store(engine, study(7, "20240101"), study(8, "20200101"), study(9, "20190101"))
    found += flat(pages, "StudyInstanceUID")
    assert [uid for (uid,) in found] == ["2.5", "2.4", "2.3", "2.2", "2.1", "2.0", "2.9"]


def test_no_transaction_is_open_between_pages(engine, reader, tmp_path):
    store(engine, *(study(number, "20200101") for number in range(4)))
    pages = reader.find(query("STUDY", StudyInstanceUID=""), EVERYTHING, 2)
    next(pages)
    store(engine, study(9, "20190101"))
    with closing(sqlite3.connect(tmp_path / "index.sqlite")) as connection:
        busy, log, checkpointed = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert (busy, log, checkpointed) == (0, 0, 0)
    assert len(flat(pages, "StudyInstanceUID")) == 3


def selected(reader: IndexReader, scope: Predicate, level: str, **values: str) -> list[str]:
    predicate = plan_retrieve(STUDY_ROOT, keys(level, **values)).predicate
    found = [instance.key.sop_instance_uid for instance in reader.instances(predicate, scope, 2)]
    assert reader.count(predicate, scope) == len(found)
    return found


def test_a_retrieval_selects_within_the_scope_in_the_order_of_storing(engine, reader):
    store(engine, *(entry(f"1.{n}", series=f"3.{n % 2}", InstitutionName="x") for n in range(5)), study(9))
    assert selected(reader, EVERYTHING, "STUDY", StudyInstanceUID="1.2.1") == [f"1.{n}" for n in range(5)]
    assert selected(reader, EVERYTHING, "STUDY", StudyInstanceUID="1.2.1\\2.9") == [
        *(f"1.{n}" for n in range(5)),
        "1.9",
    ]
    scope = Compare("institution", "==", "x")
    assert selected(reader, scope, "STUDY", StudyInstanceUID="1.2.1\\2.9") == [f"1.{n}" for n in range(5)]
    assert selected(reader, scope, "SERIES", StudyInstanceUID="1.2.1", SeriesInstanceUID="3.1") == ["1.1", "1.3"]
    image = {"StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "3.1", "SOPInstanceUID": "1.3\\1.4"}
    assert selected(reader, scope, "IMAGE", **image) == ["1.3"]
    assert selected(reader, NOTHING, "STUDY", StudyInstanceUID="1.2.1") == []


def test_what_is_kept_of_an_object_reads_back(engine, reader):
    put = entry("1.1", InstitutionName="x")
    store(engine, put)
    (kept,) = reader.kept()
    assert reader.lookup(["1.1", "1.2", "' OR 1=1"]) == {"1.1": kept}
    assert (kept.canonical_digest, kept.signatures, kept.ledger_sequence) == (put.canonical_digest, put.signatures, 1)
    stored = kept.stored
    assert (stored.object_id, stored.address, stored.size) == (put.object_id, put.address, 1000)
    assert (stored.transfer_syntax, stored.facts) == (EXPLICIT, put.rows.facts)
    assert (stored.key.study_uid, stored.key.series_uid, stored.key.sop_class_uid) == ("1.2.1", "1.2.2", CT)
    assert reader.study_facts("9") is None


def test_while_the_index_is_rebuilt_nobody_is_answered(engine, reader):
    store(engine, entry("1.1"))
    with engine.writing() as connection:
        begin_rebuild(connection)
        apply(connection, [entry("1.1")])
    asked = query("STUDY", StudyInstanceUID="")
    for ask in (lambda: reader.find(asked, EVERYTHING), lambda: reader.instances(EVERYTHING, EVERYTHING)):
        with pytest.raises(StoreNotReady):
            ask()
    with pytest.raises(StoreNotReady):
        reader.count(EVERYTHING, EVERYTHING)
    assert len(list(reader.kept())) == 1
    with engine.writing() as connection:
        end_rebuild(connection)
    assert reader.count(EVERYTHING, EVERYTHING) == 1


def test_a_reader_beside_a_live_writer_sees_what_is_committed(engine, reader, tmp_path):
    beside = IndexEngine.open_read_only(tmp_path / "index.sqlite")
    store(engine, entry("1.1"))
    assert [kept.stored.key.sop_instance_uid for kept in IndexReader(beside).kept()] == ["1.1"]
    beside.close()


def test_studies_are_named_for_the_audit_however_many_are_asked_about(engine, reader):
    named = [study(number, PatientID=f"P{number}", PatientName=f"DOE^{number}") for number in range(3)]
    store(engine, *named, study(9, AccessionNumber="A9"))
    asked = [f"2.{number}" for number in range(PAGE + 10)]
    names = reader.study_names(asked)
    assert set(names) == {"2.0", "2.1", "2.2", "2.9"}
    assert names["2.1"] == StudyNames("P1", "DOE^1", "") and names["2.9"] == StudyNames("", "", "A9")
