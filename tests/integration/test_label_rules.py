"""Label rules in a running archive: what they give is there at once, in ledger and audit, and after a rebuild."""

import json

import pytest

from storage.transfer_syntax import EXPLICIT_LITTLE
from tests.simulators.memory_archive import CT, encoded, image
from tests.simulators.running_archive import RunningArchive

RULES = """
@id("research-scanner")
@reason("what the research scanner makes is for research")
@label("research")
permit (principal == Node::"CT1", action == Action::"Label", resource is Object)
when { resource has station && resource.station like "RESEARCH-*" };

@id("dated")
@reason("fails on a study without a date as soon as there is one with the largest")
@label("dated")
permit (principal, action == Action::"Label", resource is Object)
when { resource has study_date && resource.study_date * 922337203685477 > 0 };
"""


@pytest.fixture
def archive(tmp_path):
    made = RunningArchive(tmp_path).init()
    made.node("CT1", "modality")
    made.start()
    yield made
    made.stop()


def store(archive, number, **attributes):
    made = image(number, **attributes)
    with archive.requestor("CT1", contexts=[(CT, [EXPLICIT_LITTLE])]) as modality:
        assert modality.store(CT, made.SOPInstanceUID, encoded(made)).status == 0


def labels(archive):
    return {study["study_uid"]: study["labels"] for study in json.loads(archive.must("study", "list", "--json"))}


def test_rules_count_from_their_reload_on_and_what_they_gave_outlasts_a_rebuild(archive):
    store(archive, 1, StationName="RESEARCH-1")
    rules = archive.home / "policies" / "label-rules.cedar"
    rules.write_text(RULES)
    archive.must("policy", "check")
    archive.must("policy", "reload")
    store(archive, 2, StationName="RESEARCH-1", StudyDate=None)
    store(archive, 3, StationName="WARD", StudyDate=None)
    store(archive, 4, StationName="RESEARCH-1")
    expected = {"1.2.1": [], "1.2.2": ["research"], "1.2.3": [], "1.2.4": ["quarantine", "research"]}
    assert labels(archive) == expected
    told = archive.trail()
    stored = {record["facts"]["study"]["study_uid"]: record["facts"] for record in told if "study" in record["facts"]}
    assert [stored[f"1.2.{number}"].get("labels") for number in (1, 2, 3, 4)] == [
        None,
        ["research"],
        None,
        ["quarantine", "research"],
    ]
    alerts = [record["facts"]["description"] for record in told if record["kind"] == "security-alert"]
    assert any("the label rule dated could not be evaluated" in words for words in alerts)
    archive.must("verify", "--full")
    archive.must("rebuild")
    assert labels(archive) == expected
    archive.must("verify", "--full")


def test_rules_that_do_not_hold_are_refused_and_the_old_ones_stay(archive):
    rules = archive.home / "policies" / "label-rules.cedar"
    rules.write_text(RULES)
    archive.must("policy", "reload")
    rules.write_text(RULES.replace('@label("research")', '@label("for research")'))
    assert "'for research' is no word" in archive.strongroom("policy", "check").stdout
    assert archive.strongroom("policy", "reload").returncode != 0
    store(archive, 2, StationName="RESEARCH-1", StudyDate=None)
    assert labels(archive) == {"1.2.2": ["research"]}
