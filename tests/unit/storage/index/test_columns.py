"""From the bytes of a data set to rows: character sets, padding, values that are not what they should be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.charset import encode_string

from storage.errors import DataSetMismatch
from storage.identifiers import Uid
from storage.index.columns import ATTRIBUTES, BY_KEYWORD, BY_TAG, WANTED, Level
from storage.index.facts import facts_of, facts_text
from storage.index.moments import date_number, time_span
from storage.index.rows import rows_of
from storage.index.schema import INSTANCE, SERIES, STUDY
from storage.index.text import decode, folded, name_groups, repertoire
from storage.instance import DeclaredInstance, StudyFacts
from tests.simulators.indexed import CT, EXPLICIT, inspection, rows

UIDS = {0x0020000D: b"1.2.1\0", 0x0020000E: b"1.2.2\0", 0x00080018: b"1.2.3\0", 0x00080016: CT.encode() + b"\0"}
DECLARED = DeclaredInstance(CT, Uid("1.2.3"), EXPLICIT)


def rows_with(values: dict[int, bytes]):
    return rows_of(inspection({**UIDS, **values}), DECLARED)


@pytest.mark.parametrize(
    ("character_set", "encodings", "text"),
    [
        (b"ISO_IR 100", ["iso8859"], "Müller^Jörg"),
        (b"ISO_IR 192", ["utf8"], "Müller^Jörg=山田"),
        (b"ISO_IR 144", ["iso_ir_144"], "Люкceмбypг"),
        (b"GB18030 ", ["gb18030"], "Wang^XiaoDong=王^小东"),
        (b"\\ISO 2022 IR 87", ["iso8859", "iso2022_jp"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (b"\\ISO 2022 IR 149", ["iso8859", "euc_kr"], "Hong^Gildong=洪^吉洞=홍^길동"),
    ],
)
def test_names_in_the_character_sets_of_ps3_5_come_out_as_unicode(character_set, encodings, text):
    value = "=".join(text.split("=")).encode("ascii") if text.isascii() else _encoded(text, encodings)
    kept = rows_with({0x00080005: character_set, 0x00100010: value, 0x00080090: value})
    assert kept.study["patient_name"] == text
    assert kept.facts.referring_physician == text


def _encoded(text: str, encodings: list[str]) -> bytes:
    return b"=".join(
        b"^".join(encode_string(part, encodings) for part in group.split("^")) for group in text.split("=")
    )


@pytest.mark.parametrize(
    "character_set", [b"", b"NO SUCH SET", b"\xff\xfe", b"\\\\\\", b"ISO_IR 192", b"\\ISO 2022 IR 87"]
)
@pytest.mark.parametrize("value", [b"\xff\xfe\xfd", b"\x1b", b"\x1b$Bzz\x80", b"\x1b(Z\xe4", b"a\0b", b"\x1b$)C\xb1"])
def test_bytes_that_no_character_set_explains_become_text_all_the_same(character_set, value):
    name = rows_with({0x00080005: character_set, 0x00100010: value}).study["patient_name"]
    assert name is None or (isinstance(name, str) and "\0" not in name and name.encode())


@given(st.dictionaries(st.sampled_from(sorted(WANTED - UIDS.keys())), st.binary(max_size=40)))
def test_no_value_but_a_filing_uid_can_refuse_an_object(values):
    kept = rows_with(values)
    assert kept.study.keys() <= set(STUDY.c.keys())
    assert kept.series.keys() <= set(SERIES.c.keys())
    assert kept.instance.keys() <= set(INSTANCE.c.keys())
    for value in (*kept.study.values(), *kept.series.values(), *kept.instance.values()):
        assert value is None or isinstance(value, int) or (value != "" and "\0" not in value and value.encode())
    assert facts_of(facts_text(kept.facts)) == kept.facts


@given(st.binary(max_size=60), st.lists(st.sampled_from([b"", b"ISO 2022 IR 87", b"ISO 2022 IR 149", b"GBK", b"x"])))
def test_decoding_never_raises_or_warns(value, terms):
    decode(value, repertoire(b"\\".join(terms)), name=True)


@pytest.mark.parametrize("tag", sorted(UIDS))
@pytest.mark.parametrize("value", [None, b"", b"1.02", b"1.2.3 ", b"1.2\\1.3", b"../etc", b"1." + b"2" * 64, b"\xff"])
def test_an_object_without_a_legal_uid_to_file_it_under_is_refused(tag, value):
    values = {**UIDS, tag: value}
    if value is None:
        del values[tag]
    with pytest.raises(DataSetMismatch):
        rows_of(inspection(values), DECLARED)


def test_an_object_other_than_the_command_announced_is_refused():
    with pytest.raises(DataSetMismatch):
        rows_of(inspection(UIDS), DeclaredInstance(CT, Uid("1.2.4"), EXPLICIT))
    with pytest.raises(DataSetMismatch):
        rows_of(inspection(UIDS), DeclaredInstance(Uid("1.2.840.10008.5.1.4.1.1.4"), Uid("1.2.3"), EXPLICIT))


def test_values_are_kept_without_padding_and_dates_and_times_as_numbers_too():
    kept = rows_with({0x00080020: b"20240131", 0x00080030: b"101112.5 ", 0x00080050: b" A1 ", 0x00280010: b"\x00\x02"})
    assert (kept.study["study_date"], kept.study["study_date_text"]) == (20240131, "20240131")
    assert (kept.study["study_time"], kept.study["study_time_text"]) == (36_672_500_000, "101112.5")
    assert kept.study["accession_number"] == "A1"
    assert kept.instance["image_rows"] == "512"
    assert kept.instance["transfer_syntax"] == EXPLICIT


def test_a_date_that_is_none_is_kept_as_text_and_policy_sees_no_date():
    kept = rows_with({0x00080020: b"20241340"})
    assert (kept.study["study_date"], kept.study["study_date_text"]) == (None, "20241340")
    assert kept.facts.study_date is None


def test_facts_are_as_sent_and_sets_split_at_the_backslash():
    kept = rows(PerformingPhysicianName="A^B\\ C^D \\", Modality="CT", InstitutionName="Ward %", PatientID="x'y")
    assert kept.facts == StudyFacts(
        study_uid="1.2.1",
        patient_id="x'y",
        institution="Ward %",
        performing_physicians=frozenset({"A^B", "C^D"}),
        modalities=frozenset({"CT"}),
    )
    assert kept.study["institution"] == kept.series["institution_name"] == "Ward %"


def test_the_facts_that_a_study_row_carries_read_back_the_same():
    facts = StudyFacts("1.2", "p", 20240101, None, 'a"b', "s\\", "é", frozenset({"x", "y"}), labels=frozenset({"r"}))
    assert facts_of(facts_text(facts)) == facts


def test_every_tag_has_one_meaning_and_everything_stored_is_wanted():
    assert len(BY_TAG) == len(BY_KEYWORD) == len(ATTRIBUTES)
    assert set(Level) == {attribute.level for attribute in ATTRIBUTES if attribute.unique}
    assert set(UIDS) | {0x00080005} <= WANTED


@given(st.text(max_size=20))
def test_folding_is_done_once(text):
    assert folded(folded(text)) == folded(text)


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("MÜLLER^JÖRG^^ ", ("muller^jorg", "", "")),
        ("Straße", ("strasse", "", "")),
        ("A=B", ("a", "b", "")),
        ("=山^^=", ("", "山", "")),
        ("^^", ("", "", "")),
    ],
)
def test_names_are_folded_group_by_group(name, groups):
    assert name_groups(name) == groups


@given(st.text(max_size=12))
def test_dates_and_times_are_read_or_not_but_never_raise(text):
    date_number(text)
    span = time_span(text)
    assert span is None or 0 <= span[0] <= span[1]
