"""Finding events in the trail, and telling of each in one sentence or one row."""

import base64
import csv
import io
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.audit import events
from archive.audit.csv_export import COLUMNS, row_of
from archive.audit.events import Actor, Outcome, StudyTouched
from archive.audit.search import Criteria
from archive.audit.timeline import sentence_of
from archive.audit.trail_format import TrailRecord
from tests.simulators.scu import identifier

ALICE = Actor(person="alice", node="WS1", ae_title="WS1AE", address="10.0.0.2")
STUDY = StudyTouched("1.2.3", "P1", "Doe^Jane", "", {"1.2.840.10008.5.1.4.1.1.2": 3})
ASKED = base64.b64encode(identifier("STUDY", {0x00100010: "", 0x00100020: "P1"})).decode()


def record(event, time="2026-01-01T10:00:00.000+00:00", sequence=1):
    return TrailRecord(sequence, time, event.kind, json.loads(json.dumps(event.facts())))


STORED = record(events.InstanceStored(ALICE, study=STUDY, sop_instance_uid="1.2.3.4"))
QUERY = record(events.QueryPerformed(ALICE, sop_class_uid="1.2", transfer_syntax="1.2.840.10008.1.2", identifier=ASKED))
FETCHED = record(
    events.InstancesTransferred(ALICE, Outcome.SERIOUS_FAILURE, "peer gone", studies=(STUDY,), destination="WS2")
)
MALLORY = record(
    events.UserAuthenticated(Actor(node="WS1", address="10.0.0.2"), Outcome.SERIOUS_FAILURE, "wrong", 2, "mallory")
)
ROOT = record(events.ConfigurationChanged(Actor(os_user="root"), description="user alice added"))
ALL = [STORED, QUERY, FETCHED, MALLORY, ROOT]


@pytest.mark.parametrize(
    "asked, expected",
    [
        ({"person": "ALICE"}, [STORED, QUERY, FETCHED]),
        ({"person": "mallory"}, [MALLORY]),
        ({"person": "root"}, [ROOT]),
        ({"patient": "P1"}, [STORED, QUERY, FETCHED]),
        ({"patient": "doe^jane"}, [STORED, FETCHED]),
        ({"patient": "P"}, []),
        ({"study": "1.2.3"}, [STORED, FETCHED]),
        ({"node": "WS1AE"}, [STORED, QUERY, FETCHED]),
        ({"node": "WS2"}, [FETCHED]),
        ({"node": "10.0.0.2", "outcome": "failed"}, [FETCHED, MALLORY]),
        ({"outcome": "good"}, [STORED, QUERY, ROOT]),
        ({"outcome": "8", "kinds": ("user-authenticated",)}, [MALLORY]),
        ({"outcome": "4"}, []),
        ({"since": datetime(2026, 1, 1, 10, tzinfo=UTC)}, ALL),
        ({"until": datetime(2026, 1, 1, 10, tzinfo=UTC)}, []),
        ({}, ALL),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_events_are_found_by(asked, expected):
    assert [one for one in ALL if Criteria(**asked).holds(one)] == expected


def test_who_looked_for_a_patient_is_found_by_the_whole_value_of_the_key():
    asked = base64.b64encode(identifier("STUDY", {0x00100020: "P10"})).decode()
    other = record(events.QueryPerformed(ALICE, transfer_syntax="1.2.840.10008.1.2", identifier=asked))
    assert Criteria(patient="P10").holds(other) and not Criteria(patient="P1").holds(other)


def test_an_identifier_that_cannot_be_read_is_searched_by_its_characters():
    broken = base64.b64encode(b"\x10\x00\x20\x00\xff\xff\xff\x7fP1").decode()
    other = record(events.QueryPerformed(ALICE, transfer_syntax="1.2.840.10008.1.2", identifier=broken))
    assert Criteria(patient="p1").holds(other) and not Criteria(patient="P2").holds(other)


@pytest.mark.parametrize(
    "told, sentence",
    [
        (STORED, "alice at WS1 (10.0.0.2) stored 3 instances of study 1.2.3 of patient P1 Doe^Jane"),
        (QUERY, "alice at WS1 (10.0.0.2) asked for STUDY with PatientID=P1"),
        (
            FETCHED,
            "alice at WS1 (10.0.0.2) fetched 3 instances of study 1.2.3 of patient P1 Doe^Jane to WS2"
            " — FAILED: peer gone",
        ),
        (MALLORY, "somebody as mallory at WS1 (10.0.0.2) logged in — FAILED: wrong"),
        (ROOT, "root changed user alice added"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_event_is_one_sentence(told, sentence):
    assert sentence_of(told) == sentence


def test_an_event_of_a_kind_from_another_release_is_told_all_the_same():
    assert sentence_of(TrailRecord(1, "", "new-kind", {"actor": {}, "outcome": 4})) == "the archive new-kind — failed"


@given(
    st.binary(max_size=200), st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "x"])
)
def test_any_bytes_as_an_identifier_are_told_and_searched(data, syntax):
    asked = base64.b64encode(data).decode()
    event = record(events.QueryPerformed(ALICE, transfer_syntax=syntax, identifier=asked))
    assert sentence_of(event).startswith("alice")
    assert Criteria(patient="P1").holds(event) in (True, False)


def test_a_row_holds_the_facts_most_asked_for_and_all_of_them():
    row = dict(zip(COLUMNS, row_of(FETCHED), strict=True))
    assert (row["person"], row["patient_id"], row["study_uid"], row["outcome"]) == ("alice", "P1", "1.2.3", "8")
    assert json.loads(row["facts"]) == FETCHED.facts


@given(st.text(max_size=20))
def test_no_cell_is_a_formula_and_every_row_reads_back_as_one(name):
    study = StudyTouched("1.2.3", f"={name}", name)
    row = row_of(record(events.InstanceStored(Actor(person=f"@{name}"), study=study)))
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row)
    written = io.StringIO(newline="")
    csv.writer(written).writerow([cell.encode("utf-8", "replace").decode() for cell in row])
    assert len(next(csv.reader(io.StringIO(written.getvalue(), newline="")))) == len(COLUMNS)
