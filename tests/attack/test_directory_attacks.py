"""D14, D18: a directory login attacked from the front (what is typed), from behind (the directory) and from inside.

Every refusal's reason is asserted, so that a test fails where the right thing happens for a wrong cause. In every test:
no thread and no file descriptor is left, and what is refused is refused in time.
"""

import gc
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import ldap
import psutil
import pytest

from archive.lab.tls import make_tls
from auth.credential import Secret
from auth.errors import AuthenticationFailed, ProviderMisconfigured, ProviderUnavailable
from auth.identity.chain import NOT_MINE
from auth.identity.directory import DirectoryConfig, conversation, service
from auth.principal import Principal
from tests.simulators.directories import (
    ALICE,
    BIND,
    BIND_ANSWER,
    DONE,
    EXTENDED_ANSWER,
    REFERENCE,
    SEARCH,
    ScriptedDirectory,
    directory,
    element,
    entry,
    lab_directory,
    message,
    result,
    signing_in,
    taking_at_most,
    tls_folder,
)

DEADLINE = 0.3
"""Seconds, where a directory is silent."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with lab_directory(tmp_path_factory.mktemp("directory") / "lab") as lab:
        lab.add_person("alice", "alice's own", ["radiologists"])
        lab.add_person("bob", "bob's own")
        yield lab


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return tls_folder(tmp_path_factory.mktemp("tls") / "one")


@pytest.fixture(autouse=True)
def nothing_is_left_behind(lab, tls):
    process = psutil.Process()
    before = process.num_fds(), threading.active_count(), len(process.children())
    yield
    assert (process.num_fds(), threading.active_count(), len(process.children())) == before
    gc.collect()  # and nothing that only the collector would have closed: it would warn, and warnings are errors


@contextmanager
def against(script, tls, **wishes):
    """Our provider and a scripted directory."""
    with (
        script(tls) as scripted,
        directory(scripted, **{"group_base": "", "roles": {"radiologists": "radiologist"}, **wishes}) as provider,
    ):
        yield scripted, provider


def refusal(provider, name="alice", passcode=b"alice's own"):
    """The reason for which a login is refused."""
    with pytest.raises(AuthenticationFailed) as refused:
        signing_in(provider, name, passcode)
    assert "alice" not in refused.value.reason
    assert "own" not in refused.value.reason
    return refused.value


# --- from the front: what is typed


@pytest.mark.parametrize(
    "typed",
    [
        "*",
        "a*",
        "alice*",
        "*)(uid=*",
        "alice)(cn=*",
        "alice)(|(uid=*",
        "x)(|(objectClass=*)",
        "alice))(|(uid=alice",
        "alice)(userPassword=*)",
        "alice\0",
        "alice\0)(uid=*",
        "\\2a",
        "\\",
        "alice\\",
        "alic\\65",
        "(&(uid=alice))",
        "uid=alice,ou=people,dc=strongroom,dc=lab",
        "{name}",
        "{dn}",
        "%s",
        "",
        "☃" * 64,
    ],
)
def test_a_name_that_is_a_filter_is_only_a_name_that_nobody_has(lab, typed):
    with directory(lab) as provider:
        assert signing_in(provider, typed, b"alice's own") is NOT_MINE
        assert signing_in(provider, typed, b"wrong") is NOT_MINE


@pytest.mark.parametrize("typed", ["a" * 10_240, "*" * 10_240, "é" * 129])
def test_an_endless_name_is_refused_unasked(lab, typed):
    before = lab.log.read_text()
    with directory(lab) as provider:
        assert refusal(provider, typed).reason == "the name is too long"
    assert lab.log.read_text() == before


@pytest.mark.parametrize("passcode", [b"", b"\0", b"\0alice's own", b"alice's own\0", b"x" * 1025, b"x" * 65_529])
def test_a_passcode_that_a_server_might_take_for_none_never_reaches_one(lab, tls, passcode):
    with against(ScriptedDirectory, tls) as (scripted, provider):
        assert refusal(provider, passcode=passcode).reason == "the passcode is empty, too long or holds a NUL"
        assert scripted.seen == []
    before = lab.log.read_text()
    with directory(lab) as provider:
        refusal(provider, passcode=passcode)
    assert lab.log.read_text() == before


def test_no_search_is_made_as_the_person_and_no_bind_on_the_service_connection(tls):
    with against(ScriptedDirectory, tls) as (scripted, provider):
        assert signing_in(provider).principal == Principal(ALICE, frozenset({"radiologist"}), {})
    service, search, person = (operation for operation, _ in scripted.seen[:3])
    assert (service, search, person) == (BIND, SEARCH, BIND)
    assert [body for _, body in scripted.seen if b"alice's own" in body] == [scripted.seen[2][1]]


def test_an_unknown_name_waits_as_long_as_the_latest_bind_took(tls):
    class Slow(ScriptedDirectory):
        def bound_as_alice(self, line):
            self._closing.wait(0.3)
            line.send(result(line.number, BIND_ANSWER, 49))

        def searched(self, line):
            if ALICE.encode() in self.seen[-1][1] or b"alice" in self.seen[-1][1]:
                line.send(entry(line.number, ALICE))
            line.send(result(line.number, DONE))

    with against(Slow, tls) as (_, provider):
        assert refusal(provider).reason == "wrong passcode, or the account is locked"
        begun = time.monotonic()
        assert signing_in(provider, "nobody") is NOT_MINE
        assert time.monotonic() - begun >= 0.3


# --- from behind: a directory that is silent, at each step, or drips


class NeverSpeaks(ScriptedDirectory):
    def accepted(self, line):
        line.stay_silent()


class HalfATlsRecord(ScriptedDirectory):
    def accepted(self, line):
        line.send(b"\x16\x03\x03\x00\x7a\x02\x00\x00")
        line.stay_silent()


class DripsTheHandshake(ScriptedDirectory):
    def accepted(self, line):
        line.drip(b"\x16\x03\x03\x3f\x00" + bytes(16_000))


class SilentAfterStartTls(ScriptedDirectory):
    def asked_for_tls(self, line):
        line.send(result(line.number, EXTENDED_ANSWER))
        line.stay_silent()


class DripsTheAnswerToStartTls(ScriptedDirectory):
    def asked_for_tls(self, line):
        line.drip(b"\x30\x82\x0f\x00" + bytes(3840))


class SilentToTheService(ScriptedDirectory):
    def bound_as_service(self, line):
        line.stay_silent()


class SilentToTheSearch(ScriptedDirectory):
    def searched(self, line):
        line.stay_silent()


class NeverDoneSearching(ScriptedDirectory):
    def searched(self, line):
        line.send(entry(line.number, ALICE))
        line.stay_silent()


class DripsTheEntry(ScriptedDirectory):
    def searched(self, line):
        line.drip(entry(line.number, ALICE, memberOf=[b"radiologists"] * 500))


class SilentToThePerson(ScriptedDirectory):
    def bound_as_alice(self, line):
        line.stay_silent()


class DripsToThePerson(ScriptedDirectory):
    def bound_as_alice(self, line):
        line.drip(result(line.number, BIND_ANSWER, 0, element(0x04, bytes(1000))))


class SilentOnTheSecondConnection(ScriptedDirectory):
    def accepted(self, line):
        if self.seen:
            line.stay_silent()
        super().accepted(line)


class AnswersAnotherQuestion(ScriptedDirectory):
    def bound_as_alice(self, line):
        line.send(result(line.number + 1, BIND_ANSWER))
        line.stay_silent()


@pytest.mark.parametrize(
    ("script", "transport", "awaited"),
    [
        (NeverSpeaks, "ldaps", "finish the TLS handshake"),
        (NeverSpeaks, "starttls", "answer StartTLS"),
        (HalfATlsRecord, "ldaps", "finish the TLS handshake"),
        (DripsTheHandshake, "ldaps", "finish the TLS handshake"),
        (SilentAfterStartTls, "starttls", "finish the TLS handshake"),
        (DripsTheAnswerToStartTls, "starttls", "answer StartTLS"),
        (SilentToTheService, "ldaps", "answer"),
        (SilentToTheService, "starttls", "answer"),
        (SilentToTheSearch, "ldaps", "answer"),
        (NeverDoneSearching, "ldaps", "answer"),
        (DripsTheEntry, "ldaps", "answer"),
        (SilentToThePerson, "ldaps", "answer"),
        (DripsToThePerson, "ldaps", "answer"),
        (SilentOnTheSecondConnection, "ldaps", "finish the TLS handshake"),
        (AnswersAnotherQuestion, "ldaps", "answer"),
    ],
)
def test_a_silent_or_dripping_directory_is_given_up_at_the_deadline(tls, script, transport, awaited):
    with against(script, tls, transport=transport, deadline_seconds=DEADLINE) as (_, provider):
        with taking_at_most(DEADLINE):
            refused = refusal(provider)
        assert (type(refused), refused.reason) == (ProviderUnavailable, f"the directory did not {awaited} in time")


def test_a_person_who_is_signed_in_is_not_taken_for_known_while_the_directory_is_silent(tls):
    for script in (NeverSpeaks, SilentToTheService, SilentToTheSearch, DripsTheEntry):
        with (
            against(script, tls, deadline_seconds=DEADLINE) as (_, provider),
            taking_at_most(DEADLINE),
            pytest.raises(ProviderUnavailable, match="in time"),
        ):
            provider.still(Principal(ALICE, frozenset({"radiologist"})))


def test_a_directory_that_answers_late_and_in_part_gets_no_second_deadline(tls):
    class LateAndInPart(ScriptedDirectory):
        def searched(self, line):
            self._closing.wait(1.3)
            line.send(entry(line.number, ALICE))
            line.stay_silent()

    with against(LateAndInPart, tls, deadline_seconds=1.5) as (_, provider), taking_at_most(1.5):
        assert refusal(provider).reason == "the directory did not answer in time"


def test_a_host_that_does_not_even_answer_the_connection_is_given_up_at_the_deadline(tls):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        scripted = ScriptedDirectory(tls)
        with scripted, directory(scripted, port=port, deadline_seconds=DEADLINE) as provider, taking_at_most(DEADLINE):
            assert refusal(provider).reason == "the directory did not accept a connection in time"
        for one in waiting:
            one.close()


# --- from behind: a directory that breaks off or talks nonsense


class HangsUp(ScriptedDirectory):
    def accepted(self, line):
        line.connection.recv(1)


class HangsUpOnTheSearch(ScriptedDirectory):
    def searched(self, line):
        raise EOFError


class HangsUpOnThePerson(ScriptedDirectory):
    def bound_as_alice(self, line):
        raise EOFError


class BreaksOffAnEntry(ScriptedDirectory):
    def searched(self, line):
        line.send(entry(line.number, ALICE)[:20])
        raise EOFError


class HalfAnAnswerToThePerson(ScriptedDirectory):
    def bound_as_alice(self, line):
        line.send(result(line.number, BIND_ANSWER)[:-3])
        raise EOFError


class Garbage(ScriptedDirectory):
    def bound_as_alice(self, line):
        line.send(b"HTTP/1.1 200 OK\r\n" + bytes(200))
        line.stay_silent()


class AnotherKindOfAnswer(ScriptedDirectory):
    def bound_as_alice(self, line):
        line.send(result(line.number, DONE))


class GarbledPolicyControl(ScriptedDirectory):
    def bound_as_alice(self, line):
        control = element(0x30, element(0x04, b"1.3.6.1.4.1.42.2.27.8.5.1"), element(0x04, b"\x30\x05nonsense"))
        body = [element(0x02, bytes([line.number])), element(BIND_ANSWER, b"\x0a\x01\x00\x04\x00\x04\x00")]
        line.send(element(0x30, *body, element(0xA0, control)))


class EndlessEntries(ScriptedDirectory):
    def searched(self, line):
        while not self._closing.is_set():
            line.send(entry(line.number, ALICE, memberOf=[bytes(8000)]))


class Vast(ScriptedDirectory):
    def searched(self, line):
        line.send(b"\x30\x84\x7f\xff\xff\xff\x02\x01\x02\x64" + bytes(2_000_000))


class NotText(ScriptedDirectory):
    def searched(self, line):
        line.send(entry(line.number, ALICE, memberOf=[b"\xff\xfe"]))
        line.send(result(line.number, DONE))


class NameIsEmpty(ScriptedDirectory):
    def searched(self, line):
        line.send(entry(line.number, "", memberOf=[b"radiologists"]) + result(line.number, DONE))


class NameIsNoName(ScriptedDirectory):
    def searched(self, line):
        line.send(entry(line.number, "uid=ali\nce,dc=lab") + result(line.number, DONE))


class RefusesTheService(ScriptedDirectory):
    def bound_as_service(self, line):
        line.send(result(line.number, BIND_ANSWER, 49))


class RefusesTheSearch(ScriptedDirectory):
    def searched(self, line):
        line.send(result(line.number, DONE, 50))


class RefersTheSearch(ScriptedDirectory):
    def searched(self, line):
        line.send(result(line.number, DONE, 10, element(0xA3, element(0x04, b"ldap://127.0.0.1:1/"))))


class RefersOnTheSide(ScriptedDirectory):
    def searched(self, line):
        line.send(entry(line.number, ALICE) + message(line.number, REFERENCE, element(0x04, b"ldap://127.0.0.1:1/")))
        line.send(result(line.number, DONE))


class RefersThePerson(ScriptedDirectory):
    def bound_as_alice(self, line):
        line.send(result(line.number, BIND_ANSWER, 10, element(0xA3, element(0x04, b"ldap://127.0.0.1:1/"))))


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        (HangsUp, ProviderUnavailable, "the TLS handshake with the directory failed"),
        (HangsUpOnTheSearch, ProviderUnavailable, "the directory closed the connection"),
        (HangsUpOnThePerson, ProviderUnavailable, "the directory closed the connection"),
        (BreaksOffAnEntry, ProviderUnavailable, "the directory closed the connection"),
        (HalfAnAnswerToThePerson, ProviderUnavailable, "the directory closed the connection"),
        (Garbage, ProviderUnavailable, "the directory failed to check the passcode (SERVER_DOWN)"),
        (AnotherKindOfAnswer, ProviderUnavailable, "the directory answered something else than was asked"),
        (GarbledPolicyControl, ProviderUnavailable, "the directory's answer cannot be read (ValueError)"),
        (EndlessEntries, ProviderUnavailable, "the directory answered more than is read"),
        (Vast, ProviderUnavailable, "the directory answered more than is read"),
        (RefusesTheService, ProviderUnavailable, "the directory refuses the service account"),
        (RefusesTheSearch, ProviderUnavailable, "the directory failed to search (INSUFFICIENT_ACCESS)"),
        (NotText, AuthenticationFailed, "the directory's memberOf is not text"),
        (NameIsEmpty, AuthenticationFailed, "the entry's distinguished name cannot be used"),
        (NameIsNoName, AuthenticationFailed, "the entry's distinguished name cannot be used"),
        (RefersTheSearch, AuthenticationFailed, "the directory refers to another, which is not followed"),
        (RefersOnTheSide, AuthenticationFailed, "the directory refers to another, which is not followed"),
        (RefersThePerson, AuthenticationFailed, "the directory refers to another, which is not followed"),
    ],
)
def test_nothing_but_a_whole_and_good_answer_lets_anyone_in(tls, script, kind, reason):
    with against(script, tls) as (_, provider), taking_at_most(2):
        refused = refusal(provider)
    assert (type(refused), refused.reason, refused.claimed) == (kind, reason, "alice")


@pytest.mark.parametrize("script", [NameIsEmpty, NameIsNoName])
def test_a_bind_as_nobody_in_particular_is_not_made(tls, script):
    with against(script, tls) as (scripted, provider):
        refusal(provider)
    assert [operation for operation, _ in scripted.seen] == [BIND, SEARCH]


def test_no_result_code_but_success_lets_anyone_in(tls):
    class Codes(ScriptedDirectory):
        code = 1

        def bound_as_alice(self, line):
            line.send(result(line.number, BIND_ANSWER, self.code))

    with against(Codes, tls) as (scripted, provider):
        for code in range(1, 128):
            scripted.code = code
            refusal(provider)
        scripted.code = 0
        assert signing_in(provider).principal.name == ALICE


@pytest.mark.parametrize("code", [19, 48, 49, 53])
def test_a_disabled_account_is_refused_as_the_persons_and_not_as_an_outage(tls, code):
    class Disabled(ScriptedDirectory):
        def bound_as_alice(self, line):
            line.send(result(line.number, BIND_ANSWER, code))

    with against(Disabled, tls) as (_, provider):
        assert type(refusal(provider)) is AuthenticationFailed


# --- between: who it is that answers, and in clear


def test_a_directory_of_another_authority_is_not_told_any_passcode(tls, tmp_path):
    make_tls(tmp_path, "127.0.0.1")
    for transport in ("ldaps", "starttls"):
        with against(ScriptedDirectory, tls, ca=tmp_path / "ca.pem", transport=transport) as (scripted, provider):
            refused = refusal(provider)
        assert refused.reason == "the directory's certificate is not vouched for by the configured CA"
        assert (type(refused), scripted.seen) == (ProviderUnavailable, [])


def test_another_host_of_the_same_authority_is_not_told_any_passcode(lab, tls):
    for transport in ("ldaps", "starttls"):
        # The certificate is 127.0.0.1's.
        with against(ScriptedDirectory, tls, host="localhost", transport=transport) as (scripted, provider):
            assert refusal(provider).reason == "the directory's certificate is another host's"
        assert scripted.seen == []
    with directory(lab, host="localhost") as provider:
        assert refusal(provider).reason == "the directory's certificate is another host's"


def test_a_directory_without_tls_is_not_told_any_passcode(lab, tls):
    class WithoutTls(ScriptedDirectory):
        heard = b""

        def asked_for_tls(self, line):
            line.send(self.answer(line.number))
            while chunk := line.connection.recv(65536):
                self.heard += chunk

    class RefusesStartTls(WithoutTls):
        def answer(self, number):
            return result(number, EXTENDED_ANSWER, 2)

    class GoesOnInClear(WithoutTls):
        def answer(self, number):
            return result(number, EXTENDED_ANSWER) + result(number, BIND_ANSWER) + result(2, BIND_ANSWER)

    class TalksNonsense(WithoutTls):
        def answer(self, number):
            return b"\x30\x0c\x02\x01\x07\x78\x07\x0a\x01\x00\x04\x00\x04\x00"

    for script, reason in (
        (RefusesStartTls, "the directory refuses StartTLS"),
        (GoesOnInClear, "the TLS handshake with the directory failed"),
        (TalksNonsense, "the directory's answer to StartTLS cannot be read"),
    ):
        with against(script, tls, transport="starttls") as (scripted, provider):
            assert refusal(provider).reason == reason
        assert b"alice" not in scripted.heard
        assert b"service" not in scripted.heard
    with directory(lab, port=lab.starttls_port) as provider:
        assert refusal(provider).reason == "the TLS handshake with the directory failed"


def test_a_referral_of_a_real_directory_is_refused_and_where_it_points_nobody_calls(lab):
    lab.change(
        "dn: ou=elsewhere,dc=strongroom,dc=lab\nchangetype: add\nobjectClass: organizationalUnit\nou: elsewhere\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        lab.change(
            "dn: uid=eve,ou=elsewhere,dc=strongroom,dc=lab\nchangetype: add\nobjectClass: referral\n"
            f"objectClass: extensibleObject\nuid: eve\nref: ldap://127.0.0.1:{trap.getsockname()[1]}/uid=alice\n"
        )
        for base in ("ou=elsewhere,dc=strongroom,dc=lab", "uid=eve,ou=elsewhere,dc=strongroom,dc=lab"):
            with directory(lab, base=base) as provider:
                assert refusal(provider, "eve").reason == "the directory refers to another, which is not followed"
        with pytest.raises(TimeoutError):
            trap.accept()


def test_a_base_that_is_not_there_is_an_outage_and_not_an_unknown_person(lab):
    with directory(lab, base="ou=nowhere,dc=strongroom,dc=lab") as provider:
        refused = refusal(provider)
    assert (type(refused), refused.reason) == (ProviderUnavailable, "the directory holds no such base")


class NonsenseForStartTls(ScriptedDirectory):
    answer = b""

    def asked_for_tls(self, line):
        line.send(self.answer)
        raise EOFError


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x30",
        b"\x30\x00",
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\xff" + bytes(127),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        result(1, BIND_ANSWER),
        result(2, EXTENDED_ANSWER),
        message(1, EXTENDED_ANSWER),
        message(1, EXTENDED_ANSWER, b"\x0a\x85\x00"),
        message(1, EXTENDED_ANSWER, b"\x0a\x05\x00"),
        element(0x30, element(0x02), element(EXTENDED_ANSWER, element(0x0A, b"\0"))),
        element(0x30, b"\x02\x80\x01\x00", element(EXTENDED_ANSWER, element(0x0A, b"\0"))),
    ],
)
def test_what_is_no_answer_to_start_tls_starts_nothing(tls, answer):
    script = type("Nonsense", (NonsenseForStartTls,), {"answer": answer})
    with against(script, tls, transport="starttls") as (scripted, provider):
        assert refusal(provider).reason == "the directory's answer to StartTLS cannot be read"
    assert scripted.seen == []


# --- what is kept between questions


def test_a_kept_connection_on_which_something_was_said_unasked_is_not_used_again(tls):
    class Announces(ScriptedDirectory):
        def searched(self, line):
            super().searched(line)
            # Whatever it is, it might be taken for an answer to the next question.
            line.send(entry(line.number + 1, ALICE) + result(line.number + 1, DONE))

    with against(Announces, tls) as (scripted, provider):
        assert provider.still(Principal(ALICE, frozenset())) is not None
        time.sleep(0.05)
        assert provider.still(Principal(ALICE, frozenset())) is not None
    assert [operation for operation, _ in scripted.seen].count(BIND) == 2


def test_a_kept_connection_ends_after_a_minute(tls, monkeypatch):
    with against(ScriptedDirectory, tls) as (scripted, provider):
        for _ in range(3):
            provider.still(Principal(ALICE, frozenset()))
        assert [operation for operation, _ in scripted.seen].count(BIND) == 1
        monkeypatch.setattr(service, "MAX_AGE_SECONDS", 0.0)
        provider.still(Principal(ALICE, frozenset()))
        assert [operation for operation, _ in scripted.seen].count(BIND) == 2


def test_a_connection_on_which_a_question_was_not_answered_is_not_used_again(tls):
    class SilentOnce(ScriptedDirectory):
        silent = True

        def searched(self, line):
            if self.silent:
                self.silent = False
                line.stay_silent()
            super().searched(line)

    with against(SilentOnce, tls, deadline_seconds=DEADLINE) as (scripted, provider):
        assert refusal(provider).reason == "the directory did not answer in time"
        assert signing_in(provider).principal.name == ALICE
    assert len([body for operation, body in scripted.seen if operation == BIND and ALICE.encode() not in body]) == 2


# --- from inside: a library that fails open


class Library:
    """python-ldap's object as it should not be; ``way`` is what each of its calls does."""

    def __init__(self, way):
        self._way = way

    def set_option(self, *_):
        return None

    def __getattr__(self, operation):
        return lambda *arguments, **options: self._way(operation)


