"""D18: an issuer that is down, silent, slow, excessive or somebody else lets nobody in, and holds nobody up."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from archive.lab.jwt_issuer import JwtIssuer
from auth.errors import AuthenticationFailed, ProviderMisconfigured, ProviderUnavailable
from auth.identity.chain import Vouched
from auth.identity.jwt import sources
from auth.identity.jwt.https import fetch, trusting
from auth.identity.jwt.provider import Jwt, JwtConfig
from tests.simulators.misbehaving_issuer import MisbehavingIssuer, answer, says, silent
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryUsers, node_identity
from tests.simulators.tokens import AUDIENCE, ISSUER, NOW, credential, jwks, token

DEADLINE = 0.4
NODE = node_identity()


def asking(url, ca, **settings):
    """A provider that asks an issuer at a URL, with `NOW` as the time unless a test moves it."""
    clock = settings.pop("clock", lambda: NOW)
    values = {"name": "idp", "realm": "hospital.example", "issuer": ISSUER, "audience": AUDIENCE, "discovery": url}
    config = JwtConfig(**(values | {"ca": ca, "deadline_seconds": DEADLINE} | settings))
    return Jwt(config, MemoryUsers(), PresentedInMemory(clock=clock), clock)


def why_unavailable(idp):
    """The reason, which comes before the deadline and some slack for this machine."""
    begun = time.monotonic()
    with pytest.raises(ProviderUnavailable) as unavailable:
        idp.verify(credential(token()), NODE)
    assert time.monotonic() - begun < DEADLINE + 1.0
    return unavailable.value.reason


def description(issuer=ISSUER, jwks_uri="https://127.0.0.1:1/keys"):
    said = {"issuer": issuer, "jwks_uri": jwks_uri}
    return json.dumps({name: value for name, value in said.items() if value is not None}).encode()


HEADER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEADER + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (silent, "the issuer does not answer in time"),
        (says(b"HTTP/1.1"), "the issuer's answer is not HTTP"),
        (says(b"HTTP/1.1 200"), "the issuer's description is refused: it is not JSON"),
        (says(b"H", b"T", 0.03), "the issuer does not answer in time"),
        (says(HEADER, b"X: y\r\n", 0.03), "the issuer does not answer in time"),
        (says(HEADER + b"Content-Length: 100000\r\n\r\n{", b" ", 0.03), "the issuer does not answer in time"),
        (says(CHUNKED, b"1\r\n \r\n", 0.03), "the issuer does not answer in time"),
        (
            says(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", 0.03),
            "the issuer does not answer in time",
        ),
        (says(HEADER, b"X: y\r\n" * 100), "the issuer's answer is not HTTP"),
        (says(HEADER, b"X" * 65_536), "the issuer's answer is not HTTP"),
        (says(HEADER + b"\r\n", b" " * 65_536), "the issuer's answer is longer than 262144 bytes"),
        (says(CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"), "the issuer's answer is longer than 262144 bytes"),
        (answer(b" " * 262_145), "the issuer's answer is longer than 262144 bytes"),
        (answer(b"", "301 Moved", "Location: /elsewhere"), "the issuer redirects, and redirects are not followed"),
        (
            answer(b"", "302 Found", "Location: https://127.0.0.1:1/"),
            "the issuer redirects, and redirects are not followed",
        ),
        (answer(b"", "307 Temporary", "Location: /"), "the issuer redirects, and redirects are not followed"),
        (answer(b"", "308 Permanent", "Location: /"), "the issuer redirects, and redirects are not followed"),
        (answer(description(), "404 Not Found"), "the issuer answers with status 404"),
        (answer(description(), "500 Oops"), "the issuer answers with status 500"),
        (answer(description(), "203 Transformed"), "the issuer answers with status 203"),
        (answer(b"\x1f\x8b", "200 OK", "Content-Encoding: gzip"), "the issuer's answer is compressed"),
        (says(b"220 mail.example ESMTP\r\n"), "the issuer's answer is not HTTP"),
        (says(CHUNKED + b"zz\r\n"), "the issuer's answer is not HTTP"),
        (answer(b"<html>"), "the issuer's description is refused: it is not JSON"),
        (answer(b'{"issuer": "a", "issuer": "b"}'), "the issuer's description is refused: a name is in it twice"),
        (answer(jwks()), "the issuer's description is of another issuer"),
        (answer(description("https://evil.example")), "the issuer's description is of another issuer"),
        (answer(description(ISSUER + "/")), "the issuer's description is of another issuer"),
        (answer(description([ISSUER])), "the issuer's description is of another issuer"),
        (answer(description(jwks_uri=None)), "the issuer does not say where its keys are"),
        (answer(description(jwks_uri=5)), "the issuer does not say where its keys are"),
        (answer(description(jwks_uri="http://127.0.0.1/keys")), "the issuer's keys are not at an https URL"),
        (answer(description(jwks_uri="file:///etc/passwd")), "the issuer's keys are not at an https URL"),
        (answer(description(jwks_uri="https://a:b@127.0.0.1/")), "the issuer's keys are not at an https URL"),
        (answer(description(jwks_uri="https://127.0.0.1:99999/")), "the issuer's keys are not at an https URL"),
        (
            answer(description(jwks_uri="https://127.0.0.1/ HTTP/1.1\r\nX: y")),
            "the issuer's keys are not at an https URL",
        ),
        (answer(description(jwks_uri="https://127.0.0.1:1/keys")), "the issuer cannot be reached"),
    ],
)
def test_an_issuer_that_does_not_answer_as_it_should_lets_nobody_in(tmp_path, script, reason):
    with MisbehavingIssuer(tmp_path, script) as issuer:
        assert why_unavailable(asking(issuer.url(), issuer.ca)) == reason


@pytest.mark.parametrize("script", [silent, says(b"HTTP/1.1 200 OK\r\n\r\n{}"), says(b"\x16\x03\x03", b"\x16", 0.03)])
def test_a_server_that_does_not_shake_hands_lets_nobody_in(tmp_path, script):
    with MisbehavingIssuer(tmp_path, script, tls=False) as issuer:
        assert why_unavailable(asking(issuer.url(), issuer.ca)) in (
            "the issuer does not answer in time",
            "the issuer cannot be reached",
        )


@pytest.mark.parametrize("script", [silent, says(b"H", b"T", 0.03), says(CHUNKED, b"1\r\n \r\n", 0.03)])
def test_a_dripping_issuer_does_not_keep_the_thread_that_asked_it(tmp_path, script):
    with MisbehavingIssuer(tmp_path, script) as issuer:
        begun = time.monotonic()
        with pytest.raises(ProviderUnavailable, match="the issuer does not answer in time"):
            fetch(issuer.url(), trusting(issuer.ca), begun + DEADLINE)
        assert time.monotonic() - begun < DEADLINE + 1.0


def test_an_issuer_that_is_down_lets_nobody_in(tmp_path):
    with MisbehavingIssuer(tmp_path, silent) as issuer:
        url, ca = issuer.url(), issuer.ca
    assert why_unavailable(asking(url, ca)) == "the issuer cannot be reached"


def test_keys_that_publish_a_secret_let_nobody_in(tmp_path):
    def script(connection, issuer):
        request = connection.recv(4096)
        body = (
            b'{"keys": [{"kty": "oct", "k": "AAAA"}]}'
            if b"/keys" in request
            else description(jwks_uri=issuer.url("/keys"))
        )
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    with MisbehavingIssuer(tmp_path, script) as issuer:
        assert why_unavailable(asking(issuer.url(), issuer.ca)) == (
            "the key set is refused: it publishes a symmetric key"
        )


def test_a_server_of_another_ca_is_not_the_issuer(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    with MisbehavingIssuer(tmp_path, silent) as issuer, MisbehavingIssuer(other, silent) as stranger:
        assert why_unavailable(asking(issuer.url(), stranger.ca)) == "the issuer's TLS certificate is not trusted"
        # Nor is one that only the operator's file vouches for, where the settings name no file.
        assert why_unavailable(asking(issuer.url(), None)) == "the issuer's TLS certificate is not trusted"


def test_a_certificate_for_another_name_is_not_the_issuers(tmp_path):
    with MisbehavingIssuer(tmp_path, silent) as issuer:
        url = issuer.url(host="localhost")
        assert why_unavailable(asking(url, issuer.ca)) == "the issuer's TLS certificate is not trusted"


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ftp://127.0.0.1/", "https://", "https://a b/", "https://x/#y"])
def test_an_issuer_that_is_not_at_an_https_url_is_not_asked(tmp_path, url):
    with MisbehavingIssuer(tmp_path, silent) as issuer:
        assert why_unavailable(asking(url, issuer.ca)) == "the issuer's keys are not at an https URL"


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_ca_file_that_is_none_is_told_at_the_start(tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProviderMisconfigured, match="idp: the issuer's CA file cannot be read"):
        asking("https://127.0.0.1/", path)


def test_a_crowd_at_a_silent_issuer_waits_for_one_question_and_one_deadline(tmp_path):
    with MisbehavingIssuer(tmp_path, silent) as issuer:
        idp = asking(issuer.url(), issuer.ca)
        begun = time.monotonic()
        with ThreadPoolExecutor(16) as crowd:
            reasons = list(crowd.map(lambda _: why_unavailable(idp), range(16)))
        assert time.monotonic() - begun < DEADLINE + 1.0
        assert set(reasons) == {"the issuer does not answer in time"}
        # Whoever comes a moment later makes us ask no more.
        why_unavailable(idp)
        assert issuer.connections == 1


def test_a_name_service_that_hangs_holds_one_thread_and_nobody_past_the_deadline(tmp_path, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(30) and [])
    moment = [NOW]
    with MisbehavingIssuer(tmp_path, silent) as issuer:
        idp = asking(issuer.url(), issuer.ca, clock=lambda: moment[0])
        before = threading.active_count()
        try:
            for _ in range(4):
                assert why_unavailable(idp) == "the issuer does not answer in time"
                moment[0] += timedelta(seconds=60)
            assert threading.active_count() == before + 1
        finally:
            released.set()
    for thread in threading.enumerate():
        if thread.name == "jwt-keys":
            thread.join(5)


def test_whatever_fetching_raises_lets_nobody_in(tmp_path, monkeypatch):
    def fails(*_):
        raise KeyError("secret text")

    monkeypatch.setattr(sources, "fetch", fails)
    assert why_unavailable(asking("https://127.0.0.1/", None)) == "the issuer's keys cannot be fetched (KeyError)"


# -- an issuer that answers -----------------------------------------------------------------------------------------


class Counting(JwtIssuer):
    """Counts how often it is asked for its keys, and may refuse to say."""

    asked, dumb = 0, False

    def document(self, path):
        self.asked += path == "/keys"
        return None if self.dumb else super().document(path)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    issuer = Counting(tmp_path_factory.mktemp("lab"), audience=AUDIENCE, algorithms=["ES256"], name=ISSUER)
    issuer.start()
    yield issuer
    issuer.stop()


@pytest.fixture
def moment():
    return [NOW]


@pytest.fixture
def asked(lab, moment):
    """A provider of the lab's issuer at a time that the test moves."""
    lab.asked, lab.dumb = 0, False
    lab.rotate()
    return asking(lab.discovery, lab.ca, clock=lambda: moment[0], deadline_seconds=5.0)


