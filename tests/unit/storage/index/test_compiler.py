"""The compiler against a judge that knows only the words of `storage.index.predicate`."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, Text, create_engine, select
from sqlalchemy.dialects import postgresql

from storage.errors import IndexFault
from storage.index.columns import Level
from storage.index.compiler import SCALARS, SETS, compile_predicate
from storage.index.facts import label_text, labels_text
from storage.index.predicate import (
    EVERYTHING,
    NOTHING,
    AllOf,
    AnyOf,
    Compare,
    Constant,
    Holds,
    HoldsMatching,
    NotTrue,
    OneOf,
    OnlyHolds,
    Pattern,
    Predicate,
    Present,
    Wild,
    any_of,
)
from storage.index.schema import METADATA, SERIES, STUDY, STUDY_BODY_PART, STUDY_MODALITY, STUDY_PHYSICIAN
from tests.simulators.predicate_oracle import selects

HOSTILE = "%_*?[]^\\'\"-!aAbB1 äÄßé\u0301😀\U0010ffff\ud7ff\x01"
TEXTS = st.text(HOSTILE, max_size=4)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3)
STUDY_TEXTS = ("patient_id", "institution", "referring_physician")
STUDY_NUMBERS = ("study_date", "study_time")
SERIES_TEXTS = ("modality", "series_description")
SETS_USED = ("labels", "modalities", "modalities_in_study", "performing_physicians", "body_parts")
PARTS = st.lists(TEXTS | st.sampled_from(Wild), max_size=4).map(tuple)


def comparisons(texts: tuple[str, ...], numbers: tuple[str, ...]) -> st.SearchStrategy[Predicate]:
    operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    text, number, held = st.sampled_from(texts), st.sampled_from(numbers), st.sampled_from(SETS_USED)
    in_tables = st.sampled_from([name for name in SETS_USED if name != "labels"])
    return st.one_of(
        st.builds(Constant, st.booleans()),
        st.builds(Compare, text, operators, TEXTS),
        st.builds(Compare, number, operators, NUMBERS),
        st.builds(OneOf, text, st.lists(TEXTS, max_size=3).map(tuple), st.booleans()),
        st.builds(OneOf, number, st.lists(NUMBERS, max_size=3).map(tuple), st.booleans()),
        st.builds(Pattern, text, PARTS, st.booleans()),
        st.builds(Present, st.sampled_from(texts + numbers), st.booleans()),
        st.builds(Holds, held, st.lists(TEXTS, max_size=3).map(tuple), st.booleans(), st.booleans()),
        st.builds(HoldsMatching, in_tables, PARTS),
        st.builds(OnlyHolds, held, st.lists(TEXTS, max_size=3).map(tuple), st.booleans()),
    )


def predicates(texts: tuple[str, ...], numbers: tuple[str, ...]) -> st.SearchStrategy[Predicate]:
    return st.recursive(
        comparisons(texts, numbers),
        lambda inner: st.one_of(
            st.builds(AllOf, st.lists(inner, max_size=3).map(tuple)),
            st.builds(AnyOf, st.lists(inner, max_size=3).map(tuple)),
            st.builds(NotTrue, inner),
        ),
        max_leaves=8,
    )


ROWS = st.lists(
    st.fixed_dictionaries(
        {name: st.none() | TEXTS for name in STUDY_TEXTS + SERIES_TEXTS}
        | {name: st.none() | NUMBERS for name in STUDY_NUMBERS}
        | {name: st.frozensets(TEXTS, max_size=3) for name in SETS_USED if name != "modalities_in_study"}
        | {"later_modalities": st.frozensets(TEXTS, max_size=2)}
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def database() -> Iterator[Engine]:
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


def insert(connection: Connection, key: int, row: dict[str, object]) -> dict[str, object]:
    """Put one study with one series in; the row as the judge reads it."""
    needed = {column.name: "" if isinstance(column.type, Text) else 0 for column in STUDY.c if not column.nullable}
    scalars = {name: row[name] for name in STUDY_TEXTS + STUDY_NUMBERS} | {"labels": labels_text(row["labels"])}
    connection.execute(STUDY.insert().values({**needed, **scalars, "study_uid": str(key), "id": key}))
    series = {name: row[name] for name in SERIES_TEXTS}
    connection.execute(
        SERIES.insert().values(
            {**series, "id": key, "study_fk": key, "series_uid": str(key), "instance_count": 0, "differs": "{}"}
        )
    )
    fixed, later = row["modalities"], row["later_modalities"]
    for table, name in (
        (STUDY_PHYSICIAN, "performing_physicians"),
        (STUDY_BODY_PART, "body_parts"),
    ):
        for value in row[name]:
            connection.execute(table.insert().values(study_fk=key, value=value))
    for value in fixed | later:
        marks = {"fixed": value in fixed, "current": True}
        connection.execute(STUDY_MODALITY.insert().values(study_fk=key, value=value, **marks))
    return {**row, "modalities_in_study": fixed | later}


def selected(database: Engine, level: Level, predicate: Predicate, rows: list[dict[str, object]]) -> tuple[set, set]:
    with database.connect() as connection, connection.begin() as transaction:
        judged = {key for key, row in enumerate(rows, 1) if selects(predicate, insert(connection, key, row))}
        table = STUDY if level is Level.STUDY else SERIES.join(STUDY, SERIES.c.study_fk == STUDY.c.id)
        statement = select(STUDY.c.id).select_from(table).where(compile_predicate(predicate, level))
        found = connection.execute(statement).scalars().all()
        transaction.rollback()
    assert len(found) == len(set(found))
    return set(found), judged


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, predicate=predicates(STUDY_TEXTS, STUDY_NUMBERS))
def test_sql_selects_the_studies_that_the_words_of_the_predicate_select(database, rows, predicate):
    found, judged = selected(database, Level.STUDY, predicate, rows)
    assert found == judged


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS, predicate=predicates(STUDY_TEXTS + SERIES_TEXTS, STUDY_NUMBERS))
def test_sql_selects_the_series_that_the_words_of_the_predicate_select(database, rows, predicate):
    found, judged = selected(database, Level.SERIES, predicate, rows)
    assert found == judged


def one_row(**values: object) -> list[dict[str, object]]:
    empty: dict[str, object] = dict.fromkeys(STUDY_TEXTS + SERIES_TEXTS + STUDY_NUMBERS)
    empty |= {name: frozenset() for name in (*SETS_USED, "later_modalities")}
    return [{**empty, **values}]


@pytest.mark.parametrize("stored", ["20240101", "5"])
def test_a_text_never_equals_a_number_though_sqlite_would_convert_it(database, stored):
    rows = one_row(patient_id=stored, study_date=int(stored))

    def found(predicate: Predicate) -> bool:
        with database.connect() as connection, connection.begin() as transaction:
            insert(connection, 1, rows[0])
            hit = connection.execute(select(STUDY.c.id).where(compile_predicate(predicate, Level.STUDY))).first()
            transaction.rollback()
        return hit is not None

    assert not found(Compare("patient_id", "==", int(stored)))
    assert not found(Compare("study_date", "==", stored))
    assert not found(OneOf("study_date", (stored,)))
    assert not found(Pattern("study_date", (stored, Wild.ANY)))
    assert not found(Holds("labels", (int(stored),)))
    assert found(Compare("study_date", "!=", stored))
    assert found(OneOf("patient_id", (int(stored),), negated=True))
    assert not found(Compare("patient_id", "<", int(stored) + 1))
    assert found(NotTrue(Compare("patient_id", "<", int(stored) + 1)))


def test_a_pattern_with_a_nul_matches_nothing(database):
    assert selected(database, Level.STUDY, Pattern("patient_id", ("a\0", Wild.ANY)), one_row(patient_id="a")) == (
        set(),
        set(),
    )


def test_hundreds_of_terms_stay_within_the_depth_that_sqlite_parses(database):
    wide = any_of(*(AllOf((Compare("patient_id", "==", str(n)), Present("institution", False))) for n in range(3000)))
    found, judged = selected(database, Level.STUDY, wide, one_row(patient_id="2999"))
    assert found == judged == {1}


def test_values_are_bound_and_never_part_of_the_statement():
    hostile = "' OR 1=1 --"
    predicate = AnyOf(
        (
            Compare("patient_id", "==", hostile),
            OneOf("patient_id", (hostile,)),
            Pattern("patient_id", (hostile, Wild.ANY)),
            Holds("labels", (hostile,)),
            HoldsMatching("modalities", (hostile, Wild.ANY)),
            OnlyHolds("labels", (hostile,)),
        )
    )
    for dialect, adapter in (("sqlite", None), ("postgresql", postgresql.dialect())):
        assert hostile not in str(compile_predicate(predicate, Level.STUDY, dialect).compile(dialect=adapter))


def test_elsewhere_patterns_are_like_with_its_metacharacters_escaped():
    condition = compile_predicate(Pattern("patient_id", ("a%_\\", Wild.ANY, Wild.ONE)), Level.STUDY, "postgresql")
    compiled = condition.compile(dialect=postgresql.dialect())
    assert "LIKE" in str(compiled)
    assert "a\\%\\_\\\\%_" in compiled.params.values()


@pytest.mark.parametrize("attribute", ["", "facts", "id", "no_such", "modality; --"])
def test_an_attribute_that_nobody_declared_is_refused(attribute):
    with pytest.raises(IndexFault):
        compile_predicate(Present(attribute), Level.STUDY)
    with pytest.raises(IndexFault):
        compile_predicate(Holds(attribute, ()), Level.STUDY)


def test_labels_are_not_matched_with_patterns():
    with pytest.raises(IndexFault):
        compile_predicate(HoldsMatching("labels", ("a", Wild.ANY)), Level.STUDY)


LABELS = st.text("\\%50eC25\0a", max_size=4)


@given(st.frozensets(LABELS, max_size=4), st.lists(LABELS, max_size=3))
def test_a_label_is_found_among_others_whatever_is_in_them(held, asked):
    text = labels_text(held)
    assert "\0" not in text
    assert [label_text(label) in text for label in asked] == [label in held for label in asked]
    for label in asked:
        text = text.replace(label_text(label), "")
    assert text == labels_text(held - set(asked))


def test_an_attribute_below_the_level_is_refused():
    with pytest.raises(IndexFault):
        compile_predicate(Present("modality"), Level.STUDY)
    with pytest.raises(IndexFault):
        compile_predicate(Present("instance_number"), Level.SERIES)
    compile_predicate(Present("patient_id"), Level.IMAGE)


def test_everything_that_may_be_named_compiles_at_the_image_level():
    for name in SCALARS:
        compile_predicate(Present(name), Level.IMAGE)
    for name in SETS:
        compile_predicate(Holds(name, ("x",)), Level.PATIENT)
    assert compile_predicate(EVERYTHING, Level.STUDY) is not None
    assert compile_predicate(NOTHING, Level.STUDY) is not None
