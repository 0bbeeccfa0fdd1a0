"""The trail told to repositories: a real rsyslog over mutual TLS, UDP, and a FHIR server."""

import contextlib
import hashlib
import json
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from archive.audit.events import Actor, ApplicationStarted
from archive.audit.forward import sender, tls
from archive.audit.forward.forwarding import Forwarding, Origin, this_source
from archive.audit.forward.link import RepositoryUnavailable
from archive.audit.forward.position import StandingFile
from archive.audit.forward.syslog import Header
from archive.audit.forward.tail import TrailTail
from archive.audit.forward.target import AuditTarget
from archive.audit.log import AuditLog
from archive.audit.message import render
from archive.audit.trail import AuditTrail, read_trail
from archive.home import Home
from archive.keys import load_keyring
from auth.node.authority import load
from tests.simulators.audit_repositories import FhirRepository, Rsyslog, until
from tests.simulators.audit_source import KEY, SOURCE, event
from tests.simulators.certificates import authority_in, make
from tests.simulators.running_archive import RunningArchive, free_port


class Scene:
    """A trail, and whoever forwards it."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = authority_in(folder / "pki")
        self.trail = AuditTrail(folder / "trail", KEY, segment_bytes=200_000)
        self.log = AuditLog(self.trail)
        self.recorded = 0

    def record(self, count):
        self.log.record(*(event(self.recorded + number, f"[{number}]") for number in range(count)))
        self.recorded += count

    def target(self, port, **more):
        given = {
            "host": "127.0.0.1",
            "ca": self.authority.files.trust,
            "deadline": timedelta(seconds=5),
            "confirm": timedelta(seconds=0.3),
            "longest_pause": timedelta(seconds=0.2),
        }
        return AuditTarget("repository", port=port, **given | more)

    @contextlib.contextmanager
    def forwarding(self, *targets, patience_seconds=1e9):
        origin = Origin(
            self.folder / "trail", KEY, self.folder / "forward", SOURCE, self.authority.files.server_identities[0]
        )
        forwarding = Forwarding(targets, origin, self.log, patience_seconds=patience_seconds)
        forwarding.start()
        try:
            yield
        finally:
            forwarding.close()

    def standing(self):
        return StandingFile(self.folder / "forward", "repository").load()

    def confirmed(self):
        place = self.standing().place
        return place.sequence if place else 0

    def records(self):
        return list(read_trail(self.folder / "trail", KEY))

    def messages(self):
        return [render(record, SOURCE).encode() for record in self.records()]

    def rsyslog(self, peer="localhost"):
        return Rsyslog(self.folder / "rsyslog", self.authority, free_port(), peer)

    def told(self):
        """What the events say of the repository."""
        said = (record.facts.get("description", "") for record in self.records())
        return [words for words in said if words.startswith("audit repository")]


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.trail.close()


@pytest.fixture
def rsyslog(scene):
    made = scene.rsyslog().start()
    yield made
    made.stop()


def first_occurrences(messages):
    return list(dict.fromkeys(messages))


def test_every_event_of_a_day_arrives_byte_for_byte_and_in_order(scene, rsyslog):
    scene.record(400)
    with scene.forwarding(scene.target(rsyslog.port)):
        for _ in range(2):
            scene.record(50)
            until(lambda: scene.confirmed() == scene.trail.sequence)
    until(lambda: len(rsyslog.messages()) >= 500)
    assert rsyslog.messages() == scene.messages()
    times = [record.time for record in scene.records()]
    for header, time in zip(rsyslog.headers(), times, strict=True):
        pri, timestamp, host, application, _, identifier, data = header.split(" ")
        assert (pri, host, application, identifier, data) == (
            "85",
            "archive.example",
            "strongroom",
            "IHE+RFC-3881",
            "-",
        )
        assert timestamp == time


def test_the_last_events_before_the_end_are_handed_over_too(scene, rsyslog):
    with scene.forwarding(scene.target(rsyslog.port, confirm=timedelta(seconds=60))):
        scene.record(10)
    assert scene.confirmed() == 10
    until(lambda: len(rsyslog.messages()) == 10)


def test_a_repository_restarted_in_the_middle_has_everything_in_order_once_or_more(scene, rsyslog):
    scene.record(3_000)
    with scene.forwarding(scene.target(rsyslog.port)):
        for _ in range(2):
            until(lambda: len(rsyslog.messages()) > 100)
            rsyslog.stop()
            scene.record(1_000)
            rsyslog.start()
        until(lambda: scene.confirmed() == scene.trail.sequence, 60)
    until(lambda: rsyslog.messages()[-1:] == scene.messages()[-1:])
    assert first_occurrences(rsyslog.messages()) == scene.messages()


def test_a_repository_that_is_away_is_told_once_and_once_that_it_is_back(scene):
    rsyslog = scene.rsyslog()
    scene.record(5)
    with scene.forwarding(scene.target(rsyslog.port), patience_seconds=0.5):
        until(scene.told)
        until(lambda: scene.standing().unreachable_since)
        assert len(scene.told()) == 1 and "Connection refused" in scene.told()[0]
        rsyslog.start()
        until(lambda: len(scene.told()) == 2)
        until(lambda: scene.confirmed() == scene.trail.sequence == 7)
    rsyslog.stop()
    assert first_occurrences(rsyslog.messages()) == scene.messages()
    assert "takes messages again" in scene.told()[1]


def refused(scene, target):
    """Forward for as long as it takes to fail; why it did."""
    scene.record(3)
    with scene.forwarding(target):
        until(lambda: scene.standing().last_error)
    assert scene.confirmed() == 0
    return scene.standing().last_error


def test_a_certificate_that_the_repository_does_not_accept_is_noticed_although_tls_1_3_connects(scene):
    rsyslog = scene.rsyslog(peer="somebody-else").start()
    assert refused(scene, scene.target(rsyslog.port))
    rsyslog.stop()
    assert rsyslog.messages() == []


def test_a_client_certificate_of_another_authority_is_no_delivery(scene, rsyslog, tmp_path):
    certificate, key = make("localhost").write(tmp_path / "stranger", "stranger")
    assert refused(scene, scene.target(rsyslog.port, certificate=certificate, key=key))
    assert rsyslog.messages() == []


def test_a_repository_of_another_name_gets_nothing(scene, rsyslog):
    reason = refused(scene, scene.target(rsyslog.port, server_name="arr.hospital.example"))
    assert "certificate is not accepted" in reason and "arr.hospital.example" in reason
    assert rsyslog.messages() == []


def test_a_repository_under_another_authority_gets_nothing(scene, rsyslog, tmp_path):
    other = make("other", ca=True)
    (tmp_path / "other.pem").write_bytes(other.certificate.public_bytes(Encoding.PEM))
    assert "certificate is not accepted" in refused(scene, scene.target(rsyslog.port, ca=tmp_path / "other.pem"))


def test_a_pinned_fingerprint_admits_that_certificate_and_no_other(scene, rsyslog):
    assert "another one" in refused(scene, scene.target(rsyslog.port, fingerprint="0" * 64))
    pem = scene.authority.files.certificate("server-rsa").read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + len("-----END CERTIFICATE-----\n")])
    with scene.forwarding(scene.target(rsyslog.port, fingerprint=hashlib.sha256(der).hexdigest())):
        until(lambda: scene.confirmed() == 3)


def test_a_peer_that_takes_bytes_and_never_ends_the_connection_confirms_nothing(scene):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*scene.authority.files.server_identities[1])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        scene.record(3)
        with scene.forwarding(scene.target(port, deadline=timedelta(seconds=0.5))):
            plain, _ = listener.accept()
            with context.wrap_socket(plain, server_side=True) as silent:
                silent.settimeout(5)
                assert silent.recv(65_536)
                until(lambda: scene.standing().last_error)
    assert "not confirmed" in scene.standing().last_error and scene.confirmed() == 0


def test_an_end_that_crosses_ours_with_something_unread_confirms_nothing(scene, monkeypatch):
    """The receiver's close_notify was sent before it read what we sent: only its reset tells."""
    monkeypatch.setattr(tls, "_hear", lambda *_: None)  # the moment after we have looked
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*scene.authority.files.server_identities[1])
    scene.record(1)
    (record,) = scene.records()
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        target = scene.target(listener.getsockname()[1])
        identity = scene.authority.files.server_identities[0]
        connecting = pool.submit(tls.TlsLink, target, identity, Header("h", 1, "IHE+RFC-3881"))
        with context.wrap_socket(listener.accept()[0], server_side=True) as receiver:
            link = connecting.result()
            link.send(record, "<AuditMessage/>")
            link.flush()
            receiver.settimeout(0)
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLError):
                receiver.unwrap()
        with pytest.raises(RepositoryUnavailable, match="not confirmed"):
            link.confirm()