def fresh(lab, moment, **changes):
    seconds = int(moment[0].timestamp())
    return credential(lab.token("anna", iat=seconds, exp=seconds + 300, **changes).encode())


def test_keys_are_fetched_once_and_kept(lab, asked, moment):
    for _ in range(5):
        assert isinstance(asked.verify(fresh(lab, moment), NODE), Vouched)
        moment[0] += timedelta(seconds=50)
    assert lab.asked == 1


def test_unknown_key_ids_make_us_ask_once_in_an_interval(lab, asked, moment):
    asked.verify(fresh(lab, moment), NODE)
    for seconds, expected in ((1, 1), (9, 2), (1, 2), (1, 2), (10, 3)):
        moment[0] += timedelta(seconds=seconds)
        for number in range(3):
            with pytest.raises(AuthenticationFailed, match="the token's key is not one of its issuer's"):
                asked.verify(fresh(lab, moment, header={"kid": f"unknown-{number}"}), NODE)
        assert lab.asked == expected


def test_a_new_key_is_found_and_the_one_it_replaced_is_not_believed_any_more(lab, asked, moment):
    former = fresh(lab, moment)
    asked.verify(former, NODE)
    lab.rotate()
    moment[0] += timedelta(seconds=11)
    assert isinstance(asked.verify(fresh(lab, moment), NODE), Vouched)
    with pytest.raises(AuthenticationFailed, match="the token's key is not one of its issuer's"):
        asked.verify(former, NODE)


