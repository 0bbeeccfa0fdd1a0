"""What an operator does to a real archive: change it at rest and running, reload it, stop it, mend it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.simulators.dicom_files import packaged, read, valid
from tests.simulators.scu import CT, EXPLICIT, IMPLICIT, STUDY_FIND, VERIFICATION, Refused, identifier

STUDY_UID = 0x0020000D


def store_ct(archive):
    (path,) = [path for path in packaged() if path.name == "CT_small.dcm"]
    file = valid(read(path))
    with archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
        assert modality.store(CT, file.instance, file.data).status == 0


def changes(archive):
    return [record["facts"] for record in archive.trail() if record["kind"] == "configuration-changed"]


def study(archive):
    [found] = json.loads(archive.must("study", "list", "--json"))
    return found


def echoes(archive, title, **options):
    with archive.requestor(title, contexts=[(VERIFICATION, [IMPLICIT])], **options) as peer:
        return peer.echo()


def test_a_change_is_effective_at_once_and_names_its_operator_running_or_not(archive):
    if archive.process is not None:
        archive.stop()
    archive.node("CT1", "modality")
    archive.person("alice", "radiologist")
    at_rest = len(changes(archive))
    archive.start()
    archive.node("CT2", "modality")
    assert echoes(archive, "CT1") == echoes(archive, "CT2") == 0
    archive.must("node", "remove", "CT1")
    with pytest.raises((Refused, OSError)):
        echoes(archive, "CT1")
    archive.must("user", "disable", "alice")
    told = changes(archive)
    assert len(told) == at_rest + 3
    assert all(facts["actor"]["os_user"] for facts in told)
    assert [facts["description"].split()[0:2] for facts in told[-3:]] == [
        ["node", "CT2"],
        ["node", "CT1"],
        ["user", "alice"],
    ]
    [alice] = json.loads(archive.must("user", "list", "--json"))
    assert alice["enabled"] is False
    archive.must("user", "disable", "alice", "--undo")


def test_a_removed_node_is_denied_within_its_open_association(archive):
    archive.node("CT1", "modality")
    with archive.requestor("CT1", contexts=[(VERIFICATION, [IMPLICIT])]) as peer:
        assert peer.echo() == 0
        archive.must("node", "remove", "CT1")
        assert peer.echo() != 0


def test_verbs_at_the_same_moment_are_all_done(archive):
    for running in (True, False):
        if not running:
            archive.stop()
        names = [f"N{number}{'R' if running else 'S'}" for number in range(4)]
        verbs = [
            subprocess.Popen(
                [sys.executable, "-m", "archive", "node", "add", name, "--plain", "--home", str(archive.home)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for name in names
        ]
        assert [verb.wait(170) for verb in verbs] == [0] * 4
        listed = {node["ae_title"] for node in json.loads(archive.must("node", "list", "--json"))}
        assert set(names) <= listed


def test_sighup_takes_good_policies_and_keeps_the_old_ones_for_bad(archive):
    archive.node("CT1", "modality")
    assert echoes(archive, "CT1") == 0
    roles = archive.home / "policies" / "roles.cedar"
    good = roles.read_text()
    before = len(changes(archive))
    roles.write_text("permit (")
    archive.process.send_signal(signal.SIGHUP)
    until(lambda: "nothing was changed" in archive.log())
    assert echoes(archive, "CT1") == 0
    assert len(changes(archive)) == before
    forbid = '@id("closed") forbid (principal, action, resource);\n'
    roles.write_text(good + forbid)
    archive.process.send_signal(signal.SIGHUP)
    until(lambda: len(changes(archive)) == before + 1)
    with pytest.raises(Refused):
        echoes(archive, "CT1")


def until(condition):
    """Wait for something that has to happen; the test's own timeout ends it if it does not."""
    while not condition():
        time.sleep(0.05)


def test_sigterm_leaves_plain_files_and_says_so_in_the_trail(archive):
    archive.node("CT1", "modality")
    store_ct(archive)
    with archive.requestor("CT1", contexts=[(VERIFICATION, [IMPLICIT])]):
        assert archive.stop() == 0
    assert archive.paths()["index"].is_file()
    left = {path.name for path in archive.home.iterdir()}
    assert left == {
        "blobs",
        "detection.toml",
        "index.sqlite",
        "keys",
        "ledger",
        "lock",
        "pki",
        "policies",
        "records.sqlite",
        "strongroom.toml",
        "trail",
    }
    last = [record["kind"] for record in archive.trail()[-3:]]
    assert last == ["network-left", "application-stopped", "recording-stopped"]
    archive.must("verify", "--full")
    archive.must("audit", "verify")


@pytest.mark.parametrize("damage", ["nothing", "rows", "garbage", "absent"])
def test_a_rebuilt_index_answers_as_before_and_people_and_nodes_are_untouched(archive, damage):
    archive.node("CT1", "modality")
    archive.node("WS1", "radiologist")
    alice = archive.person("alice", "radiologist")
    store_ct(archive)
    archive.must("study", "label", study(archive)["study_uid"], "research", "teaching")
    archive.must("study", "label", study(archive)["study_uid"], "teaching", "--remove")
    before = study(archive)
    assert before["labels"] == ["research"]
    archive.stop()
    index = archive.paths()["index"]
    match damage:
        case "rows":
            with sqlite3.connect(index) as connection:
                connection.execute("DELETE FROM instance")
                connection.execute("UPDATE study SET labels = ''")
            connection.close()
        case "garbage":
            index.write_bytes(os.urandom(65_536))
        case "absent":
            index.unlink()
    if damage != "nothing":
        assert archive.strongroom("verify", "--full").returncode == 1
    archive.must("rebuild")
    archive.must("verify", "--full")
    assert study(archive) == before
    archive.start()
    with archive.requestor("WS1", user=alice, contexts=[(STUDY_FIND, [IMPLICIT])]) as workstation:
        found, final = workstation.find(STUDY_FIND, identifier("STUDY", {STUDY_UID: ""}))
    assert len(found) == 1 and final.status == 0


def test_a_refusal_is_explained_with_the_command_that_ends_it(archive):
    archive.node("WS1", "radiologist")
    with pytest.raises(Refused):
        echoes(archive, "WS1")
    [refusal] = json.loads(archive.must("node", "recent", "--limit", "1", "--json"))
    assert "WS1" in refusal["what"] and "--identity optional" in refusal["command"]


def test_doctor_finds_what_is_wrong(archive):
    assert archive.strongroom("doctor").returncode == 0
    (archive.home / "pki" / "signer.key").chmod(0o644)
    done = archive.strongroom("doctor", "--json")
    assert done.returncode == 1
    wrong = [finding for finding in json.loads(done.stdout) if finding["state"] == "WRONG"]
    assert [finding["what"] for finding in wrong] == ["signer key"]