def raising(operation):
    raise RuntimeError("alice's own")


def raising_success(operation):
    raise ldap.SUCCESS if hasattr(ldap, "SUCCESS") else ldap.LDAPError({"result": 0, "desc": "Success"})


def always(answer):
    return lambda operation: answer


@pytest.mark.parametrize(
    "way",
    [
        raising,
        raising_success,
        always(None),
        always(True),
        always(0),
        always((None,) * 6),
        always((True, [], 1, [], None, None)),
        always((101, [(ALICE, {"memberOf": [b"radiologists"]})], 1, [], None, None)),
        always((97, [(ALICE, {"memberOf": [b"radiologists"]})], 1, [], None, None)),
        always((101, [(None, None)], 1, None, None, None)),
        always(("97", object(), object(), object())),
    ],
)
def test_a_library_that_raises_hangs_or_talks_nonsense_lets_nobody_in(tls, monkeypatch, way):
    monkeypatch.setattr(conversation, "_library_on", lambda end: Library(way))
    for wishes in ({}, {"bind_dn": "", "bind_passcode": None}):
        with (
            against(ScriptedDirectory, tls, deadline_seconds=DEADLINE, **wishes) as (_, provider),
            taking_at_most(DEADLINE),
        ):
            refusal(provider)


def test_a_library_that_does_not_even_begin_is_an_outage(tls, monkeypatch):
    def broken(*_, **__):
        raise MemoryError

    monkeypatch.setattr(ldap, "initialize", broken)
    with against(ScriptedDirectory, tls) as (_, provider):
        assert refusal(provider).reason == "the directory library cannot be used (MemoryError)"


