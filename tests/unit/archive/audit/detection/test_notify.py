"""Warning people outside: over real TLS, together, again while it fails, never in anybody's way."""

import contextlib
import json
import re
import socketserver
import ssl
import threading
import time
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from archive.audit.detection.mail import Mail, MailConfig
from archive.audit.detection.notify import MAX_WAITING, Notice, Outbox
from archive.audit.detection.settings import parse_detection
from archive.audit.detection.webhook import Webhook, WebhookConfig
from archive.audit.events import Actor, Outcome, SecurityAlert
from archive.errors import SettingsInvalid
from archive.home import Home
from auth.credential import Secret
from tests.simulators.acceptor import wait_until
from tests.simulators.certificates import authority_in

WHEN = datetime(2026, 3, 2, 8, tzinfo=UTC)
SHIPPED = Path(__file__).parents[5] / "config" / "detection.toml"


def alert(text="mass query: alice: 501 queries in this hour"):
    return SecurityAlert(Actor(person="alice"), Outcome.MINOR_FAILURE, description=text)


NOTICES = [Notice(WHEN, alert()), Notice(WHEN, alert("clock jump: Zürich\r\n.\r\nQUIT"))]


class Listener:
    """A server on loopback with a certificate for 127.0.0.1, whose every connection is handled by a function."""

    def __init__(self, folder, handle):
        authority = authority_in(folder / "pki")
        self.ca = authority.files.trust
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for certificate, key in authority.files.server_identities:
            self.tls.load_cert_chain(certificate, key)
        self.received = []
        listener = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    handle(listener, self.request)
                except (OSError, ssl.SSLError):
                    return

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


# -- webhook --------------------------------------------------------------------------------------------------------


def answering(answer, drip=None):
    def handle(listener, connection):
        with listener.tls.wrap_socket(connection, server_side=True) as peer:
            data = b""
            while (end := data.find(b"\r\n\r\n")) < 0:
                data += peer.recv(65_536)
            length = int(re.search(rb"Content-Length: (\d+)", data)[1])
            while len(data) < end + 4 + length:
                data += peer.recv(65_536)
            listener.received.append(data)
            for piece in (bytes((byte,)) for byte in answer) if drip else (answer,):
                peer.sendall(piece)
                time.sleep(drip or 0)

    return handle


def webhook(listener, **changes):
    config = {"url": f"https://127.0.0.1:{listener.port}/alerts?x=1", "ca": listener.ca, **changes}
    return Webhook(WebhookConfig(**config), "STRONGROOM")


def test_a_webhook_gets_the_alerts_as_json_with_the_secret_of_the_file(tmp_path):
    with Listener(tmp_path, answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as listener:
        webhook(listener, authorization=Secret(b"Bearer abc")).deliver(NOTICES, 3)
    head, _, body = listener.received[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /alerts?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAuthorization: Bearer abc\r\n" in head
    told = json.loads(body)
    assert (told["source"], told["left_out"]) == ("STRONGROOM", 3)
    assert told["alerts"][0]["actor"] == {"person": "alice"}
    assert told["alerts"][0]["description"] == NOTICES[0].alert.description
    assert told["alerts"][0]["time"] == "2026-03-02T08:00:00+00:00"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/\r\n\r\n", id="redirect"),
        pytest.param(b"HTTP/1.1 500 Oops\r\n\r\n", id="500"),
        pytest.param(b"SSH-2.0-x\r\n", id="not-http"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"x" * 10_000, id="endless-line"),
    ],
)
def test_whatever_is_not_a_success_is_a_failure(tmp_path, answer):
    with Listener(tmp_path, answering(answer)) as listener, pytest.raises(ConnectionError, match="the answer is"):
        webhook(listener).deliver(NOTICES, 0)


def test_a_webhook_that_drips_is_cut_at_the_deadline(tmp_path):
    with Listener(tmp_path, answering(b"HTTP/1.1 2" * 50, drip=0.05)) as listener:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            webhook(listener, deadline_seconds=0.5).deliver(NOTICES, 0)
        assert time.monotonic() - begun < 5


def test_nothing_is_said_to_a_host_that_nobody_vouches_for(tmp_path):
    with Listener(tmp_path, answering(b"HTTP/1.1 200 OK\r\n\r\n")) as listener, pytest.raises(ssl.SSLError):
        webhook(listener, ca=None).deliver(NOTICES, 0)
    assert listener.received == []


# -- mail -----------------------------------------------------------------------------------------------------------


