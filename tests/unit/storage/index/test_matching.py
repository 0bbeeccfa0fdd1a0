"""Keys against a straightforward reading of PS3.4 C.2.2.2, and identifiers against the hierarchy of C.4.1.3.1.1."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword

from storage.errors import IdentifierInvalid
from storage.index.columns import BY_KEYWORD, Level
from storage.index.elements import document_of
from storage.index.keys import MAX_VALUES, MAX_WILDCARDS
from storage.index.matching import (
    NO_OPTIONS,
    QUERY_RETRIEVE_LEVEL,
    FindQuery,
    QueryModel,
    QueryOptions,
    plan_find,
    plan_retrieve,
)
from storage.index.predicate import Compare, OneOf
from storage.index.sequences import QueryKey
from tests.simulators.indexed import rows
from tests.simulators.predicate_oracle import selects

PATIENT_ROOT, STUDY_ROOT = QueryModel.PATIENT_ROOT, QueryModel.STUDY_ROOT
HOSTILE = "%_*?[]^'\"-!aAbB1;"


def keys(level: str | None, **values: str) -> list[QueryKey]:
    made = [QueryKey(BY_KEYWORD[name].tag, BY_KEYWORD[name].vr, value) for name, value in values.items()]
    return made + ([QueryKey(QUERY_RETRIEVE_LEVEL, "CS", level)] if level is not None else [])


def find(level: str | None, model: QueryModel = STUDY_ROOT, **values: str) -> FindQuery:
    return plan_find(model, keys(level, **values))


def matches(keyword: str, key: str, stored: str) -> bool:
    """Whether a study (with one series) that stores a value is found by a key."""
    level = BY_KEYWORD[keyword].level
    above = {} if level.depth < 2 else {"StudyInstanceUID": "1.2.1"}
    query = find("STUDY" if level is Level.PATIENT else level.value, **above, **{keyword: key})
    kept = rows(**{keyword: stored})
    sets = {"modalities_in_study": kept.facts.modalities, "sop_classes_in_study": frozenset()}
    return selects(query.predicate, {**kept.study, **kept.series, **sets})


def document(**values: str) -> dict[str, object]:
    """A study's elements without a column, as the oracle reads them."""
    return dict(document_of(rows(**values).study["elements"]))


def element_matches(keyword: str, key: str, stored: str, options: QueryOptions = NO_OPTIONS) -> bool:
    """Whether a study that stores a value without a column is found by a key."""
    tag = int(tag_for_keyword(keyword))
    asked = [*keys("STUDY"), QueryKey(tag, dictionary_VR(tag)[:2], key)]
    query = plan_find(STUDY_ROOT, asked, options)
    assert (query.returned, query.unsupported) == ((tag,), ())
    return selects(query.predicate, document(**{keyword: stored}))


def wild(key: str) -> str:
    """A wildcard key as a regular expression (PS3.4 C.2.2.2.4)."""
    return "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in key)


@given(key=st.text(HOSTILE, max_size=6), stored=st.text(HOSTILE, max_size=6))
def test_text_matches_exactly_or_by_wildcards_and_nothing_else_is_special(key, stored):
    expected = not stored or re.fullmatch(wild(key), stored, re.DOTALL) is not None or not key
    assert matches("AccessionNumber", key, stored) is expected
    assert matches("SeriesDescription", key, stored) is expected


@given(key=st.text("aAbB*?^é", max_size=7), stored=st.text("aAbBé^", max_size=5))
def test_names_match_without_case_accents_and_trailing_empty_components(key, stored):
    def plain(text: str) -> str:
        return unicodedata.normalize("NFKD", text).replace("\u0301", "").lower()

    # A name stands for itself with any number of empty components after it; only ``^`` and ``*`` reach those.
    special = {"*": ".*", "?": "[^\0]", "^": "[\\^\0]"}
    pattern = "".join(special.get(character, character) for character in plain(key))
    name = plain(stored).rstrip("^")
    found = any(re.fullmatch(pattern, name + "\0" * empty) for empty in range(len(key) + 1))
    assert matches("PatientName", key, stored) is (found or not name or not key.strip("^"))


