"""An officer reads the trail from the command line: by whom, of whom, as sentences, messages, JSON and a table."""

import csv
import io
import json
import os
import stat
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from archive.audit import events
from archive.audit.events import Actor, Outcome, StudyTouched
from archive.audit.log import AuditLog
from archive.audit.trail import AuditTrail
from archive.home import Home
from archive.keys import load_keyring
from tests.simulators.audit_sender import Material, RunningRepository, syslog, xml_of
from tests.simulators.running_archive import RunningArchive

ALICE = Actor(person="alice", node="WS1", ae_title="WS1", address="10.0.0.2")
STUDY = StudyTouched("1.2.3", "P1", "Doe^Jane", "", {"1.2.840.10008.5.1.4.1.1.2": 3})


def opened(archive):
    home = Home.at(archive.home)
    return AuditTrail(home.trail, load_keyring(home).audit_key)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    archive = RunningArchive(tmp_path_factory.mktemp("archive")).init()
    trail = opened(archive)
    AuditLog(trail).record(
        events.InstanceStored(ALICE, study=STUDY, sop_instance_uid="1.2.3.4"),
        events.AccessRefused(Actor(person="bob\x1b[2J"), Outcome.SERIOUS_FAILURE, "no permit", "Retrieve", "1.2.3"),
    )
    trail.close()
    with archive.serving():
        yield archive


def test_search_tells_who_did_what_to_which_patient(archive):
    (line,) = archive.must("audit", "search", "--patient", "P1", "--outcome", "good").splitlines()
    assert line.endswith("alice at WS1 (10.0.0.2) stored 3 instances of study 1.2.3 of patient P1 Doe^Jane")
    (found,) = json.loads(archive.must("audit", "search", "--person", "alice", "--kind", "instance-stored", "--json"))
    assert found["facts"]["study"]["patient_id"] == "P1"
    assert json.loads(archive.must("audit", "search", "--person", "nobody", "--json")) == []


def test_show_has_the_last_events_and_nothing_that_moves_a_cursor(archive):
    shown = archive.must("audit", "show", "--kind", "instance-stored", "--kind", "access-refused", "--limit", "1")
    assert shown.count("\n") == 1 and "\x1b" not in shown and "bob" in shown and "FAILED: no permit" in shown
    kinds = [one["kind"] for one in archive.trail()]
    assert kinds.index("access-refused") == kinds.index("instance-stored") + 1 and "audit-log-used" not in kinds


def test_show_as_xml_is_messages_one_after_another(archive):
    messages = archive.must("audit", "search", "--study", "1.2.3", "--xml").splitlines()
    assert [ElementTree.fromstring(message).tag for message in messages] == ["AuditMessage"] * 2
    assert not any("\x1b" in message for message in messages)


def test_export_is_a_table_for_its_owner_alone_and_overwrites_nothing(archive, tmp_path):
    table = tmp_path / "trail.csv"
    archive.must("audit", "export", "--csv", str(table), "--person", "alice")
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    (row,) = csv.DictReader(io.StringIO(table.read_text(), newline=""))
    assert (row["person"], row["patient_id"], row["kind"]) == ("alice", "P1", "instance-stored")
    again = archive.strongroom("audit", "export", "--csv", str(table))
    assert again.returncode == 2 and "already there" in again.stderr


def test_that_somebody_searched_and_for_what_is_in_the_trail(archive):
    archive.must("audit", "search", "--patient", "P77", "--since", "2026-01-01")
    before, latest = archive.must("audit", "show", "--kind", "audit-log-used").splitlines()[-2:]
    assert "patient=P77, since=2026-01-01T" in before and "read the audit trail" in latest


@pytest.mark.parametrize("arguments", [["search"], ["search", "--outcome", "bad"], ["search", "--since", "yesterday"]])
def test_a_search_that_makes_no_sense_is_refused(archive, arguments):
    done = archive.strongroom("audit", *arguments)
    assert done.returncode == 2 and done.stderr.startswith("strongroom: E107 ") and done.stderr.count("\n") == 1


def test_a_home_has_a_repository_with_the_archives_own_certificate_for_its_nodes(archive):
    node = archive.node("CT1", "modality")
    own = (node / "cert.pem", node / "key.pem")
    material = Material(node, node / "ca.pem", own, own, own)
    repository = RunningRepository(archive.home / "repository", material)
    message = syslog(xml_of(events.InstanceStored(ALICE, study=STUDY, sop_instance_uid="1.2.3.4")))
    with repository.serving("--home", str(archive.home)):
        repository.tell(message)
    assert [kept.data for kept in repository.messages()] == [message]
    assert "alice: DICOM Instances Transferred" in archive.must("repository", "show")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_million_records_are_read_in_the_memory_of_few(tmp_path):
    archive = RunningArchive(tmp_path).init()
    trail = opened(archive)
    facts = events.InstanceStored(ALICE, study=STUDY, sop_instance_uid="1.2.3.4").facts()
    record = {"time": "2026-01-01T10:00:00.000+00:00", "kind": "instance-stored", "facts": facts}
    for _ in range(1_000):
        trail.append([record] * 1_000)
    trail.close()
    peaks = []
    for arguments in (["search", "--person", "nobody"], ["show", "--json"], ["export", "--csv", "-"]):
        command = [sys.executable, "-m", "archive", "audit", *arguments, "--home", str(archive.home)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peaks.append(usage.ru_maxrss / 1024)
    assert max(peaks) < 200, peaks