def test_keys_are_believed_for_their_time_while_the_issuer_is_silent_and_not_longer(lab, asked, moment):
    asked.verify(fresh(lab, moment), NODE)
    lab.dumb = True
    moment[0] += timedelta(seconds=299)
    assert isinstance(asked.verify(fresh(lab, moment), NODE), Vouched)
    with pytest.raises(AuthenticationFailed, match="the token's key is not one of its issuer's"):
        asked.verify(fresh(lab, moment, header={"kid": "unknown"}), NODE)
    moment[0] += timedelta(seconds=1)
    with pytest.raises(ProviderUnavailable, match="the issuer gave no keys when it was asked a moment ago"):
        asked.verify(fresh(lab, moment), NODE)
    moment[0] += timedelta(seconds=10)
    with pytest.raises(ProviderUnavailable, match="the issuer answers with status 404"):
        asked.verify(fresh(lab, moment), NODE)
    lab.dumb = False
    moment[0] += timedelta(seconds=10)
    assert isinstance(asked.verify(fresh(lab, moment), NODE), Vouched)


def test_a_clock_that_was_set_back_prolongs_no_key(lab, asked, moment):
    asked.verify(fresh(lab, moment), NODE)
    moment[0] -= timedelta(hours=1)
    asked.verify(fresh(lab, moment), NODE)
    assert lab.asked == 2


def test_people_with_known_keys_do_not_wait_for_those_with_unknown_ones(lab, asked, moment, monkeypatch):
    asked.verify(fresh(lab, moment), NODE)
    held = threading.Event()
    monkeypatch.setattr(sources, "fetch", lambda *_: held.wait(30) and b"{}")
    moment[0] += timedelta(seconds=11)
    stranger = fresh(lab, moment, header={"kid": "unknown"})
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(asked.verify, stranger, NODE)
        try:
            assert isinstance(asked.verify(fresh(lab, moment), NODE), Vouched)
            assert not waiting.done()
        finally:
            held.set()
        with pytest.raises(AuthenticationFailed, match="the token's key is not one of its issuer's"):
            waiting.result()
