"""An authority's stamp on a checkpoint: believed if everything of RFC 3161 holds, kept, and checked again later."""

import hashlib
import ssl
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder
from structlog.testing import capture_logs

from archive.audit.checkpoint import Checkpoint, read_checkpoints
from archive.audit.keeper import CheckpointKeeper
from archive.audit.timestamp import check_stamps, split_line
from archive.audit.timestamping import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Stamper
from archive.errors import SettingsInvalid
from archive.lab.tls import make_tls
from archive.settings import parse_settings
from storage.integrity.timestamp import MAX_TOKEN_BYTES, StampInvalid, StampVerifier
from tests.simulators.audit_trails import TrailOnDisk
from tests.simulators.timestamp_authority import (
    Authority,
    AuthorityServer,
    dripping,
    endless_head,
    replying,
    silent,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.made(tmp_path_factory.mktemp("tsa"))


@pytest.fixture
def trail(tmp_path):
    return TrailOnDisk(tmp_path / "trail").grow(3)


@pytest.fixture
def checkpoint(trail):
    return Checkpoint.claimed(trail.checkpoint())


class Bench:
    """A stamper with a clock that stands still, before a server that answers in some way."""

    def __init__(self, folder, authority, way, **options):
        self.now = 1000.0
        self.file = folder / "timestamps.jsonl"
        self.server = AuthorityServer(way)
        options = {"seconds": 5.0} | options
        self.stamper = Stamper(self.server.url, authority.ca, self.file, clock=lambda: self.now, **options)

    def stamped(self, checkpoint):
        """What the file holds, and what the log says."""
        with self.server, capture_logs() as said:
            self.stamper.stamp(checkpoint)
        return self.file.exists() and read_checkpoints(self.file), said


def altered(data, at):
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def kept(line, authority):
    text, token = split_line(line)
    return text, token, StampVerifier.trusting(authority.ca).kept(token, text.encode())


def test_a_good_stamp_is_kept_and_openssl_agrees(tmp_path, authority, checkpoint):
    (line,), said = Bench(tmp_path, authority, replying(authority.answer)).stamped(checkpoint)
    text, token, stamp = kept(line, authority)
    assert said == []
    assert text == checkpoint.line
    assert stamp.name == "CN=tsa,O=Clock"
    assert abs(stamp.time.timestamp() - time.time()) < 30
    assert authority.agrees(text.encode(), token)
    assert not authority.agrees(text.encode() + b" ", token)


def query_for(data):
    return TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build().as_bytes()


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        pytest.param(lambda query, line: query_for(b"something else"), "Nonce mismatch", id="wrong imprint and nonce"),
        pytest.param(lambda query, line: query_for(line), "Nonce mismatch", id="replayed: wrong nonce"),
        pytest.param(
            lambda query, line: query.replace(hashlib.sha256(line).digest(), bytes(32)), "messages", id="wrong imprint"
        ),
    ],
)
def test_a_stamp_for_something_else_is_not_kept(tmp_path, authority, checkpoint, forge, why):
    way = replying(lambda query: authority.answer(forge(query, checkpoint.line.encode())))
    lines, (warning,) = Bench(tmp_path, authority, way).stamped(checkpoint)
    assert not lines
    assert why in warning["error"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        pytest.param({"days": -1}, "certificate has expired", id="expired"),
        pytest.param({}, "issuer certificate", id="foreign"),
    ],
)
def test_an_authority_that_is_not_trusted_is_not_believed(tmp_path, authority, checkpoint, options, why):
    other = Authority.made(tmp_path / "other", "other", **options)
    trusted = other if options else authority
    lines, (warning,) = Bench(tmp_path, trusted, replying(other.answer)).stamped(checkpoint)
    assert not lines
    assert why in warning["error"]