@given(key=st.text("12-", max_size=17) | st.from_regex(r"20(19|2[0-3])0[1-9]-?(20210[1-9]0[1-9])?", fullmatch=True))
def test_a_date_key_is_a_date_a_range_or_refused(key):
    valid = re.fullmatch(r"(\d{8})?-?(\d{8})?", key) is not None and key not in ("", "-")
    valid = valid and all(1 <= int(d[4:6]) <= 12 and 1 <= int(d[6:]) <= 31 for d in re.findall(r"\d{8}", key))
    valid = valid and not (len(key) == 16 and "-" not in key)
    if not key:
        return
    if not valid:
        with pytest.raises(IdentifierInvalid):
            find("STUDY", StudyDate=key)
        return
    first, _, last = key.partition("-") if "-" in key else (key, "", key)
    for stored in ("20200101", "20210505", "19991231", key[:8].replace("-", "") if len(key) >= 8 else ""):
        if len(stored) == 8:
            assert matches("StudyDate", key, stored) is ((first or "0") <= stored <= (last or "9"))
    assert matches("StudyDate", key, "")


TIMES = st.from_regex(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9](\.[0-9]{1,6})?)?)?", fullmatch=True)


@given(first=TIMES, last=TIMES, stored=TIMES)
def test_times_match_by_what_they_mean_and_ranges_include_their_ends(first, last, stored):
    def start(time: str) -> str:
        return time + "000000.000000"[len(time) :]

    def end(time: str) -> str:
        return time + "999999.999999"[len(time) :]

    moment = start(stored)
    assert matches("StudyTime", first, stored) is (moment == start(first))
    assert matches("StudyTime", f"{first}-", stored) is (start(first) <= moment)
    assert matches("StudyTime", f"-{last}", stored) is (moment <= end(last))
    if start(first) <= end(last):
        assert matches("StudyTime", f"{first}-{last}", stored) is (start(first) <= moment <= end(last))
    else:
        assert not matches("StudyTime", f"{first}-{last}", stored)


