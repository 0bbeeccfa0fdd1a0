"""The door of the Audit Record Repository: honest reporters are kept; whoever else stands there costs little."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import psutil
import pytest

from archive.audit import events
from archive.audit.events import Actor, Outcome, StudyTouched
from archive.audit.trail import read_trail
from archive.repository.folder import RepositoryFolder
from archive.repository.limits import Limits
from tests.simulators.audit_sender import RunningRepository, framed, material_in, syslog, xml_of

ALICE = Actor(person="alice", node="WS1", ae_title="WS1", address="10.0.0.2")
STUDY = StudyTouched("1.2.3", "P1", "Doe^Jane", "A7", {"1.2.840.10008.5.1.4.1.1.2": 3})
STORED = syslog(xml_of(events.InstanceStored(ALICE, study=STUDY, sop_instance_uid="1.2.3.4")))
REFUSED = syslog(xml_of(events.AccessRefused(Actor(person="bob"), Outcome.SERIOUS_FAILURE, "no permit", "Retrieve")))


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return material_in(tmp_path_factory.mktemp("material"))


@pytest.fixture
def repository(tmp_path, material):
    repository = RunningRepository(tmp_path / "kept", material)
    with repository.serving():
        yield repository


def kept(repository):
    return [message.data for message in repository.messages()]


def found(repository, *search):
    done = repository.strongroom("search", *search, "--json")
    assert done.returncode == 0, done.stderr
    return [one["number"] for one in json.loads(done.stdout)]


def numbered(number):
    return STORED + b"<!--%d-->" % number


def until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_messages_are_kept_octet_by_octet_judged_and_found(repository, material):
    broken = b"<85>1 - h a p IHE+RFC-3881 - \xff<AuditMessage/>"
    repository.tell(STORED, broken, REFUSED)
    assert kept(repository) == [STORED, broken, REFUSED]
    first, second, third = repository.messages()
    assert (first.valid, second.valid, third.valid) == (True, False, True)
    assert first.sender.transport == "tls" and len(first.sender.certificate) == 64
    assert found(repository, "--person", "ALICE", "--patient", "p1", "--event", "transferred", "--study", "1.2.3") == [
        1
    ]
    assert found(repository, "--outcome", "failed") == [3]
    assert found(repository, "--invalid") == [2]
    assert found(repository, "--until", "2020-01-01") == found(repository, "--source", "nobody") == []
    line = repository.strongroom("show").stdout.splitlines()[0]
    assert all(word in line for word in ("alice", "DICOM Instances Transferred", "patient P1 Doe^Jane", "study 1.2.3"))
    page = repository.strongroom("show", "2").stdout
    assert "INVALID" in page and "not UTF-8 (PS3.15 A.5.1)" in page
    assert "<AuditMessage>" in repository.strongroom("show", "1", "--xml").stdout
    assert repository.end() == 0


def test_reading_is_recorded_with_what_was_asked_for(repository):
    repository.tell(STORED)
    assert found(repository, "--patient", "P1") == [1]
    folder = RepositoryFolder(repository.folder)
    (record,) = read_trail(folder.readings, folder.key())
    assert record.kind == "audit-log-used" and "patient=P1" in record.facts["reason"]


def test_datagrams_are_kept_and_marked_as_unproved(repository):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(20):
            sender.sendto(numbered(number), ("127.0.0.1", repository.udp_port))
        sender.sendto(STORED[:700], ("127.0.0.1", repository.udp_port))
        until(lambda: len(kept(repository)) == 21)
    messages = repository.messages()
    assert {message.sender.transport for message in messages} == {"udp"}
    assert kept(repository)[:20] == [numbered(number) for number in range(20)]
    assert not messages[20].valid


def test_nobody_tells_anything_without_a_certificate_of_the_authority(repository, material):
    for who in (None, material.stranger):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            raw = socket.create_connection(("127.0.0.1", repository.port), 10)
            with material.client(who).wrap_socket(raw) as connection:
                connection.sendall(framed(STORED))
                if connection.recv(1) == b"":
                    raise ConnectionResetError
    plain = socket.create_connection(("127.0.0.1", repository.port), 10)
    with plain:
        plain.sendall(framed(STORED))
        plain.settimeout(15)
        with pytest.raises(ConnectionError):
            while plain.recv(100):
                pass
            raise ConnectionResetError
    repository.tell(REFUSED)
    assert kept(repository) == [REFUSED]


def test_a_bad_count_ends_the_connection_and_what_came_before_it_is_kept(repository):
    bad = [b"4294967296 ", b"1048577 ", b"007 ", b"x", b"<85>1 - - - - - -\n", b"0 "]
    for number, count in enumerate(bad):
        with repository.connect() as connection:
            connection.sendall(framed(numbered(number)) + count)
            connection.settimeout(5)
            assert connection.recv(1) == b"", count
    assert kept(repository) == [numbered(number) for number in range(len(bad))]


def test_a_message_of_the_largest_size_is_kept_even_where_json_makes_it_six_times_as_large(repository):
    largest = b"\x01" * Limits().message_bytes
    quotes = b'"' * Limits().message_bytes
    repository.tell(largest, quotes, STORED)
    assert kept(repository) == [largest, quotes, STORED]


def test_a_bomb_is_kept_as_the_text_it_is(repository):
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    bomb = syslog(f'<!DOCTYPE a [<!ENTITY e0 "ha">{entities}]><AuditMessage>&e9;</AuditMessage>')
    before = psutil.Process(repository.process.pid).memory_info().rss
    repository.tell(*[bomb] * 20)
    assert psutil.Process(repository.process.pid).memory_info().rss - before < 16 * 1024 * 1024
    (one,) = {finding.says for message in repository.messages() for finding in message.findings}
    assert "document type" in one


def test_a_hundred_silent_and_dripping_peers_keep_no_reporter_waiting(repository, material):
    process = psutil.Process(repository.process.pid)
    repository.tell(STORED)
    before = process.memory_info().rss
    silent = [socket.create_connection(("127.0.0.1", repository.port), 10, (f"127.0.1.{n + 1}", 0)) for n in range(100)]
    dripping = [repository.connect(source="127.0.2.1") for _ in range(5)]
    over = threading.Event()

    def drip():
        for octet in b"1000000 " + b"x" * 1000:
            for peer in dripping:
                peer.send(bytes([octet]))
            if over.wait(0.05):
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        begun = time.monotonic()
        repository.tell(REFUSED)
        assert time.monotonic() - begun < 5
        assert process.memory_info().rss - before < 32 * 1024 * 1024
    finally:
        over.set()
        thread.join()
        for peer in (*silent, *dripping):
            peer.close()
    assert kept(repository) == [STORED, REFUSED]


def test_one_source_has_no_more_connections_than_its_share_and_others_still_get_in(repository):
    many = [repository.connect(source="127.0.3.1") for _ in range(Limits().connections_per_source)]
    try:
        with repository.connect(source="127.0.3.1") as one_more:
            one_more.settimeout(5)
            assert one_more.recv(1) == b""
        repository.tell(STORED)
    finally:
        for connection in many:
            connection.close()
    assert len(kept(repository)) == 1


def test_what_was_kept_survives_kill_9_and_the_next_run_goes_on_behind_it(repository, material):
    seen = 0
    for number in range(3):
        repository.tell(numbered(number))
        # A reporter in the middle of its flow; only what was complete and kept before the kill has to be there.
        connection = repository.connect()
        connection.sendall(framed(*[numbered(number)] * 50) + b"500 <85>1")
        until(lambda seen=seen: len(kept(repository)) >= seen + 1)
        seen = len(kept(repository))
        assert repository.end(signal.SIGKILL) == -signal.SIGKILL
        connection.close()
        assert len(kept(repository)) >= seen
        repository.start()
        seen = len(kept(repository))
    assert set(kept(repository)) == {numbered(number) for number in range(3)}


def test_it_ends_rather_than_take_what_it_cannot_keep(repository):
    repository.tell(STORED)
    (segment,) = (repository.folder / "messages").glob("*.trail")
    # As on a full disk: the file may not grow beyond a part of what comes.
    room = segment.stat().st_size + 100
    psutil.Process(repository.process.pid).rlimit(psutil.RLIMIT_FSIZE, (room, room))
    with repository.connect() as connection:
        connection.sendall(framed(REFUSED))
        assert repository.process.wait(20) == 2, repository.log()
    assert "E110" in repository.log()
    repository.process.stdout.close()
    repository.process = None
    assert kept(repository) == [STORED]
    repository.start()
    repository.tell(REFUSED)
    assert kept(repository) == [STORED, REFUSED]


def test_two_repositories_never_write_the_same_folder(repository, material):
    cert, key = material.server
    named = ["--cert", str(cert), "--key", str(key), "--ca", str(material.ca), "--port", "0"]
    second = repository.strongroom("serve", *named)
    assert second.returncode == 2 and f"process {repository.process.pid}" in second.stderr


def test_certificates_are_named_together_and_udp_only_by_its_word(tmp_path, material):
    repository = RunningRepository(tmp_path / "kept", material)
    for arguments in (["--cert", str(material.ca)], ["--udp", "yes"]):
        done = repository.strongroom("serve", *arguments)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "E107" in done.stderr


def test_check_says_what_is_wrong_with_a_file_and_that_it_is(tmp_path):
    def check(data):
        (tmp_path / "message.xml").write_bytes(data)
        command = [sys.executable, "-m", "archive", "repository", "check", str(tmp_path / "message.xml")]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    good, bad = check(STORED), check(STORED[STORED.index(b"<Audit") :].replace(b"110152", b"110150"))
    assert (good.returncode, good.stdout) == (0, "DICOM Instances Transferred: as it should be\n")
    assert bad.returncode == 1 and "Destination Role ID (110152)" in bad.stdout and "A.5.3.7" in bad.stdout