@pytest.mark.parametrize(
    "usage", ["extendedKeyUsage=timeStamping", "extendedKeyUsage=critical,serverAuth", "keyUsage=digitalSignature"]
)
def test_a_certificate_that_is_not_for_stamping_is_refused(tmp_path, authority, checkpoint, usage):
    """RFC 3161 2.3: id-kp-timeStamping, critical."""
    again = Authority.made(tmp_path / "again", "again")
    weak = Authority.made(tmp_path / "weak", "weak", usage=usage)
    # Stamped after both certificates began to hold, which each does in the second in which it is made.
    (line,), _ = Bench(tmp_path, authority, replying(authority.answer)).stamped(checkpoint)
    text, token, _ = kept(line, authority)
    assert StampVerifier.trusting(again.ca).kept(again.resigned(token), text.encode()).name == "CN=again,O=Clock"
    with pytest.raises(StampInvalid, match="certificate purpose"):
        StampVerifier.trusting(weak.ca).kept(weak.resigned(token), text.encode())


@pytest.mark.parametrize(
    ("way", "why"),
    [
        (silent, "time"),
        (dripping, "time"),
        (endless_head, "longer"),
        (replying(lambda query: bytes(MAX_TOKEN_BYTES + 1)), "longer"),
        (replying(lambda query: b"", 302, Location="http://127.0.0.1:1/"), "status 302"),
        (replying(lambda query: b"", 500), "status 500"),
        (replying(lambda query: b"no DER"), "ASN.1"),
        (replying(lambda query: bytes.fromhex("30053003020102")), ""),
    ],
)
def test_a_server_that_misbehaves_costs_one_deadline_and_one_warning(tmp_path, authority, checkpoint, way, why):
    began = time.monotonic()
    lines, (warning,) = Bench(tmp_path, authority, way, seconds=0.4).stamped(checkpoint)
    assert time.monotonic() - began < 3
    assert not lines
    assert why in warning["error"]