@pytest.mark.parametrize(
    ("keyword", "key", "stored", "found"),
    [
        ("StudyTime", "2230", "223000", True),
        ("StudyTime", "22:30", "223000", True),
        ("StudyDate", "20200101", "2020.01.01", True),
        ("StudyDate", "20200101-20200131", "no date", False),
        ("StudyDate", "*", "no date", True),
        ("StudyInstanceUID", "1.2.1", "1.2.1", True),
        ("StudyInstanceUID", "1.2.9\\1.2.1", "1.2.1", True),
        ("StudyInstanceUID", "1.2.9\\1.2.8", "1.2.1", False),
        ("StudyInstanceUID", "1.2.*", "1.2.1", False),
        ("StudyInstanceUID", "1.2.?", "1.2.1", False),
        ("PatientAge", "0*Y", "010Y", False),
        ("SeriesNumber", "?", "1", False),
        ("SeriesNumber", "1", " 1", True),
        ("PatientSex", "?", "F", True),
        ("PatientSex", "f", "F", False),
        ("StudyID", "100%", "100%", True),
        ("StudyID", "100%", "1000", False),
        ("StudyID", "_", "x", False),
        ("StudyID", "[a]*", "a", False),
        ("StudyID", "[a]*", "[a]b", True),
        ("StudyID", "'", "'", True),
        ("AccessionNumber", "a\\b", "a\\b", True),
        ("AccessionNumber", "a", "a\\b", False),
        ("ModalitiesInStudy", "CT", "", True),
        ("PatientName", "MULLER*", "Müller^Jörg", True),
        ("PatientName", "doe^*", "DOE", True),
        ("PatientName", "doe^john", "DOE^JOHN^^", True),
        ("PatientName", "yamada^tarou", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("PatientName", "山田*", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("PatientName", "*=山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう", True),
        ("PatientName", "yamada*=鈴木*", "Yamada^Tarou=山田^太郎=やまだ^たろう", False),
        ("PatientName", "김?^*", "Kim^Hie=김희", True),
        ("PatientName", "김??", "Kim^Hie=김희", False),
        ("PatientName", "*=김?", "Kim^Hie=김희", True),
        ("PatientName", "DOE", "^^^^", True),
        ("PatientName", "=", "DOE", True),
    ],
)
def test_a_key_and_a_stored_value(keyword, key, stored, found):
    if keyword == "StudyInstanceUID":
        assert selects(find("STUDY", StudyInstanceUID=key).predicate, {"study_uid": stored}) is found
    elif keyword == "ModalitiesInStudy":
        query = find("STUDY", ModalitiesInStudy=key)
        held = {"modalities_in_study": {stored} - {""}, "modalities_in_study_text": stored or None}
        assert selects(query.predicate, held) is found
    else:
        assert matches(keyword, key, stored) is found


@pytest.mark.parametrize(("key", "found"), [("CT", True), ("C?", True), ("MR\\CT", True), ("ct", False), ("M*", False)])
def test_modalities_in_study_match_any_of_the_studys_series(key, found):
    query = find("STUDY", ModalitiesInStudy=key)
    held = {"modalities_in_study": {"CT", "SR"}, "modalities_in_study_text": "CT\\SR"}
    assert selects(query.predicate, held) is found


@pytest.mark.parametrize(
    "keyword", ["PatientName", "StudyDate", "StudyTime", "AccessionNumber", "PatientID", "StudyID"]
)
def test_an_asterisk_alone_is_universal_whatever_the_vr(keyword):
    assert find("STUDY", **{keyword: "*"}).predicate == find("STUDY").predicate


@pytest.mark.parametrize("stored", ["", "DOE"])
def test_a_required_key_with_a_zero_length_stored_value_matches(stored):
    assert matches("StudyID", "X", stored) is (stored == "")
    assert matches("PatientID", "X", stored) is (stored == "")


def test_the_unique_key_of_the_level_does_not_match_an_absent_value():
    query = find("PATIENT", PATIENT_ROOT, PatientID="X")
    assert query.predicate == Compare("patient_id", "==", "X")


@pytest.mark.parametrize("key", ["2020", "20201301", "20200101-20200102-20200103", "-", "20200101*", "today"])
def test_a_date_key_that_is_no_date_is_refused(key):
    with pytest.raises(IdentifierInvalid):
        find("STUDY", StudyDate=key)


@pytest.mark.parametrize("key", ["2460", "25", "1", "10:", "1000-1100-1200", "noon", "1?"])
def test_a_time_key_that_is_no_time_is_refused(key):
    with pytest.raises(IdentifierInvalid):
        find("STUDY", StudyTime=key)


def test_a_time_range_does_not_cross_midnight():
    assert not matches("StudyTime", "2200-0600", "230000")
    assert not matches("StudyTime", "2200-0600", "050000")


def test_a_list_of_uids_is_bounded():
    assert find("STUDY", StudyInstanceUID="\\".join(["1.2"] * MAX_VALUES)).predicate
    with pytest.raises(IdentifierInvalid):
        find("STUDY", StudyInstanceUID="\\".join(["1.2"] * (MAX_VALUES + 1)))


def test_wildcards_in_a_key_are_bounded():
    assert find("STUDY", StudyID="?" * MAX_WILDCARDS).predicate
    with pytest.raises(IdentifierInvalid):
        find("STUDY", StudyID="*a" * (MAX_WILDCARDS + 1))
    with pytest.raises(IdentifierInvalid):
        find("STUDY", ModalitiesInStudy="\\".join(["C?"] * (MAX_WILDCARDS + 1)))


def test_a_key_that_is_no_text_is_refused():
    with pytest.raises(IdentifierInvalid):
        find("STUDY", StudyID="\ud800")


@pytest.mark.parametrize(
    ("model", "level", "values"),
    [
        (STUDY_ROOT, None, {}),
        (STUDY_ROOT, "", {}),
        (STUDY_ROOT, "PATIENT", {"PatientID": "X"}),
        (STUDY_ROOT, "FRAME", {}),
        (STUDY_ROOT, "study", {}),
        (STUDY_ROOT, "SERIES", {}),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": ""}),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": "*"}),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": "1.2\\1.3"}),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": "1.02"}),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": "1.2", "StudyDate": ""}),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": "1.2", "PatientName": "DOE"}),
        (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.2"}),
        (STUDY_ROOT, "IMAGE", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "Modality": ""}),
        (PATIENT_ROOT, "STUDY", {"StudyInstanceUID": "1.2"}),
        (PATIENT_ROOT, "STUDY", {"PatientID": "X*"}),
        (PATIENT_ROOT, "STUDY", {"PatientID": "X", "PatientName": ""}),
        (PATIENT_ROOT, "SERIES", {"PatientID": "X"}),
    ],
)
def test_an_identifier_that_breaks_the_hierarchy_is_refused(model, level, values):
    with pytest.raises(IdentifierInvalid) as refused:
        plan_find(model, keys(level, **values))
    assert refused.value.number == 207