def test_udp_is_sent_only_where_the_settings_call_it_insecure_and_cuts_what_is_too_long(scene):
    long = "ä" * 3_000
    scene.log.record(ApplicationStarted(Actor(), reason=long))
    scene.record(2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        target = scene.target(receiver.getsockname()[1], transport="udp-insecure", ca=None, datagram_bytes=2048)
        with scene.forwarding(target):
            datagrams = [receiver.recv(65_536) for _ in range(3)]
            until(lambda: scene.confirmed() == 3)
    assert 2044 < len(datagrams[0]) <= 2048 and datagrams[0].decode().endswith("ä")
    assert [datagram.split(b" - ", 1)[1] for datagram in datagrams[1:]] == scene.messages()[1:]
    assert long in scene.messages()[0].decode(), "the trail has it whole"


def test_records_removed_before_they_were_forwarded_are_told_once(scene, rsyslog):
    scene.record(1)
    with scene.forwarding(scene.target(rsyslog.port)):
        until(lambda: scene.confirmed() == 1)
    for _ in range(15):
        scene.record(100)
    first, second, third, *_ = sorted((scene.folder / "trail").glob("*.trail"))
    first.unlink()
    second.unlink()
    kept = int(third.stem)
    with scene.forwarding(scene.target(rsyslog.port)):
        until(lambda: scene.confirmed() == scene.trail.sequence == 1502)
    tail = TrailTail(scene.folder / "trail", KEY)
    said = [record.facts.get("description", "") for record, _ in iter(lambda: next(tail.read(), None), None)]
    assert [words for words in said if "removed" in words] == [
        f"audit repository repository: records 2 to {kept - 1} were removed before they were forwarded"
    ]


@pytest.fixture
def fhir(scene):
    made = FhirRepository(scene.authority)
    yield made
    made.close()


def test_a_fhir_repository_gets_an_audit_event_for_each_record_in_order(scene, fhir):
    scene.record(40)
    with scene.forwarding(scene.target(fhir.port, transport="fhir", path="/base/")):
        until(lambda: scene.confirmed() == 40)
    assert set(fhir.paths) == {"/base/AuditEvent"}
    assert [taken["recorded"] for taken in fhir.taken] == [record.time for record in scene.records()]
    assert [f"[{number}]" in json.dumps(taken) for number, taken in enumerate(fhir.taken)] == [True] * 40


def test_a_fhir_repository_that_is_busy_or_broken_is_asked_again(scene, fhir):
    answers = iter([503, 429, 500, 401])
    fhir.answer = lambda _: next(answers, 201)
    scene.record(5)
    with scene.forwarding(scene.target(fhir.port, transport="fhir")):
        until(lambda: scene.confirmed() == 5)
    assert len(fhir.taken) == 5 and scene.standing().refused == 0


def test_a_message_that_a_fhir_repository_refuses_does_not_hold_up_the_rest(scene, fhir):
    fhir.answer = lambda taken: 422 if "[3]" in json.dumps(taken) else 201
    scene.record(8)
    with scene.forwarding(scene.target(fhir.port, transport="fhir")):
        until(lambda: scene.confirmed() == scene.trail.sequence == 9)
    kept = [json.loads(line) for line in (scene.folder / "forward" / "repository.refused").read_text().splitlines()]
    assert kept == [{"sequence": 4, "reason": "status 422"}]
    assert len(fhir.taken) == 8 and scene.standing().refused == 1
    assert len(scene.told()) == 1 and "1 messages were refused" in scene.told()[0]


def test_pauses_between_attempts_grow_to_the_longest_and_no_further(scene):
    with scene.forwarding():
        pass
    idle = sender.Sender(
        scene.target(1, longest_pause=timedelta(seconds=8)), None, StandingFile(scene.folder / "f", "x"), scene.log
    )
    for failures, longest in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 8), (10_000, 8)]:
        idle._failures = failures
        assert longest / 2 <= idle._pause() <= longest