def test_without_the_library_a_directory_says_what_to_install(tls, monkeypatch):
    monkeypatch.setattr(conversation, "ldap", None)
    scripted = ScriptedDirectory(tls)
    with (
        scripted,
        pytest.raises(ProviderMisconfigured, match="install strongroom with the extra `ldap`"),
        directory(scripted),
    ):
        pass


def test_without_the_library_a_server_without_directories_starts():
    program = "import sys; sys.modules['ldap'] = None; import auth.identity.directory; print('imported')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("imported", "")


@pytest.mark.parametrize(
    ("wishes", "rule"),
    [
        ({"transport": "ldap"}, "transport is one of"),
        ({"transport": ""}, "transport is one of"),
        ({"bind_passcode": None}, "bind_dn and its passcode"),
        ({"bind_passcode": Secret(b"")}, "bind_dn and its passcode"),
        ({"bind_dn": ""}, "bind_dn and its passcode"),
        ({"base": ""}, "base is not empty"),
        ({"filter": "(uid=alice)"}, "filter holds {name}"),
        ({"group_filter": "(member=x)"}, "group_filter holds {dn}"),
        ({"group_base": "", "group_attribute": "CN"}, "is no group"),
        ({"group_attribute": "cn)(x"}, "names of attributes"),
        ({"attributes": {"*": "display_name"}}, "names of attributes"),
        ({"attributes": {"cn": "Display Name"}}, "lower-case word"),
        ({"roles": {"x": "Not A Role"}}, "a role is"),
        ({"deadline_seconds": float("nan")}, "deadline_seconds"),
        ({"deadline_seconds": 0}, "deadline_seconds"),
        ({"port": 0}, "host and port"),
    ],
)
def test_settings_that_would_open_a_door_are_refused_before_anyone_knocks(tls, wishes, rule):
    good = {"name": "hospital", "host": "127.0.0.1", "port": 636, "transport": "ldaps", "ca": tls / "ca.pem"}
    good |= {"base": "dc=lab", "bind_dn": "cn=archive", "bind_passcode": Secret(b"x"), "group_base": "dc=lab"}
    DirectoryConfig(**good)
    with pytest.raises(ProviderMisconfigured, match=rule):
        DirectoryConfig(**good | wishes)


def test_a_ca_file_that_cannot_be_read_is_told_at_once(tls, tmp_path):
    (tmp_path / "empty.pem").touch()
    scripted = ScriptedDirectory(tls)
    with scripted:
        for ca in (tmp_path / "missing.pem", tmp_path / "empty.pem"):
            with pytest.raises(ProviderMisconfigured, match="hospital"), directory(scripted, ca=ca):
                pass