def test_a_key_that_occurs_twice_is_refused():
    with pytest.raises(IdentifierInvalid):
        plan_find(STUDY_ROOT, keys("STUDY", StudyID="1") + keys(None, StudyID="2"))


def test_study_root_takes_patient_attributes_as_keys_of_the_study():
    query = find("STUDY", PatientName="DOE", PatientID="X")
    assert query.returned == (0x00100010, 0x00100020)
    assert query.unsupported == ()


def test_study_root_below_the_study_tolerates_a_patient_id_which_narrows():
    query = find("SERIES", StudyInstanceUID="1.2", PatientID="X", Modality="")
    assert not selects(query.predicate, {"study_uid": "1.2", "patient_id": "Y"})
    assert selects(query.predicate, {"study_uid": "1.2", "patient_id": "X"})
    assert query.returned == (0x00080060, 0x00100020, 0x0020000D)


def test_what_is_not_matched_is_told_apart():
    lower = [QueryKey(0x00081140, "SQ", None, ()), QueryKey(0x00091001, "LO", "x"), QueryKey(0x7FE00010, "OW", None)]
    query = plan_find(STUDY_ROOT, keys("STUDY", StudyID="", Modality="CT", NumberOfStudyRelatedSeries="3") + lower)
    assert query.returned == (0x00200010, 0x00201206)
    assert query.unsupported == (0x00080060, 0x00081140, 0x00091001, 0x00201206, 0x7FE00010)
    assert query.predicate == find("STUDY").predicate


def test_counts_over_a_patients_studies_belong_to_the_patient_root():
    assert find("STUDY", NumberOfPatientRelatedStudies="").unsupported == (0x00201200,)
    assert find("PATIENT", PATIENT_ROOT, NumberOfPatientRelatedStudies="").returned == (0x00201200,)


def test_elements_that_describe_the_identifier_are_neither_matched_nor_unsupported():
    described = [
        QueryKey(0x00080005, "CS", "ISO_IR 192"),
        QueryKey(0x00080054, "AE", ""),
        QueryKey(0x00080000, "UL", "8"),
    ]
    query = plan_find(STUDY_ROOT, keys("STUDY") + described)
    assert (query.returned, query.unsupported) == ((), ())


def test_a_retrieval_selects_by_lists_of_uids_at_its_level():
    query = plan_retrieve(STUDY_ROOT, keys("STUDY", StudyInstanceUID="1.2\\1.3"))
    assert query.predicate == OneOf("study_uid", ("1.2", "1.3"))
    query = plan_retrieve(
        STUDY_ROOT, keys("IMAGE", StudyInstanceUID="1.2", SeriesInstanceUID="1.3", SOPInstanceUID="1.4")
    )
    row = {"study_uid": "1.2", "series_uid": "1.3", "sop_instance_uid": "1.4"}
    assert selects(query.predicate, row)
    for name in row:
        assert not selects(query.predicate, {**row, name: "1.9"})