def test_a_serving_archive_forwards_its_trail_and_says_how_far(tmp_path):
    archive = RunningArchive(tmp_path).init()
    authority = load(archive.home / "pki")
    rsyslog = Rsyslog(tmp_path / "rsyslog", authority, free_port(), "STRONGROOM")
    section = f'\n[[audit]]\nname = "arr"\nhost = "127.0.0.1"\nport = {rsyslog.port}\nca = "pki/ca.pem"\n'
    with (archive.home / "strongroom.toml").open("a") as settings:
        settings.write(section + "longest_pause_seconds = 0.2\nconfirm_seconds = 0.2\n")
    with archive.serving():
        archive.person("alice", "physician")
        until(lambda: status(archive)["unreachable_since"])
        assert archive.strongroom("audit", "forward", "status").returncode == 1
        rsyslog.start()
        until(lambda: status(archive)["confirmed"] and not status(archive)["behind"])
        assert "arr" in archive.must("audit", "forward", "status")
    rsyslog.stop()
    home = Home.at(archive.home)
    source = this_source("STRONGROOM")
    recorded = [render(record, source).encode() for record in read_trail(home.trail, load_keyring(home).audit_key)]
    assert first_occurrences(rsyslog.messages()) == recorded
    assert any(b"Application Stop" in message for message in recorded[-4:]), "its end is told before it ends"
    assert status(archive)["behind"] == 0


def status(archive):
    (standing,) = json.loads(archive.strongroom("audit", "forward", "status", "--json").stdout)
    return standing
