"""Matching (PS3.4 C.2.2.2) and the rules of identifiers and responses (C.4.1)."""

import pytest

from tests.simulators.conformance_peer import ROOT, found, keys, studies

pytestmark = pytest.mark.usefixtures("stored")
ALL = {"1", "2", "3", "4"}


def test_universal_matching_returns_every_study(peer):
    assert studies(peer, StudyDate="") >= ALL


def test_a_single_value_matches_exactly(peer):
    assert studies(peer, PatientID="CT2_x%") == {"2"}


def test_a_single_value_is_case_sensitive(peer):
    assert studies(peer, PatientID="ct2_X%") == set()


def test_a_person_name_is_matched_by_wildcard(peer):
    assert studies(peer, PatientName="Doe^Jane?") >= ALL
    assert studies(peer, PatientName="*Jane3") == {"3"}


def test_metacharacters_of_databases_are_plain_characters(peer):
    assert studies(peer, PatientID="CT%") == set()
    assert studies(peer, PatientID="CT1?x%") == {"1"}
    assert studies(peer, PatientID="CT1_x_") == set()


def test_a_list_of_uid_matches_each(peer):
    assert studies(peer, StudyInstanceUID=[f"{ROOT}.1", f"{ROOT}.3"]) == {"1", "3"}


@pytest.mark.parametrize(
    ("dates", "expected"),
    [("20200102-20200103", {"2", "3"}), ("20200103-20200131", {"3", "4"}), ("20200101", {"1"})],
)
def test_dates_are_matched_by_range(peer, dates, expected):
    assert studies(peer, StudyDate=dates) & ALL == expected


def test_an_open_range_matches(peer):
    assert studies(peer, StudyDate="20200104-", PatientName="Doe^Jane?") == {"4"}
    assert studies(peer, StudyDate="-20200101", PatientName="Doe^Jane?") == {"1"}


def test_times_are_matched_by_meaning(peer):
    assert studies(peer, StudyTime="12", StudyDate="20200102") & ALL == {"2"}


def test_modalities_in_study_are_matched(peer):
    assert studies(peer, ModalitiesInStudy="CT") >= ALL
    assert studies(peer, ModalitiesInStudy="MR") & ALL == set()


def test_no_match_is_one_success(peer):
    assert found(peer, keys("STUDY", StudyInstanceUID="1.2.3.999.1")) == ([], 0)


def test_a_response_has_what_was_asked_and_the_level_and_nothing_of_the_rest(peer):
    matches, _ = found(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.1", PatientName=""))
    allowed = {"StudyInstanceUID", "PatientName", "QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveAETitle"}
    allowed |= {"InstanceAvailability", "TimezoneOffsetFromUTC", "StorageMediaFileSetID", "StorageMediaFileSetUID"}
    (match,) = matches
    assert {element.keyword for element in match} <= allowed
    assert match.QueryRetrieveLevel == "STUDY" and str(match.PatientName) == "Doe^Jane1"


def test_a_response_says_where_it_can_be_retrieved_from(peer):
    (match,), _ = found(peer, keys("STUDY", StudyInstanceUID=f"{ROOT}.1"))
    assert match.get("RetrieveAETitle") or match.get("StorageMediaFileSetUID")


def test_counts_are_right(peer):
    (match,), _ = found(
        peer,
        keys("STUDY", StudyInstanceUID=f"{ROOT}.2", NumberOfStudyRelatedInstances="", NumberOfStudyRelatedSeries=""),
    )
    assert (match.NumberOfStudyRelatedInstances, match.NumberOfStudyRelatedSeries) == (2, 1)


def test_images_are_found_below_their_series(peer):
    identifier = keys("IMAGE", StudyInstanceUID=f"{ROOT}.2", SeriesInstanceUID=f"{ROOT}.2.1", SOPInstanceUID="")
    matches, status = found(peer, identifier)
    assert (len(matches), status) == (2, 0)


@pytest.mark.parametrize(
    "identifier",
    [keys("SERIES", SeriesInstanceUID=""), keys("NOWHERE", StudyInstanceUID=""), keys("PATIENT", PatientID="")],
)
def test_an_identifier_that_breaks_the_hierarchy_is_refused(peer, identifier):
    assert found(peer, identifier) == ([], 0xA900)