def test_a_retrieval_of_a_patient_takes_the_id_literally():
    query = plan_retrieve(PATIENT_ROOT, keys("PATIENT", PatientID="%*"))
    assert selects(query.predicate, {"patient_id": "%*"})
    assert not selects(query.predicate, {"patient_id": "%x"})
    assert not selects(query.predicate, {"patient_id": None})


@pytest.mark.parametrize(
    ("model", "level", "values"),
    [
        (STUDY_ROOT, None, {"StudyInstanceUID": "1.2"}),
        (STUDY_ROOT, "STUDY", {}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": ""}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": "*"}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": "1.2.*"}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": "1.2", "StudyDate": "20200101"}),
        (STUDY_ROOT, "STUDY", {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3"}),
        (STUDY_ROOT, "SERIES", {"SeriesInstanceUID": "1.3"}),
        (STUDY_ROOT, "SERIES", {"StudyInstanceUID": "1.2\\1.4", "SeriesInstanceUID": "1.3"}),
        (PATIENT_ROOT, "STUDY", {"StudyInstanceUID": "1.2"}),
        (PATIENT_ROOT, "PATIENT", {"PatientID": ""}),
    ],
)
def test_a_retrieval_that_would_select_more_than_it_names_is_refused(model, level, values):
    with pytest.raises(IdentifierInvalid):
        plan_retrieve(model, keys(level, **values))


def test_a_relational_retrieval_names_its_level_and_of_those_above_what_it_likes():
    def plan(model, level, **values):
        return plan_retrieve(model, keys(level, **values), relational=True).predicate

    assert plan(STUDY_ROOT, "IMAGE", SOPInstanceUID="1.4\\1.5") == OneOf("sop_instance_uid", ("1.4", "1.5"))
    partly = plan(PATIENT_ROOT, "IMAGE", PatientID="P1", SeriesInstanceUID="1.3", SOPInstanceUID="1.4")
    row = {"patient_id": "P1", "study_uid": "1.2", "series_uid": "1.3", "sop_instance_uid": "1.4"}
    assert selects(partly, row) and selects(partly, {**row, "study_uid": "1.9"})
    assert not selects(partly, {**row, "patient_id": "P2"}) and not selects(partly, {**row, "series_uid": "1.9"})
    for values in ({"SeriesInstanceUID": "1.3"}, {"SeriesInstanceUID": "1.3\\1.9", "SOPInstanceUID": "1.4"}):
        with pytest.raises(IdentifierInvalid):
            plan(STUDY_ROOT, "IMAGE", **values)
    with pytest.raises(IdentifierInvalid):
        plan(STUDY_ROOT, "IMAGE", StudyDate="20260101", SOPInstanceUID="1.4")


def test_a_retrieval_by_a_sequence_is_refused():
    with pytest.raises(IdentifierInvalid):
        plan_retrieve(STUDY_ROOT, [*keys("STUDY", StudyInstanceUID="1.2"), QueryKey(0x00081110, "SQ", None, ())])


@given(
    st.lists(st.tuples(st.sampled_from(sorted(BY_KEYWORD)), st.text(max_size=8)), max_size=6),
    st.sampled_from(QueryModel),
)
def test_whatever_the_identifier_says_it_is_planned_or_refused(values, model):
    for level in (*(level.value for level in Level), "", None):
        for plan in (plan_find, plan_retrieve):
            try:
                plan(model, keys(level, **dict(values)))
            except IdentifierInvalid as refused:
                assert refused.number == 207