def test_over_https_the_server_is_believed_under_the_same_file(tmp_path, authority, checkpoint):
    make_tls(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    both, file = tmp_path / "both.pem", tmp_path / "stamps"
    both.write_bytes(authority.ca.read_bytes() + (tmp_path / "ca.pem").read_bytes())
    with AuthorityServer(replying(authority.answer), context) as server, capture_logs() as said:
        Stamper(server.url, authority.ca, file, seconds=5).stamp(checkpoint)
        assert not file.exists() and "CERTIFICATE_VERIFY_FAILED" in said[0]["error"]
        Stamper(server.url, both, file, seconds=5).stamp(checkpoint)
    assert len(read_checkpoints(file)) == 1


def test_failures_are_tried_again_ever_more_rarely_and_said_once(tmp_path, authority, checkpoint):
    bench = Bench(tmp_path, authority, replying(lambda query: b"", 503))
    pauses = []
    with bench.server, capture_logs() as said:
        for _ in range(10):
            bench.stamper.stamp(checkpoint)
            asked, began = bench.server.requests, bench.now
            while bench.server.requests == asked and bench.now < began + LONGEST_PAUSE_SECONDS:
                bench.now += FIRST_PAUSE_SECONDS
                if bench.now - began < LONGEST_PAUSE_SECONDS:
                    bench.stamper.stamp(checkpoint)
            pauses.append(bench.now - began)
        bench.server.way = replying(authority.answer)
        bench.now += LONGEST_PAUSE_SECONDS
        bench.stamper.stamp(checkpoint)
        asked = bench.server.requests
        bench.stamper.stamp(checkpoint)
        assert bench.server.requests == asked, "a checkpoint is stamped once"
    assert pauses[0] < pauses[2] < pauses[-1] <= LONGEST_PAUSE_SECONDS
    assert [entry["event"] for entry in said] == ["checkpoints cannot be stamped", "checkpoints are stamped again"]


def test_the_keeper_has_checkpoints_stamped_and_a_silent_authority_holds_up_no_record(tmp_path, authority):
    trail = TrailOnDisk(tmp_path / "trail")
    file = tmp_path / "stamps"
    with AuthorityServer(silent) as server:
        with trail.opened() as opened:
            stamper = Stamper(server.url, authority.ca, file, seconds=0.5)
            keeper = CheckpointKeeper(opened, seconds=0.01, file=None, stamper=stamper)
            opened.append([trail.record()])
            while not server.requests:
                time.sleep(0.01)
            began = time.monotonic()
            for _ in range(20):
                opened.append([trail.record()])
            assert time.monotonic() - began < 2.0
        keeper.close()
    with AuthorityServer(replying(authority.answer)) as server:
        with trail.opened() as opened:
            stamper = Stamper(server.url, authority.ca, file, seconds=5)
            keeper = CheckpointKeeper(opened, seconds=60, file=None, stamper=stamper)
            opened.append([trail.record()])
        keeper.close()
    lines = [split_line(line) for line in read_checkpoints(file)]
    report = trail.verify(*(line for line, _ in lines))
    assert report.confirmed == report.checkpoint
    said = report.with_stamps(check_stamps(lines, StampVerifier.trusting(authority.ca)))
    assert said.faults == ()
    assert said.stamped.startswith(f"records up to {report.confirmed} stamped at 20")
    assert said.stamped.endswith(" by CN=tsa,O=Clock")
    assert "were not checked" in report.with_stamps(check_stamps(lines, None)).stamped


def test_a_token_that_was_tampered_with_is_a_fault(tmp_path, authority, trail, checkpoint):
    (line,), _ = Bench(tmp_path, authority, replying(authority.answer)).stamped(checkpoint)
    text, token = split_line(line)
    verifier = StampVerifier.trusting(authority.ca)
    moment = kept(line, authority)[2].time
    undetected = 0
    for at in range(len(token)):
        found = check_stamps([(text, altered(token, at))], verifier)
        undetected += not found.faults
        # What neither signature covers may change (CMS): the version, parameters of algorithms. Never what it says.
        assert found.faults or found.newest.time == moment
    assert undetected < 20
    report = trail.verify(text).with_stamps(check_stamps([(text, altered(token, len(token) // 2))], verifier))
    assert "the time stamp of checkpoint 1 from elsewhere" in report.faults[0]
    assert report.stamped == ""
    assert check_stamps([(text + " ", token)], verifier).faults, "a stamp of another line"


@given(st.binary(max_size=300))
def test_bytes_that_are_no_token_are_refused(authority, data):
    verifier = StampVerifier.trusting(authority.ca)
    with pytest.raises(StampInvalid):
        verifier.kept(data, b"a line")
    with pytest.raises(StampInvalid):
        verifier.answered(data, b"a line", 1)


@given(st.text(max_size=200) | st.sampled_from(['{"checkpoint":"a","token":"?"}', "[" * 5000, '{"token":"YQ=="}']))
def test_what_is_no_stamped_line_is_left_as_it_is(text):
    assert split_line(text) == (text, None)


@pytest.mark.parametrize(
    "url",
    [
        "http://tsa.example/",
        "http://127.0.0.1.example/",
        "http://localhost@tsa.example/",
        "https://user@tsa.example/",
        "https://tsa.example/a b",
        "https://tsa.example/#a",
        "https://tsa.example:0/",
        "https://tsa.example:65536/",
        "ftp://tsa.example",
    ],
)
def test_an_authority_is_asked_over_https_or_on_this_machine(url):
    with pytest.raises(SettingsInvalid, match="timestamp_url"):
        parse_settings(f"[trail]\ntimestamp_url = {url!r}\ntimestamp_ca = 'ca.pem'")


@pytest.mark.parametrize("url", ["https://tsa.example", "https://[::1]:8443/tsr?a=b", "http://127.0.0.1:65535/tsr"])
def test_who_is_asked_has_to_be_trusted_by_something(url):
    assert parse_settings(f"[trail]\ntimestamp_url = {url!r}\ntimestamp_ca = 'ca.pem'").trail.timestamp_url == url
    with pytest.raises(SettingsInvalid, match="timestamp_ca"):
        parse_settings(f"[trail]\ntimestamp_url = {url!r}")
