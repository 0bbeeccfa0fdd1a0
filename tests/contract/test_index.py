"""What the index must do, run on each of its databases: rows in, matches out, and predicates as their words say."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from random import Random

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from sqlalchemy import Text, select

from archive.enforcement.attributes import resource_of
from archive.enforcement.scope import scope_of
from archive.enforcement.truth import NotCompilable
from auth.errors import PolicyInvalid
from auth.policy.model import AccessRequest, Action
from storage.errors import IndexFault, InstanceConflict
from storage.identifiers import ObjectId
from storage.index import narrowing
from storage.index.columns import SCALAR_FACTS, Level
from storage.index.compiler import compile_predicate
from storage.index.elements import document_of, document_text, element_text
from storage.index.engine import IndexEngine
from storage.index.facts import labels_text
from storage.index.matching import QUERY_RETRIEVE_LEVEL, FindQuery, QueryModel, QueryOptions, plan_find, plan_retrieve
from storage.index.postgresql import open_postgresql
from storage.index.predicate import EVERYTHING, NOTHING, AllOf, AnyOf, Compare, NotTrue, OneOf, Pattern, Present, Wild
from storage.index.reader import IndexReader
from storage.index.schema import STUDY, STUDY_BODY_PART, STUDY_MODALITY, STUDY_PHYSICIAN
from storage.index.sequences import QueryKey
from storage.index.state import advance, begin_rebuild, end_rebuild, position
from storage.index.writer import apply, label
from tests.simulators.indexed import CT, entry
from tests.simulators.postgresql import PostgreSql
from tests.simulators.predicate_oracle import selects
from tests.simulators.random_policies import PERSON, engine_of, policy_text, studies
from tests.simulators.subjects import assurance, node, person

STUDY_ROOT, PATIENT_ROOT = QueryModel.STUDY_ROOT, QueryModel.PATIENT_ROOT


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    cluster = PostgreSql()
    yield cluster
    cluster.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path) -> Iterator[IndexEngine]:
    if request.param == "sqlite":
        engine = IndexEngine.open(tmp_path / "index.sqlite")
    else:
        engine = open_postgresql(request.getfixturevalue("postgresql").database())
    yield engine
    engine.close()


@pytest.fixture
def reader(engine) -> IndexReader:
    return IndexReader(engine)


def store(engine, *entries):
    with engine.writing() as connection:
        return apply(connection, entries)


def study(number, date="", **values):
    return entry(f"1.{number}", study=f"2.{number}", series=f"3.{number}", StudyDate=date, **values)


def keys(level, *more, **values):
    made = [QueryKey(int(tag_for_keyword(name)), dictionary_VR(name)[:2], value) for name, value in values.items()]
    return [*made, *more, QueryKey(QUERY_RETRIEVE_LEVEL, "CS", level)]


def found(reader, level, *more, scope=EVERYTHING, page=500, model=STUDY_ROOT, options=QueryOptions(), **values):  # noqa: B008
    """The matches, as their unique key."""
    unique = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID"}.get(
        level, "SOPInstanceUID"
    )
    query = plan_find(model, keys(level, *more, **{unique: "", **values}), options)
    pages = list(reader.find(query, scope, page))
    assert all(1 <= len(matches) <= page for matches in pages)
    return [match.values[int(tag_for_keyword(unique))] for matches in pages for match in matches]


def test_a_transaction_is_whole_or_not_at_all(engine):
    with pytest.raises(ZeroDivisionError), engine.writing() as connection:
        advance(connection, 7)
        raise ZeroDivisionError
    with engine.reading() as connection:
        assert position(connection) == 0
    with engine.writing() as connection:
        advance(connection, 7)
        with engine.reading() as other:
            assert position(other) == 0
    with engine.reading() as connection:
        assert position(connection) == 7


def test_a_reading_connection_cannot_write(engine):
    with pytest.raises(IndexFault), engine.reading() as connection:
        advance(connection, 9)
    with engine.reading() as connection:
        assert position(connection) == 0


def test_a_fault_of_the_database_says_nothing_of_the_values(engine):
    store(engine, study(1, PatientName="SECRET^NAME"))
    with pytest.raises(IndexFault) as raised, engine.writing() as connection:
        connection.execute(STUDY.insert(), [{"study_uid": "2.1", "patient_name": "SECRET^NAME"}])
    assert "SECRET" not in str(raised.value)


def test_objects_labels_and_counts(engine, reader):
    assert store(engine, study(1, Modality="CT"), study(2, Modality="MR")) == [(), ()]
    later = entry("1.9", study="2.1", series="3.9", Modality="SR", PatientID="another")
    (differs,) = store(engine, later)
    assert differs == ("modalities", "patient_id")
    with pytest.raises(InstanceConflict):
        store(engine, replace(entry("1.1", study="2.1", series="3.1"), object_id=ObjectId("0" * 32)))
    with engine.writing() as connection:
        label(connection, "2.2", "research", present=True)
    assert reader.study_facts("2.2").labels == {"research"}
    query = plan_find(
        STUDY_ROOT, keys("STUDY", StudyInstanceUID="2.1", ModalitiesInStudy="", NumberOfStudyRelatedSeries="")
    )
    ((match,),) = reader.find(query, EVERYTHING)
    assert (match.values[0x00080061], match.values[0x00201206]) == ("CT\\SR", "2")
    kept = reader.lookup(["1.1", "1.9", "9.9"])
    assert set(kept) == {"1.1", "1.9"} and kept["1.1"].stored.key.study_uid == "2.1"
    assert [one.stored.key.sop_instance_uid for one in reader.kept(page=1)] == ["1.1", "1.2", "1.9"]


def test_a_rebuild_begins_with_nothing(engine, reader):
    store(engine, study(1))
    with engine.writing() as connection:
        begin_rebuild(connection)
        apply(connection, [study(2)])
        end_rebuild(connection)
    assert found(reader, "STUDY") == ["2.2"]


@pytest.mark.parametrize("page", [1, 2, 500])
def test_studies_come_newest_first_in_pages(engine, reader, page):
    dates = ["20191231", "20200101", "", "20200102", "20200102", "no date"]
    store(engine, *(study(number, date) for number, date in enumerate(dates)))
    assert found(reader, "STUDY", page=page) == ["2.4", "2.3", "2.1", "2.0", "2.5", "2.2"]
    assert found(reader, "STUDY", page=page, StudyDate="20200101-20200102") == ["2.4", "2.3", "2.1", "2.2"]
    assert found(reader, "STUDY", page=page, StudyDate="-20200101") == ["2.1", "2.0", "2.2"]


def test_patients_series_and_images(engine, reader):
    store(
        engine,
        entry("1.1", study="2.1", series="3.1", PatientID="b", Modality="CT"),
        entry("1.2", study="2.1", series="3.2", PatientID="b", Modality="MR"),
        entry("1.3", study="2.3", series="3.3", PatientID="B", Modality="CT"),
        entry("1.4", study="2.4", series="3.4", PatientID="ä", Modality="CT"),
        study(5),
    )
    # By code point, whatever the database would make of it.
    assert found(reader, "PATIENT", model=PATIENT_ROOT, page=2) == ["B", "b", "ä"]
    assert found(reader, "SERIES", StudyInstanceUID="2.1", Modality="M?") == ["3.2"]
    assert found(reader, "IMAGE", StudyInstanceUID="2.1", SeriesInstanceUID="3.1") == ["1.1"]
    query = plan_find(PATIENT_ROOT, keys("PATIENT", PatientID="b", NumberOfPatientRelatedInstances=""))
    ((match,),) = reader.find(query, EVERYTHING)
    assert match.values[0x00201204] == "2"
    assert [
        one.key.sop_instance_uid
        for one in reader.instances(
            plan_retrieve(STUDY_ROOT, keys("STUDY", StudyInstanceUID="2.1")).predicate, EVERYTHING
        )
    ] == ["1.1", "1.2"]


@pytest.mark.parametrize(
    ("keyword", "key", "expected"),
    [
        ("PatientName", "MULLER*", ["2.1"]),
        ("PatientName", "*rg", ["2.1"]),
        ("PatientName", "*ller*", ["2.1"]),
        ("PatientName", "*lle*jör*", ["2.1"]),
        ("PatientName", "?amada*", ["2.2"]),
        ("PatientName", "*lmada*", []),
        ("PatientName", "?üller^J*", ["2.1"]),
        ("PatientName", "山田*", ["2.2"]),
        ("PatientName", "*=山田^太郎", ["2.2"]),
        ("AccessionNumber", "100%", ["2.1"]),
        ("AccessionNumber", "1??%", ["2.1"]),
        ("AccessionNumber", "*_*", ["2.2"]),
        ("AccessionNumber", "a\\b*", ["2.3"]),
        ("AccessionNumber", "[1]*", []),
        ("AccessionNumber", "'", []),
        ("StudyID", "x", ["2.2", "2.3"]),
        ("StudyID", "X", ["2.2"]),
        ("StudyInstanceUID", "2.1\\2.3", ["2.1", "2.3"]),
        ("StudyTime", "1030-1130", ["2.1"]),
        ("ModalitiesInStudy", "MR\\C*", ["2.1", "2.2"]),
    ],
)
def test_keys_are_matched_alike(engine, reader, keyword, key, expected):
    store(
        engine,
        study(1, PatientName="Müller^Jörg", AccessionNumber="100%", StudyTime="1100", StudyID="1", Modality="CT"),
        study(2, PatientName="Yamada^Taro=山田^太郎", AccessionNumber="1_0", StudyTime="12", Modality="MR"),
        study(3, PatientName="Doe", AccessionNumber="a\\b c", StudyTime="0900", StudyID="x", Modality="US"),
    )
    assert sorted(found(reader, "STUDY", **{keyword: key})) == expected


@pytest.mark.parametrize("few", [0, 10_000])
def test_what_few_studies_have_is_found_whether_it_is_looked_for_or_come_across(engine, reader, monkeypatch, few):
    monkeypatch.setattr(narrowing, "FEW", few)
    long_name = "abc" * 200
    store(
        engine,
        study(1, PatientName="Müller^Jörg", Modality="CT"),
        study(2, PatientName="=山田^太郎^博士", Modality="XA"),
        study(3, PatientName=long_name, Modality=""),
        study(4, Modality="MR"),
    )
    unnamed, without = "2.4", "2.3"
    assert found(reader, "STUDY", PatientName="*ller*") == [unnamed, "2.1"]
    assert found(reader, "STUDY", PatientName="*太郎^博*") == [unnamed, "2.2"]
    assert found(reader, "STUDY", PatientName="*cab*") == [unnamed, "2.3"]
    assert found(reader, "STUDY", PatientName="*lle*", ModalitiesInStudy="CT") == ["2.1"]
    assert found(reader, "STUDY", ModalitiesInStudy="XA") == [without, "2.2"]
    assert found(reader, "STUDY", ModalitiesInStudy="XA\\MR", page=1) == [unnamed, without, "2.2"]
    assert found(reader, "STUDY", SOPClassesInStudy=CT) == ["2.4", "2.3", "2.2", "2.1"]


def test_elements_without_a_column_are_matched_alike(engine, reader):
    store(
        engine,
        study(1, OtherPatientIDs="A1\\B2", PatientBirthTime="1030", OtherPatientNames="X\\Müller^Jörg=山田"),
        study(2, OtherPatientIDs="C3", PatientBirthTime="1130", OtherPatientNames="Doe", MedicalAlerts='"\\\\'),
        study(3),
    )
    unknown = ["2.3"]
    assert sorted(found(reader, "STUDY", OtherPatientIDs="B?")) == ["2.1", *unknown]
    assert sorted(found(reader, "STUDY", OtherPatientNames="muller*")) == ["2.1", *unknown]
    assert sorted(found(reader, "STUDY", OtherPatientNames="山*")) == ["2.1", *unknown]
    assert sorted(found(reader, "STUDY", PatientBirthTime="1100-")) == ["2.2", *unknown]
    fuzzy = QueryOptions(fuzzy_names=True)
    assert sorted(found(reader, "STUDY", OtherPatientNames="jörg mül", options=fuzzy)) == ["2.1", *unknown]
    scope = Compare("patient_id", "==", "nobody")
    assert found(reader, "STUDY", OtherPatientIDs="B2", scope=scope) == []


CODE, CODES, MODIFIERS = 0x00080100, 0x00082218, 0x00082220


def test_sequences_are_matched_alike_at_every_depth(engine, reader):
    def region(value, *modifiers):
        inner = tuple(((CODE, b"SH", modifier.encode()),) for modifier in modifiers)
        return ((CODE, b"SH", value.encode()), (MODIFIERS, b"SQ", inner))

    def image(number, *regions):
        made = entry(f"1.{number}", study="2.1", series="3.1")
        text = document_text([element_text(CODES, (b"SQ", regions), ("utf8",))])
        return replace(made, rows=replace(made.rows, instance={**made.rows.instance, "elements": text}))

    store(engine, image(1, region("A", "M"), region("B", "N")), image(2, region("A", "N")), image(3))

    def asked(value, modifier):
        inner = (QueryKey(CODE, "SH", value), QueryKey(MODIFIERS, "SQ", None, ((QueryKey(CODE, "SH", modifier),),)))
        key = QueryKey(CODES, "SQ", None, (inner,))
        return found(reader, "IMAGE", key, StudyInstanceUID="2.1", SeriesInstanceUID="3.1")

    assert asked("A", "M") == ["1.1", "1.3"]
    assert asked("A", "N") == ["1.2", "1.3"]
    assert asked("A*", "") == ["1.1", "1.2", "1.3"]
    assert asked("Z", "") == ["1.3"]


TEXTS = ("a", "A", "ab", "a%b", "a_b", "a\\b", "[a]", "ä", "山", "\U0010ffff", "é*")
ROWS = [
    {"patient_id": TEXTS[at % 11], "study_date": 20200100 + at if at % 3 else None, "institution": TEXTS[at * 7 % 11]}
    for at in range(24)
]
PARTS = st.lists(st.sampled_from([*TEXTS, "", Wild.ANY, Wild.ONE]), max_size=4).map(tuple)
OPERATORS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
LEAVES = st.one_of(
    st.builds(
        Compare, st.just("patient_id"), st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.sampled_from(TEXTS)
    ),
    st.builds(
        Compare, st.just("study_date"), st.sampled_from(["==", "!=", "<", ">="]), st.integers(20200098, 20200126)
    ),
    st.builds(OneOf, st.just("institution"), st.lists(st.sampled_from(TEXTS), max_size=3).map(tuple), st.booleans()),
    st.builds(Pattern, st.sampled_from(["patient_id", "institution"]), PARTS, st.booleans()),
    st.builds(Present, st.sampled_from(["study_date", "patient_id"]), st.booleans()),
)
PREDICATES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
        st.builds(NotTrue, inner),
    ),
    max_leaves=6,
)


def test_any_predicate_selects_what_its_words_say_with_its_values_in_it_or_apart(engine, reader):
    store(
        engine,
        *(
            study(
                at,
                str(row["study_date"] or ""),
                PatientID=row["patient_id"],
                InstitutionName=row["institution"],
            )
            for at, row in enumerate(ROWS)
        ),
    )

    @settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(PREDICATES)
    def check(predicate):
        expected = sorted(f"2.{at}" for at, row in enumerate(ROWS) if selects(predicate, row))
        within = FindQuery(Level.STUDY, EVERYTHING, (0x0020000D,), ())
        asked = FindQuery(Level.STUDY, predicate, (0x0020000D,), ())
        for query, scope in ((within, predicate), (asked, EVERYTHING)):
            matches = [match for page in reader.find(query, scope) for match in page]
            assert sorted(match.row[0] for match in matches) == expected

    check()


STUDIES = studies(Random(7), 30)


@pytest.mark.parametrize("reckless", [False, True], ids=["validated", "failing"])
def test_rows_selected_by_a_policys_scope_are_the_studies_permitted(engine, tmp_path, reckless):
    """As `tests/unit/archive/enforcement/test_scope_in_sql`, fewer policies and every database."""
    with engine.writing() as connection:
        _insert(connection)
    telling = 0
    for seed in range(40):
        random = Random(seed)
        text = policy_text(random, reckless=reckless)
        who = person("r", **random.choice((PERSON, {})))
        request = AccessRequest(Action.RETRIEVE, node("r"), who, assurance(who))
        with suppress(PolicyInvalid, NotCompilable):
            policies = engine_of(tmp_path, text, validated=not reckless)
            scope = scope_of(policies.residuals(request))
            asked = [(facts.study_uid, resource_of(facts)) for facts in STUDIES]
            decisions = policies.decide_all(request, asked)
            permitted = {uid for (uid, _), decision in zip(asked, decisions, strict=True) if decision.permitted}
            condition = compile_predicate(scope, Level.STUDY, engine.dialect.name)
            with engine.reading() as connection:
                assert set(connection.execute(select(STUDY.c.study_uid).where(condition)).scalars()) == permitted, text
            telling += 0 < len(permitted) < len(STUDIES)
    assert telling > 4


def _insert(connection):
    needed = {column.name: "" if isinstance(column.type, Text) else 0 for column in STUDY.c if not column.nullable}
    sets = {
        "modalities": STUDY_MODALITY,
        "performing_physicians": STUDY_PHYSICIAN,
        "body_parts": STUDY_BODY_PART,
    }
    for number, facts in enumerate(STUDIES, start=1):
        row = {name: getattr(facts, name) for name in SCALAR_FACTS}
        row["labels"] = labels_text(facts.labels)
        connection.execute(STUDY.insert().values({**needed, **row, "id": number}))
        for name, table in sets.items():
            fixed = {name: True for name in ("fixed", "current") if name in table.c}
            for value in getattr(facts, name):
                connection.execute(table.insert().values(study_fk=number, value=value, **fixed))


def test_postgresql_is_written_by_one_archive_at_a_time(postgresql):
    url = postgresql.database()
    first = open_postgresql(url)
    with pytest.raises(IndexFault, match="another archive"):
        open_postgresql(url)
    first.close()
    open_postgresql(url).close()


def test_postgresql_of_another_version_is_refused_and_left_alone(postgresql):
    url = postgresql.database()
    open_postgresql(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE index_state SET value = '1' WHERE key = 'schema'")
    with pytest.raises(IndexFault, match="strongroom rebuild"):
        open_postgresql(url)


def test_a_database_that_is_not_there_is_a_fault(postgresql):
    with pytest.raises(IndexFault):
        open_postgresql(postgresql.database().replace("index", "nothing"))


def test_documents_of_any_text_are_read_back(engine, reader):
    texts = ['"', "\\", "'", "{}", "\u0001", "\U0010ffff", "山"]
    store(engine, *(study(at, PatientComments=text) for at, text in enumerate(texts)))
    query = plan_find(STUDY_ROOT, keys("STUDY", PatientComments="", StudyInstanceUID=""))
    values = {match.row[1]: match.row[0] for page in reader.find(query, NOTHING) for match in page}
    assert values == {}
    values = {match.row[1]: match.row[0] for page in reader.find(query, EVERYTHING) for match in page}
    assert [values[f"2.{at}"]["Value"] for at in range(len(texts))] == [[text] for text in texts]
    for at, text in enumerate(texts):
        assert found(reader, "STUDY", PatientComments=text) == [f"2.{at}"]
    assert document_of(None) == {}