@pytest.mark.parametrize(
    ("keyword", "key", "stored", "found"),
    [
        ("OtherPatientIDs", "B2", "A1\\B2", True),
        ("OtherPatientIDs", "B*", "A1\\B2", True),
        ("OtherPatientIDs", "A1\\C3", "A1\\B2", True),
        ("OtherPatientIDs", "A1B2", "A1\\B2", False),
        ("OtherPatientIDs", "X", "", True),
        ("OtherPatientNames", "MULLER*", "DOE\\Müller^Jörg", True),
        ("OtherPatientNames", "山田*", "Yamada^Tarou=山田^太郎", True),
        ("OtherPatientNames", "roe", "DOE\\Müller^Jörg", False),
        ("MedicalAlerts", "latex", "LATEX", False),
        ("MedicalAlerts", '"', '"', True),
        ("MedicalAlerts", "a%", "ab", False),
        ("AdditionalPatientHistory", "a\\b", "a\\b", True),
        ("AdditionalPatientHistory", "a", "a\\b", False),
        ("PatientWeight", "70", "70", True),
        ("PatientWeight", "7?", "70", False),
        ("LastMenstrualDate", "20200101-20200131", "20200115", True),
        ("LastMenstrualDate", "20200101", "2020.01.01", True),
        ("LastMenstrualDate", "-20200101", "20200102", False),
        ("PatientBirthTime", "10-11", "1130", True),
        ("PatientBirthTime", "1030", "103000", True),
        ("PatientBirthTime", "1030", "103001", False),
    ],
)
def test_an_element_without_a_column_is_matched_value_by_value(keyword, key, stored, found):
    assert element_matches(keyword, key, stored) is found