def mail_server(offers=("STARTTLS",), silent=False):
    def handle(listener, connection):
        if silent:
            for _ in range(200):
                connection.sendall(b"2")
                time.sleep(0.05)
        connection.sendall(b"220 mail\r\n")
        with contextlib.ExitStack() as held:
            talk(listener, connection, held)

    def talk(listener, connection, held):
        secured, said = connection, []
        stream = held.enter_context(connection.makefile("rb"))
        while line := stream.readline():
            said.append(line)
            match line.split()[0].upper():
                case b"EHLO":
                    words = ["mail", *([] if isinstance(secured, ssl.SSLSocket) else offers), "AUTH PLAIN"]
                    lines = [f"250{' ' if word == words[-1] else '-'}{word}" for word in words]
                    secured.sendall("\r\n".join([*lines, ""]).encode())
                case b"STARTTLS":
                    secured.sendall(b"220 go\r\n")
                    secured = held.enter_context(listener.tls.wrap_socket(connection, server_side=True))
                    stream, said = held.enter_context(secured.makefile("rb")), []
                case b"AUTH":
                    secured.sendall(b"235 ok\r\n")
                case b"DATA":
                    secured.sendall(b"354 go\r\n")
                    data = b""
                    while (text := stream.readline()) != b".\r\n":
                        data += text
                    listener.received.append((said, data, isinstance(secured, ssl.SSLSocket)))
                    secured.sendall(b"250 taken\r\n")
                case b"QUIT":
                    secured.sendall(b"221 bye\r\n")
                    return
                case _:
                    secured.sendall(b"250 ok\r\n")

    return handle


def mail(listener, **changes):
    config = {
        "host": "127.0.0.1",
        "port": listener.port,
        "sender": "strongroom@hospital.example",
        "recipients": ("a@hospital.example", "b@hospital.example"),
        "ca": listener.ca,
        **changes,
    }
    return Mail(MailConfig(**config), "STRONGROOM")


def test_a_mail_is_handed_over_under_tls_with_all_alerts_in_it(tmp_path):
    with Listener(tmp_path, mail_server()) as listener:
        mail(listener, user="archive", passcode=Secret(b"secret")).deliver(NOTICES, 2)
    ((said, data, encrypted),) = listener.received
    assert encrypted and any(line.startswith(b"AUTH PLAIN") for line in said)
    assert [line.split(b":")[1].split(b">")[0] for line in said if line.startswith(b"rcpt")] == [
        b"<a@hospital.example",
        b"<b@hospital.example",
    ]
    message = message_from_bytes(data, policy=policy.default)
    assert message["Subject"] == "STRONGROOM: 2 security alerts" and message["Auto-Submitted"] == "auto-generated"
    text = message.get_content()
    assert "2026-03-02 08:00:00 UTC  mass query: alice: 501 queries" in text
    assert "Zürich" in text and "2 older ones were left out" in text


def test_a_server_without_starttls_gets_no_mail_and_no_passcode(tmp_path):
    with Listener(tmp_path, mail_server(offers=("SIZE",))) as listener, pytest.raises(OSError, match="STARTTLS"):
        mail(listener, user="archive", passcode=Secret(b"secret")).deliver(NOTICES, 0)
    assert listener.received == []


def test_a_server_that_nobody_vouches_for_gets_no_mail(tmp_path):
    with Listener(tmp_path, mail_server()) as listener, pytest.raises(ssl.SSLError):
        mail(listener, ca=None).deliver(NOTICES, 0)
    assert listener.received == []


def test_a_mail_server_that_drips_is_cut_at_the_deadline(tmp_path):
    with Listener(tmp_path, mail_server(silent=True)) as listener:
        begun = time.monotonic()
        with pytest.raises(OSError):
            mail(listener, deadline_seconds=0.5).deliver(NOTICES, 0)
        assert time.monotonic() - begun < 5


# -- the queue ------------------------------------------------------------------------------------------------------


class Target:
    """Remembers; or fails, as long as told."""

    where = "test"
    deadline_seconds = 5.0

    def __init__(self, gather_seconds=0.05, fails=0):
        self.gather_seconds, self.fails, self.sent, self.tried = gather_seconds, fails, [], 0

    def deliver(self, notices, left_out):
        self.tried += 1
        if self.tried <= self.fails:
            raise ConnectionRefusedError("down")
        self.sent.append(([notice.alert.description for notice in notices], left_out))


def test_alerts_are_gathered_and_sent_together():
    target = Target(gather_seconds=0.3)
    outbox = Outbox(target)
    for number in range(10):
        outbox.tell(alert(str(number)))
    wait_until(lambda: target.sent, "sent")
    assert target.sent == [([str(number) for number in range(10)], 0)]
    outbox.close()


