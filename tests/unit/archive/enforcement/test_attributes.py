"""Attributes between policy and data set."""

import dataclasses

import pytest

from archive.enforcement.attributes import UnknownKeyword, hidden_tags, is_keyword, resource_of
from auth.policy.attributes import ALWAYS_PRESENT, STUDY_ATTRIBUTES
from storage.instance import StudyFacts


def test_policy_reads_exactly_the_study_facts() -> None:
    # Whether the archive vouches for them is judged before any policy is asked.
    assert set(STUDY_ATTRIBUTES) == {field.name for field in dataclasses.fields(StudyFacts)} - {"vouched"}


def test_absent_values_are_left_out_and_sets_are_always_there() -> None:
    assert set(resource_of(StudyFacts("1.2"))) == ALWAYS_PRESENT


def test_every_fact_is_shown_under_its_own_name() -> None:
    one = frozenset({"x"})
    facts = StudyFacts("1.2", "p", 20200101, "i", "d", "s", "r", one, one, one, one)
    assert resource_of(facts) == {name: getattr(facts, name) for name in STUDY_ATTRIBUTES}


def test_keywords_become_tags() -> None:
    assert hidden_tags({"PatientName", "PatientBirthDate"}) == {0x00100010, 0x00100030}
    assert is_keyword("PatientAddress")


@pytest.mark.parametrize("word", ["", "patientname", "Patient Name", "00100010"])
def test_word_that_is_no_keyword_is_refused(word: str) -> None:
    assert not is_keyword(word)
    with pytest.raises(UnknownKeyword):
        hidden_tags({word})