@pytest.mark.parametrize(
    ("key", "stored", "found"),
    [
        ("20200101120000", "20200101130000+0100", True),
        ("20200101120000", "20200101120000.000000", True),
        ("20200101120000+0000", "20200101120000-0500", False),
        ("20200101-20200131", "20200131235959.5", True),
        ("20200101-20200131", "20200201", False),
        ("2020-", "20210101", True),
        ("-2020", "20201231235959", True),
        ("-2020", "2021", False),
        ("20200101000000-0500-20200102000000-0500", "20200102040000", True),
        ("20200101000000-0500-20200102000000-0500", "20200102060000", False),
    ],
)
def test_moments_match_by_what_they_mean_and_a_hyphen_parts_a_range(key, stored, found):
    asked = [*keys("IMAGE", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.2"), QueryKey(0x0008002A, "DT", key)]
    query = plan_find(STUDY_ROOT, asked)
    row = {"study_uid": "1.2.1", "series_uid": "1.2.2"}
    elements = document_of(rows(AcquisitionDateTime=stored).instance["elements"])
    assert selects(query.predicate, {**row, **elements}) is found


@pytest.mark.parametrize("key", ["-", "today", "2020130", "20201301", "2020010125", "20200101+01"])
def test_a_moment_key_that_is_no_moment_is_refused(key):
    asked = [*keys("IMAGE", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.2"), QueryKey(0x0008002A, "DT", key)]
    with pytest.raises(IdentifierInvalid):
        plan_find(STUDY_ROOT, asked)


CODE_VALUE, SCHEME, MEANING, CODES = 0x00080100, 0x00080102, 0x00080104, 0x00081032


def code(value: str | None = None, scheme: str | None = None) -> tuple[QueryKey, ...]:
    return tuple(QueryKey(tag, "SH", text) for tag, text in ((CODE_VALUE, value), (SCHEME, scheme)) if text is not None)


def stored_codes(*codes: tuple[str, str]) -> dict[str, object]:
    items = [
        {
            f"{CODE_VALUE:08X}": {"Value": [value]},
            f"{SCHEME:08X}": {"Value": [scheme]},
            f"{MEANING:08X}": {"Value": ["?"]},
        }
        for value, scheme in codes
    ]
    return {f"{CODES:08X}": {"vr": "SQ", "Value": items}}


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ((), True),
        (((),), True),
        ((code("A", "X"),), True),
        ((code("A", ""),), True),
        ((code("A", "Y"),), False),
        ((code("A*", "X"),), True),
        ((code("C", "X"),), False),
        ((code("", ""),), True),
    ],
)
def test_a_sequence_matches_where_all_its_keys_match_in_one_item(key, found):
    query = plan_find(STUDY_ROOT, [*keys("STUDY"), QueryKey(CODES, "SQ", None, key)])
    assert selects(query.predicate, stored_codes(("A", "X"), ("B", "Y"))) is found
    assert selects(query.predicate, {})


def test_a_sequence_is_answered_with_the_items_that_match_and_what_was_asked_of_them():
    query = plan_find(STUDY_ROOT, [*keys("STUDY"), QueryKey(CODES, "SQ", None, (code("B", ""),))])
    items = stored_codes(("A", "X"), ("B", "Y"))[f"{CODES:08X}"]["Value"]
    assert query.sequences[CODES].of(items) == [
        {f"{CODE_VALUE:08X}": {"Value": ["B"]}, f"{SCHEME:08X}": {"Value": ["Y"]}}
    ]
    whole = plan_find(STUDY_ROOT, [*keys("STUDY"), QueryKey(CODES, "SQ", None, ((),))])
    assert CODES not in whole.sequences


def test_a_sequence_within_a_sequence_is_matched_in_the_item_that_holds_it():
    outer, inner = 0x00082218, 0x00082220
    key = QueryKey(outer, "SQ", None, ((QueryKey(inner, "SQ", None, (code("M"),)), *code("", None)),))
    asked = [*keys("IMAGE", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.2"), key]
    query = plan_find(STUDY_ROOT, asked)

    def region(value, *modifiers):
        held = [{f"{CODE_VALUE:08X}": {"Value": [modifier]}} for modifier in modifiers]
        return {f"{CODE_VALUE:08X}": {"Value": [value]}, f"{inner:08X}": {"vr": "SQ", "Value": held}}

    row = {"study_uid": "1.2.1", "series_uid": "1.2.2"}
    found = {f"{outer:08X}": {"Value": [region("A", "M", "N"), region("B", "N")]}}
    assert selects(query.predicate, {**row, **found})
    assert query.sequences[outer].of(found[f"{outer:08X}"]["Value"]) == [region("A", "M")]
    assert not selects(query.predicate, {**row, f"{outer:08X}": {"Value": [region("B", "N")]}})


def test_a_sequence_key_with_several_items_is_refused():
    with pytest.raises(IdentifierInvalid):
        plan_find(STUDY_ROOT, [*keys("STUDY"), QueryKey(CODES, "SQ", None, (code("A"), code("B")))])


def test_an_element_that_cannot_be_matched_is_answered_and_told_apart():
    palette = QueryKey(0x00281101, "OW", "x")
    asked = [*keys("IMAGE", StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.2"), palette]
    query = plan_find(STUDY_ROOT, asked)
    assert 0x00281101 in query.returned and query.unsupported == (0x00281101,)


def test_where_something_is_hidden_only_columns_are_matched_and_answered():
    asked = [*keys("STUDY", StudyID=""), QueryKey(CODES, "SQ", None, ()), QueryKey(0x00104000, "LT", "")]
    query = plan_find(STUDY_ROOT, asked, QueryOptions(columns_only=True))
    assert query.returned == (0x00200010,) and query.unsupported == (CODES, 0x00104000)


def test_an_element_of_a_level_above_breaks_the_hierarchy():
    with pytest.raises(IdentifierInvalid):
        plan_find(STUDY_ROOT, [*keys("SERIES", StudyInstanceUID="1.2.1"), QueryKey(CODES, "SQ", None, ())])


RELATIONAL = QueryOptions(relational=True)


def test_a_relational_query_takes_keys_of_its_level_and_above_in_any_combination():
    asked = keys("SERIES", Modality="CT", PatientName="DOE*", StudyDate="20200101-", SeriesInstanceUID="")
    query = plan_find(STUDY_ROOT, asked, RELATIONAL)
    assert query.returned == (0x00080020, 0x00080060, 0x00100010, 0x0020000E) and query.unsupported == ()
    row = {"modality": "CT", "patient_name_norm": "doe^j", "study_date": 20200102, "study_date_text": "20200102"}
    assert selects(query.predicate, row)
    for other in ({"modality": "MR"}, {"patient_name_norm": "roe"}, {"study_date": 20191231}):
        assert not selects(query.predicate, {**row, **other})
    with pytest.raises(IdentifierInvalid):
        plan_find(STUDY_ROOT, asked)


def test_a_relational_query_takes_elements_and_lists_of_uids_of_levels_above():
    asked = [*keys("IMAGE", StudyInstanceUID="1.2\\1.3"), QueryKey(CODES, "SQ", None, (code("A"),))]
    query = plan_find(PATIENT_ROOT, asked, RELATIONAL)
    assert selects(query.predicate, {"study_uid": "1.3", **stored_codes(("A", "X"))})
    assert not selects(query.predicate, {"study_uid": "1.4", **stored_codes(("A", "X"))})
    assert not selects(query.predicate, {"study_uid": "1.3", **stored_codes(("B", "X"))})


def test_keys_below_the_level_of_a_relational_query_are_told_apart():
    query = plan_find(STUDY_ROOT, keys("STUDY", StudyID="", Modality="CT"), RELATIONAL)
    assert query.unsupported == (0x00080060,)


@pytest.mark.parametrize(
    ("dates", "times", "stored", "apart", "together"),
    [
        ("20200101-20200103", "1200-1300", ("20200102", "2300"), False, True),
        ("20200101-20200103", "1200-1300", ("20200101", "1100"), False, False),
        ("20200101-20200103", "1200-1300", ("20200103", "1330"), False, False),
        ("20200101-20200103", "1200-1300", ("20200101", "1230"), True, True),
        ("20200101-", "1200-", ("20200105", "0100"), False, True),
        ("-20200103", "-1300", ("20191231", "2300"), False, True),
        ("20200101", "1200", ("20200101", "120000"), True, True),
        ("20200101-20200103", "1200-1300", ("", "1100"), False, True),
        ("20200101-20200103", "1200-1300", ("20200102", ""), True, True),
        ("20200101-20200103", "1200-1300", ("20210101", ""), False, False),
    ],
)
def test_date_and_time_are_one_moment_where_that_was_agreed_on(dates, times, stored, apart, together):
    row = rows(**dict(zip(("StudyDate", "StudyTime"), stored, strict=True))).study
    asked = keys("STUDY", StudyDate=dates, StudyTime=times)
    assert selects(plan_find(STUDY_ROOT, asked).predicate, row) is apart
    combined = plan_find(STUDY_ROOT, asked, QueryOptions(combined_moments=True))
    assert selects(combined.predicate, row) is together
    assert combined.returned == (0x00080020, 0x00080030)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("john smith", True),
        ("SMITH, JOHN", True),
        ("smi jo", True),
        ("müll", True),
        ("山", True),
        ("taro", True),
        ("ohn", False),
        ("smith jane", False),
        ("*", True),
        ("^^", True),
    ],
)
def test_fuzzy_names_match_word_by_word_in_any_order_where_that_was_agreed_on(key, found):
    row = rows(PatientName="Smith-Müller^John=山田^太郎=taro").study
    asked = keys("STUDY", PatientName=key)
    assert selects(plan_find(STUDY_ROOT, asked, QueryOptions(fuzzy_names=True)).predicate, row) is found
    assert (
        element_matches("OtherPatientNames", key, "X\\Smith-Müller^John=山田^太郎=taro", QueryOptions(fuzzy_names=True))
        is found
    )


def test_words_of_a_fuzzy_name_are_bounded():
    with pytest.raises(IdentifierInvalid):
        plan_find(STUDY_ROOT, keys("STUDY", PatientName="a " * 17), QueryOptions(fuzzy_names=True))
