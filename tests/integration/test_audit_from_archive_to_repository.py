"""Our archive tells our repository over mutual TLS: what arrives is what the trail says, and all of it is valid."""

import base64
import json
import subprocess
import sys

import pytest

from tests.simulators.audit_repositories import until
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import IMPLICIT, STUDY_FIND, Refused, User, identifier


def repository(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "archive", "repository", *arguments, "--folder", str(folder), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def message(kept):
    """The XML of a kept syslog message."""
    data = base64.b64decode(kept["data"]).decode()
    return data[data.index("<AuditMessage") :]


def test_what_people_do_at_the_archive_is_found_by_name_in_the_repository(tmp_path):
    archive = RunningArchive(tmp_path).init()
    archive.node("WS1", "radiologist")
    alice = archive.person("alice", "radiologist")
    command = [sys.executable, "-m", "archive", "repository", "serve", "--home", str(archive.home), "--port", "0"]
    command += ["--folder", str(tmp_path / "repository")]
    receiver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        ready = receiver.stdout.readline()
        assert ready.startswith("ready syslog-tls 127.0.0.1:"), ready
        port = int(ready.split()[2].rsplit(":", 1)[1])
        settings = archive.home / "strongroom.toml"
        settings.write_text(
            settings.read_text()
            + f'\n[[audit]]\nname = "department"\nhost = "127.0.0.1"\nport = {port}\nca = "pki/ca.pem"\n'
            + "confirm_seconds = 0.3\n"
        )
        with archive.serving():
            with archive.requestor("WS1", user=alice, contexts=[(STUDY_FIND, [IMPLICIT])]) as workstation:
                workstation.find(STUDY_FIND, identifier("STUDY", {0x0020000D: "", 0x00100020: "P1"}))
            with pytest.raises(Refused), archive.requestor("WS1", user=User(b"alice", b"wrong")):
                pass
        told = [one["kind"] for one in archive.trail()]
        assert {"query-performed", "user-authenticated", "application-stopped"} <= set(told)
        until(lambda: len(repository(tmp_path / "repository", "search", "--person", "alice")) >= 3)
        kept = repository(tmp_path / "repository", "show")
        assert all(one["valid"] and not one["findings"] for one in kept)
        assert [one["summary"]["time"] for one in kept] == sorted(one["summary"]["time"] for one in kept)
        arrived = [message(one) for one in kept]
        said = archive.must("audit", "show", "--all", "--xml").splitlines()
        assert arrived == [line for line in said if line.startswith("<AuditMessage")][: len(arrived)]
    finally:
        receiver.terminate()
        receiver.wait(30)
        receiver.stdout.close()