def test_a_failure_is_tried_again_until_it_works_and_nothing_is_sent_twice():
    target = Target(fails=3)
    outbox = Outbox(target, first_delay_seconds=0.01)
    outbox.tell(alert("a"))
    wait_until(lambda: target.sent, "sent")
    outbox.tell(alert("b"))
    wait_until(lambda: len(target.sent) == 2, "sent")
    assert target.sent == [(["a"], 0), (["b"], 0)]
    outbox.close()


def test_what_waits_is_bounded_and_what_was_left_out_is_told_as_a_number():
    target = Target(gather_seconds=60)
    outbox = Outbox(target)
    for number in range(MAX_WAITING + 50):
        outbox.tell(alert(str(number)))
    outbox.close()
    ((sent, left_out),) = target.sent
    assert (len(sent), sent[-1], left_out) == (MAX_WAITING, str(MAX_WAITING + 49), 50)


def test_closing_tries_once_and_gives_up():
    target = Target(gather_seconds=60, fails=99)
    outbox = Outbox(target)
    outbox.tell(alert())
    outbox.close()
    outbox.close()
    outbox.tell(alert())
    assert target.tried == 1 and not [thread for thread in threading.enumerate() if thread.name == "warn test"]


def test_telling_waits_for_nobody():
    class Hanging(Target):
        def deliver(self, notices, left_out):
            blocked.wait(20)

    blocked = threading.Event()
    outbox = Outbox(Hanging(gather_seconds=0))
    begun = time.monotonic()
    for _ in range(1000):
        outbox.tell(alert())
    assert time.monotonic() - begun < 5
    blocked.set()
    outbox.close()


# -- settings -------------------------------------------------------------------------------------------------------


def test_the_shipped_examples_are_understood_where_their_lines_are_used(tmp_path):
    (tmp_path / "keys").mkdir()
    for name in ("alerts-authorization", "mail-passcode"):
        (tmp_path / "keys" / name).touch(mode=0o600)
        (tmp_path / "keys" / name).write_text("Bearer x\n")
    text = SHIPPED.read_text()
    used = re.sub(r"(?m)^#(\[\[|[a-z_]+ = )", r"\1", text)
    settings = parse_detection(used, Home(tmp_path))
    (hook,), (letter,) = settings.webhooks, settings.mails
    assert hook.authorization.reveal() == b"Bearer x" and letter.recipients == ("security@hospital.example",)
    defaults = WebhookConfig(hook.url), MailConfig(letter.host, letter.sender, letter.recipients)
    for chosen, default, keys in (
        (hook, defaults[0], ("gather_seconds", "deadline_seconds")),
        (letter, defaults[1], ("port", "gather_seconds", "deadline_seconds")),
    ):
        assert [getattr(chosen, key) for key in keys] == [getattr(default, key) for key in keys]


MAIL = {"host": "h", "sender": "a@b", "recipients": ("a@b",)}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: WebhookConfig("http://a/"), "webhook.url"),
        (lambda: WebhookConfig("https://a:0/"), "webhook.url"),
        (lambda: WebhookConfig("https://u@a/"), "webhook.url"),
        (lambda: WebhookConfig("https://a/\r\nX: y"), "webhook.url"),
        (lambda: WebhookConfig("https://a/", authorization=Secret(b"a\r\nX: y")), "webhook.authorization_file"),
        (lambda: WebhookConfig("https://a/", deadline_seconds=0), "webhook.deadline_seconds"),
        (lambda: WebhookConfig("https://a/", gather_seconds=float("nan")), "webhook.gather_seconds"),
        (lambda: Webhook(WebhookConfig("https://a/", ca=Path("/missing")), "X"), "webhook.ca"),
        (lambda: MailConfig(**MAIL | {"host": "a b"}), "mail.host"),
        (lambda: MailConfig(**MAIL, port=0), "mail.port"),
        (lambda: MailConfig(**MAIL | {"sender": "a@b\r\nBcc: c@d"}), "mail.sender"),
        (lambda: MailConfig(**MAIL | {"recipients": ()}), "mail.recipients"),
        (lambda: MailConfig(**MAIL | {"recipients": ("a@b, c@d",)}), "mail.recipients"),
        (lambda: MailConfig(**MAIL, user="x"), "mail.passcode_file"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_its_key(make, says):
    with pytest.raises(SettingsInvalid, match=says):
        make()
