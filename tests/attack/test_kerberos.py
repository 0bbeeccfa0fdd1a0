"""Kerberos tokens that must not vouch: stolen, late, meant for others, altered, made up; and a worker that misbehaves.

Each refusal is told by its reason, so that a token is not refused by luck.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from archive.lab.kdc import LabKdc
from archive.lab.kerberos_client import request_ticket
from auth.errors import AuthenticationFailed, ProviderMisconfigured, ProviderUnavailable, TokenReplayed
from auth.identity.chain import Vouched
from auth.identity.kerberos import Kerberos
from auth.identity.kerberos_tokens import MAX_TOKEN_BYTES, gss_framed
from auth.ports import Presentation
from auth.principal import NodeIdentity
from tests.simulators.kerberos_clients import (
    PASSCODE,
    SERVICE,
    GssClient,
    changed_worker,
    credential,
    demand_kerberos,
    kerberos,
    keytab_of,
    lab_kdc,
    presentation,
    strange_worker,
)
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryUsers, node_identity, user_record

demand_kerberos()

HERE = node_identity("WS1")
ELSEWHERE = node_identity("WS2")
REPLAYED = "the Kerberos ticket was presented before"
REPLAYED_BY_RECORD = "the Kerberos ticket is among those presented before"
ALTERED = "the Kerberos ticket was altered, or made with another key"
FORGETFUL = "os.environ['KRB5RCACHENAME'] = 'none:'"
ESCAPED = r"alice\@STRONGROOM.LAB"


@pytest.fixture(scope="module")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabKdc]:
    more = {"clara": PASSCODE, "host/ct1": PASSCODE, "robot/ct1": PASSCODE, ESCAPED: PASSCODE}
    with lab_kdc(tmp_path_factory.mktemp("kdc") / "realm", **more) as running:
        yield running


@pytest.fixture(scope="module")
def provider(kdc: LabKdc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kerberos]:
    """For tests that change nothing about it."""
    with kerberos(kdc, tmp_path_factory.mktemp("home")) as running:
        yield running


def refused(provider: Kerberos, token: bytes, node: NodeIdentity = HERE) -> AuthenticationFailed:
    with pytest.raises(AuthenticationFailed) as error:
        provider.verify(credential(token), node)
    return error.value


def accepted(provider: Kerberos, token: bytes) -> str:
    answer = provider.verify(credential(token), HERE)
    assert isinstance(answer, Vouched)
    return answer.principal.name


def authenticator_at(ap_req: bytes) -> int:
    """Where the last field of a request begins: behind version, type, options and ticket, each with its length."""
    assert (ap_req[0], ap_req[1], ap_req[4], ap_req[5]) == (0x6E, 0x82, 0x30, 0x82)
    position = 8
    while ap_req[position] != 0xA4:
        long = ap_req[position + 1] == 0x82
        position += 4 + int.from_bytes(ap_req[position + 2 : position + 4]) if long else 2 + ap_req[position + 1]
    return position


class NothingRemembered:
    """As if what was presented were lost: each presentation is the first."""

    def present(self, issuer: str, token_id: str, *, node: str, until: datetime, once: bool) -> Presentation:
        assert once
        return Presentation.FIRST


# ---- Strictly once


@pytest.mark.parametrize("thief", [HERE, ELSEWHERE], ids=["the same node", "another node"])
@pytest.mark.parametrize(
    ("first", "second"),
    [("ap_req", "ap_req"), ("gss_token", "gss_token"), ("ap_req", "gss_token"), ("gss_token", "ap_req")],
)
def test_a_token_is_refused_the_second_time_in_either_framing(
    provider: Kerberos, kdc: LabKdc, first: str, second: str, thief: NodeIdentity
) -> None:
    request = presentation(kdc)
    accepted(provider, getattr(request, first))
    error = refused(provider, getattr(request, second), thief)
    assert isinstance(error, TokenReplayed)
    assert error.reason == REPLAYED


def test_a_token_of_a_workstation_is_refused_the_second_time(provider: Kerberos, kdc: LabKdc) -> None:
    with GssClient(kdc) as workstation:
        accepted(provider, workstation.token)
        assert refused(provider, workstation.token).reason == REPLAYED


def race(provider: Kerberos, tokens: list[bytes]) -> list[str]:
    """What each thread was told, all having begun together."""
    begin, told = threading.Barrier(len(tokens)), []

    def login(token: bytes) -> None:
        begin.wait()
        try:
            told.append(accepted(provider, token))
        except AuthenticationFailed as error:
            told.append(error.reason)

    threads = [threading.Thread(target=login, args=(token,)) for token in tokens]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return told


def test_of_16_threads_with_one_token_one_is_accepted(provider: Kerberos, kdc: LabKdc) -> None:
    for _ in range(5):
        request = presentation(kdc)
        told = race(provider, [request.ap_req, request.gss_token] * 8)
        assert sorted(told) == [f"alice@{kdc.realm}", *[REPLAYED] * 15]


def test_of_16_threads_one_is_accepted_by_either_line_of_defence_alone(kdc: LabKdc, tmp_path: Path) -> None:
    cache_alone = {"presented": NothingRemembered()}
    record_alone = {"worker": changed_worker(tmp_path / "worker.py", FORGETFUL)}
    for settings, reason in ((cache_alone, REPLAYED), (record_alone, REPLAYED_BY_RECORD)):
        with kerberos(kdc, tmp_path, **settings) as provider:  # type: ignore[arg-type]
            told = race(provider, [presentation(kdc).ap_req] * 16)
            assert sorted(told) == sorted([f"alice@{kdc.realm}", *[reason] * 15])


def test_16_threads_with_a_token_each_are_all_accepted(provider: Kerberos, kdc: LabKdc) -> None:
    ticket = kdc.ticket("alice", PASSCODE, SERVICE)
    told = race(provider, [ticket.present().ap_req for _ in range(16)])
    assert told == [f"alice@{kdc.realm}"] * 16


def test_a_token_is_refused_after_a_restart(kdc: LabKdc, tmp_path: Path) -> None:
    request = presentation(kdc)
    with kerberos(kdc, tmp_path) as provider:
        accepted(provider, request.ap_req)
    with kerberos(kdc, tmp_path, presented=NothingRemembered()) as provider:
        assert refused(provider, request.gss_token).reason == REPLAYED


def test_a_token_is_refused_after_a_restart_without_the_replay_cache(kdc: LabKdc, tmp_path: Path) -> None:
    request, presented = presentation(kdc), PresentedInMemory()
    with kerberos(kdc, tmp_path, presented=presented) as provider:
        accepted(provider, request.ap_req)
    (tmp_path / "replay" / "krb5.rcache").unlink()
    with kerberos(kdc, tmp_path, presented=presented) as provider:
        error = refused(provider, request.gss_token, ELSEWHERE)
        assert isinstance(error, TokenReplayed)
        assert (error.reason, error.claimed) == (REPLAYED_BY_RECORD, f"alice@{kdc.realm}")


def test_a_stolen_request_is_refused_with_the_options_changed_that_no_key_protects(kdc: LabKdc, tmp_path: Path) -> None:
    """Kerberos accepts the changed request as such; what is remembered must not depend on those bits."""
    record_alone = {"worker": changed_worker(tmp_path / "worker.py", FORGETFUL)}
    for settings, reason in (({}, REPLAYED), (record_alone, REPLAYED_BY_RECORD)):
        request = presentation(kdc)
        changed = bytearray(request.ap_req)
        changed[changed.index(bytes.fromhex("a207030500")) + 5] ^= 0x20
        with kerberos(kdc, tmp_path, **settings) as provider:  # type: ignore[arg-type]
            accepted(provider, bytes(changed))
            assert refused(provider, request.ap_req).reason == reason


# ---- Late, early, for somebody else


@pytest.mark.parametrize("seconds", [400, 3600])
def test_a_clock_that_is_too_far_ahead_is_refused(provider: Kerberos, kdc: LabKdc, seconds: int) -> None:
    token = presentation(kdc, clock_offset_seconds=seconds).ap_req
    assert refused(provider, token).reason == "the clocks differ by more than is allowed"


def test_a_request_that_was_kept_back_is_refused(kdc: LabKdc, tmp_path: Path) -> None:
    with kerberos(kdc, tmp_path, clock_skew_seconds=5) as provider:
        accepted(provider, presentation(kdc, clock_offset_seconds=-2).ap_req)
        token = presentation(kdc, clock_offset_seconds=-60).ap_req
        assert refused(provider, token).reason == "the clocks differ by more than is allowed"


def test_an_expired_ticket_is_refused(kdc: LabKdc, tmp_path: Path) -> None:
    ticket = kdc.ticket("alice", PASSCODE, SERVICE, lifetime_seconds=1)
    with kerberos(kdc, tmp_path, clock_skew_seconds=1) as provider:
        accepted(provider, ticket.present().ap_req)
        time.sleep(3.1)
        assert refused(provider, ticket.present().ap_req).reason == "the Kerberos ticket has expired"


def test_a_ticket_for_another_service_is_refused(provider: Kerberos, kdc: LabKdc) -> None:
    kdc.keytab("HTTP@localhost")
    token = presentation(kdc, service="HTTP@localhost").ap_req
    assert refused(provider, token).reason == "the Kerberos ticket is for another service"


def test_a_ticket_for_another_service_is_refused_also_if_the_keytab_has_its_key(kdc: LabKdc, tmp_path: Path) -> None:
    """The service is pinned; the library would take any key of the keytab for an empty name."""
    both = tmp_path / "both.keytab"
    both.write_bytes(keytab_of(kdc).read_bytes() + kdc.keytab("ldap@localhost").read_bytes()[2:])
    both.chmod(0o600)
    with kerberos(kdc, tmp_path, keytab=both) as provider:
        accepted(provider, presentation(kdc).ap_req)
        token = presentation(kdc, service="ldap@localhost").ap_req
        assert refused(provider, token).reason == "the Kerberos ticket is for another service"


def test_a_kdc_that_calls_itself_by_our_realms_name_convinces_nobody(
    provider: Kerberos, kdc: LabKdc, tmp_path: Path
) -> None:
    with lab_kdc(tmp_path / "forged") as forged:
        assert forged.realm == kdc.realm
        assert refused(provider, presentation(forged).ap_req).reason == ALTERED


def test_a_person_of_our_kdc_whose_realm_is_not_admitted_is_refused(kdc: LabKdc, tmp_path: Path) -> None:
    with kerberos(kdc, tmp_path, realms=frozenset({"OTHER.LAB", kdc.realm.lower()})) as provider:
        error = refused(provider, presentation(kdc).ap_req)
        assert (error.reason, error.claimed) == ("the principal's realm is not admitted", f"alice@{kdc.realm}")


def test_a_person_of_a_realm_that_ours_trusts_is_refused_unless_it_is_admitted(tmp_path: Path) -> None:
    """Trust between realms is made by whoever runs the KDC; whom the archive admits is said in its own settings."""
    ours, theirs = LabKdc(tmp_path / "ours", "OURS.LAB"), LabKdc(tmp_path / "theirs", "THEIRS.LAB")
    with ExitStack() as running:
        for realm in (ours, theirs):
            realm.start()
            running.callback(realm.stop)
            realm.add_principal("krbtgt/OURS.LAB@THEIRS.LAB", "shared by both")
        theirs.add_principal("alice", PASSCODE)
        ours.keytab(SERVICE)
        both = tmp_path / "krb5.conf"
        both.write_text(
            "[libdefaults]\n default_realm = THEIRS.LAB\n dns_lookup_kdc = false\n udp_preference_limit = 1\n"
            f"[realms]\n OURS.LAB = {{\n kdc = 127.0.0.1:{ours.port}\n }}\n"
            f" THEIRS.LAB = {{\n kdc = 127.0.0.1:{theirs.port}\n }}\n"
            "[capaths]\n THEIRS.LAB = {\n OURS.LAB = .\n }\n"
        )
        ticket = request_ticket(both, "alice@THEIRS.LAB", PASSCODE, "dicom/localhost@OURS.LAB")
        users = MemoryUsers(*(user_record(f"alice@{realm}.LAB", ("reader",)) for realm in ("OURS", "THEIRS")))
        with kerberos(ours, tmp_path, users=users) as provider:
            error = refused(provider, ticket.present().ap_req)
            assert (error.reason, error.claimed) == ("the principal's realm is not admitted", "alice@THEIRS.LAB")
        with kerberos(ours, tmp_path, users=users, realms=frozenset({"OURS.LAB", "THEIRS.LAB"})) as provider:
            assert accepted(provider, ticket.present().ap_req) == "alice@THEIRS.LAB"


def test_a_service_is_not_a_person_unless_it_is_named(kdc: LabKdc, tmp_path: Path) -> None:
    robot = f"robot/ct1@{kdc.realm}"
    users = MemoryUsers(user_record(robot, ("importer",)), user_record(f"host/ct1@{kdc.realm}", ("importer",)))
    with kerberos(kdc, tmp_path, users=users, services=frozenset({robot})) as provider:
        assert accepted(provider, presentation(kdc, "robot/ct1").ap_req) == robot
        error = refused(provider, presentation(kdc, "host/ct1").ap_req)
        assert error.reason == "the principal is a service, not a person"


def test_a_name_with_an_at_sign_in_it_is_not_taken_for_a_realm(provider: Kerberos, kdc: LabKdc) -> None:
    token = presentation(kdc, f"{ESCAPED}@{kdc.realm}").ap_req
    assert refused(provider, token).reason == "the principal's name is not that of one person"


# ---- Altered, cut, made up


def test_a_byte_altered_anywhere_is_refused_or_changes_nothing(kdc: LabKdc, tmp_path: Path) -> None:
    """Either the token is refused, or the byte was one that nobody protects: then it is the same token, and spent."""
    ticket, unprotected = kdc.ticket("alice", PASSCODE, SERVICE), []
    whole = ticket.present().ap_req
    with kerberos(kdc, tmp_path) as provider:
        for position in range(len(whole)):
            request = ticket.present()
            altered = bytearray(request.ap_req)
            altered[position] ^= 0x01 << position % 8
            try:
                assert accepted(provider, bytes(altered)) == f"alice@{kdc.realm}"
            except TokenReplayed:
                raise
            except AuthenticationFailed:
                accepted(provider, request.ap_req)
            else:
                unprotected.append(position)
                assert refused(provider, request.ap_req).reason == REPLAYED
    # Options, and the names and numbers before the ticket's ciphertext; nothing of either ciphertext, nor between them.
    assert max(unprotected) < whole.index(b"\x04\x82")


@pytest.mark.parametrize("place", [0.5, 0.6, 0.9, 0.999])
def test_altered_ciphertext_is_named_as_such(provider: Kerberos, kdc: LabKdc, place: float) -> None:
    token = bytearray(presentation(kdc).ap_req)
    token[int(len(token) * place)] ^= 0x80
    assert refused(provider, bytes(token)).reason == ALTERED


def test_a_request_cut_at_any_length_is_refused(provider: Kerberos, kdc: LabKdc) -> None:
    request = presentation(kdc)
    for end in range(len(request.ap_req)):
        refused(provider, request.ap_req[:end])
        refused(provider, gss_framed(request.ap_req[:end]))
    for end in range(len(request.gss_token)):
        refused(provider, request.gss_token[:end])
    accepted(provider, request.ap_req)


def test_the_authenticator_of_one_and_the_ticket_of_another_are_refused(provider: Kerberos, kdc: LabKdc) -> None:
    one, other = presentation(kdc).ap_req, presentation(kdc, "clara").ap_req
    spliced = one[: authenticator_at(one)] + other[authenticator_at(other) :]
    assert len(spliced) == len(one) == len(other)
    assert refused(provider, spliced).reason == ALTERED


def test_spnego_is_refused_though_the_library_would_negotiate(provider: Kerberos, kdc: LabKdc) -> None:
    with GssClient(kdc, spnego=True) as workstation:
        assert workstation.token[0] == 0x60
        assert refused(provider, workstation.token).reason == "the GSS-API mechanism is not Kerberos 5"


def test_the_services_own_answer_is_no_request(provider: Kerberos, kdc: LabKdc) -> None:
    with GssClient(kdc) as workstation:
        answer = provider.verify(credential(workstation.token), HERE)
    assert isinstance(answer, Vouched)
    assert refused(provider, answer.server_response).reason == "the GSS-API token is not an initial one"


@pytest.mark.parametrize("size", [MAX_TOKEN_BYTES - 30, MAX_TOKEN_BYTES])
def test_a_token_of_the_greatest_size_is_examined_and_refused(provider: Kerberos, kdc: LabKdc, size: int) -> None:
    """Well-formed throughout, so that the library sees it: the authenticator's ciphertext is what is long."""
    whole = presentation(kdc).ap_req
    head = whole[8 : authenticator_at(whole)]  # the fields before, without the heads of the request and its SEQUENCE
    cipher = size - len(head) - 5 * 4 - len(b"\xa0\x03\x02\x01\x12")

    def long(tag: int, content: bytes) -> bytes:
        return bytes([tag, 0x82]) + len(content).to_bytes(2) + content

    encrypted = long(0x30, b"\xa0\x03\x02\x01\x12" + long(0xA2, long(0x04, bytes(cipher - 4))))
    token = long(0x6E, long(0x30, head + long(0xA4, encrypted)))
    assert size - 8 <= len(token) <= size
    assert refused(provider, token).reason == ALTERED
    garbage = b"\x6e" + bytes(MAX_TOKEN_BYTES - 1)
    assert refused(provider, garbage).reason == "the KRB_AP_REQ is malformed"


# ---- Fail closed, whatever the worker does

VOUCHING = "answer(0, b'alice@STRONGROOM.LAB')"


def with_worker(kdc: LabKdc, home: Path, body: str, **settings: object) -> AuthenticationFailed:
    """How the provider refuses a good token where the worker does this."""
    worker = strange_worker(home / "worker.py", body)
    deadline = 1.0
    with kerberos(kdc, home, worker=worker, deadline_seconds=deadline, **settings) as provider:
        begun = time.monotonic()
        error = refused(provider, presentation(kdc).ap_req)
        assert time.monotonic() - begun < deadline + 1.0
        return error


def test_a_worker_that_vouches_is_believed(kdc: LabKdc, tmp_path: Path) -> None:
    """So that the tests below show something: a strange worker can speak the protocol."""
    with kerberos(kdc, tmp_path, worker=strange_worker(tmp_path / "worker.py", VOUCHING)) as provider:
        assert accepted(provider, presentation(kdc).ap_req) == f"alice@{kdc.realm}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param("raise ValueError", "broke off", id="raises"),
        pytest.param("sys.exit(0)", "broke off", id="ends"),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", "broke off", id="is killed"),
        pytest.param(
            "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.abort()", "broke off", id="crashes"
        ),
        pytest.param(
            "channel.sendall(struct.pack('!L', 40) + nonce + b'\\0\\0\\0'); os.kill(os.getpid(), signal.SIGKILL)",
            "broke off",
            id="is killed half-way through a good answer",
        ),
        pytest.param("time.sleep(60)", "did not answer in time", id="hangs"),
        pytest.param("channel.sendall(struct.pack('!L', 40) + nonce); time.sleep(60)", "did not answer", id="stops"),
        pytest.param(
            "channel.sendall(struct.pack('!L', 40))\n"
            "for byte in nonce * 10:\n    channel.sendall(bytes([byte])); time.sleep(0.2)",
            "did not answer in time",
            id="drips",
        ),
        pytest.param("send(b'')", "nonsense", id="says nothing"),
        pytest.param("send(b'yes')", "nonsense", id="says something else"),
        pytest.param("send(nonce)", "nonsense", id="repeats the question"),
        pytest.param("channel.sendall(b'\\xff' * 100)", "nonsense", id="announces four gigabytes"),
        pytest.param("answer(0, b'alice@STRONGROOM.LAB', echo=bytes(16))", "nonsense", id="answers somebody else"),
        pytest.param("answer(0)", "nonsense", id="vouches for nobody"),
        pytest.param("answer(9, b'alice@STRONGROOM.LAB')", "nonsense", id="an outcome that there is not"),
        pytest.param("answer(1, b'alice@STRONGROOM.LAB')", "nonsense", id="refuses and names"),
        pytest.param("send(struct.pack('!16sBBH', nonce, 0, 0, 200) + b'alice')", "nonsense", id="a name cut short"),
        pytest.param("answer(0, b'alice\\xff@STRONGROOM.LAB')", "nonsense", id="a name that is not UTF-8"),
        pytest.param("answer(2)", "the Kerberos keytab or replay cache cannot be used", id="could not judge"),
        pytest.param(VOUCHING[:-1] + ", b'junk')", "the Kerberos library's answer is not a KRB_AP_REP", id="junk"),
    ],
)
def test_a_worker_that_does_not_answer_the_question_refuses(
    kdc: LabKdc, tmp_path: Path, body: str, reason: str
) -> None:
    error = with_worker(kdc, tmp_path, body)
    assert isinstance(error, ProviderUnavailable)
    assert reason in error.reason


@pytest.mark.parametrize(("number", "reason"), [(34, REPLAYED), (31, ALTERED), (0, "refuses"), (200, "refuses")])
def test_a_worker_that_refuses_refuses(kdc: LabKdc, tmp_path: Path, number: int, reason: str) -> None:
    error = with_worker(kdc, tmp_path, f"answer(1, number={number})")
    assert not isinstance(error, ProviderUnavailable)
    assert reason in error.reason


@pytest.mark.parametrize(
    ("principal", "reason"),
    [
        ("alice", "the principal's name is not that of one person"),
        ("@STRONGROOM.LAB", "the principal's name is not that of one person"),
        ("alice@", "the principal's realm is not admitted"),
        ("alice@EVIL.LAB@STRONGROOM.LAB", "the principal's name is not that of one person"),
        ("alice@STRONGROOM.LAB@EVIL.LAB", "the principal's name is not that of one person"),
        (r"alice\@STRONGROOM.LAB@EVIL.LAB", "the principal's name is not that of one person"),
        ("alice@strongroom.lab", "the principal's realm is not admitted"),
        ("alice@STRONGROOM.LAB.EVIL.LAB", "the principal's realm is not admitted"),
        ("ALICE@STRONGROOM.LAB", "no roles are kept for this principal"),
        ("alice\0@STRONGROOM.LAB", "the principal's name cannot be used here"),
        ("alice\n@STRONGROOM.LAB", "the principal's name cannot be used here"),
        ("alice\u200b@STRONGROOM.LAB", "the principal's name cannot be used here"),
        (" alice@STRONGROOM.LAB", "the principal's name cannot be used here"),
        ("a" * 300 + "@STRONGROOM.LAB", "the principal's name cannot be used here"),
        ("ame\u0301lie@STRONGROOM.LAB", "the principal's name is not in normal form"),
        ("WELLKNOWN/ANONYMOUS@STRONGROOM.LAB", "the principal is a service, not a person"),
        ("WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS", "the principal's realm is not admitted"),
    ],
)
def test_a_principal_that_is_not_plainly_one_known_person_is_refused(
    kdc: LabKdc, tmp_path: Path, principal: str, reason: str
) -> None:
    assert with_worker(kdc, tmp_path, f"answer(0, {principal.encode()!r})").reason == reason


def test_a_worker_that_hung_is_gone_and_the_next_login_has_another(kdc: LabKdc, tmp_path: Path) -> None:
    hung = tmp_path / "hung"
    body = (
        f"if not os.path.exists({str(hung)!r}):\n    open({str(hung)!r}, 'w').write(str(os.getpid())); time.sleep(60)\n"
    )
    worker = strange_worker(tmp_path / "worker.py", body + VOUCHING)
    with kerberos(kdc, tmp_path, worker=worker, deadline_seconds=0.5) as provider:
        refused(provider, presentation(kdc).ap_req)
        assert not psutil.pid_exists(int(hung.read_text()))
        assert accepted(provider, presentation(kdc).ap_req) == f"alice@{kdc.realm}"


def test_a_worker_that_somebody_killed_between_logins_costs_no_login(kdc: LabKdc, tmp_path: Path) -> None:
    with kerberos(kdc, tmp_path) as provider:
        for worker in psutil.Process().children():
            if str(tmp_path) in worker.environ().get("KRB5_CONFIG", ""):
                worker.kill()
                psutil.wait_procs([worker], timeout=5)
        accepted(provider, presentation(kdc).ap_req)


def test_logins_beyond_the_workers_wait_no_longer_than_the_deadline(kdc: LabKdc, tmp_path: Path) -> None:
    worker = strange_worker(tmp_path / "worker.py", "time.sleep(60)")
    with kerberos(kdc, tmp_path, worker=worker, deadline_seconds=0.5, concurrent=2) as provider:
        tokens = [presentation(kdc).ap_req for _ in range(8)]
        begun = time.monotonic()
        told = race(provider, tokens)
        assert time.monotonic() - begun < 2.0
    assert len(told) == 8
    assert not any("@" in reason for reason in told)


def hanging_library(change: str) -> str:
    return f"import kerberos, time\nkerberos.authGSSServerStep = {change}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        # Who is first to end it, the pool at the deadline or the worker's own alarm, is the machine's affair.
        ("lambda *arguments: time.sleep(60)", "the Kerberos worker (did not answer in time|broke off)"),
        ("lambda *arguments: 1 / 0", "the Kerberos worker broke off"),
        ("lambda *arguments: kerberos.AUTH_GSS_CONTINUE", "the Kerberos library refuses the ticket"),
        ("lambda *arguments: None", "the Kerberos library refuses the ticket"),
        ("lambda *arguments: True and kerberos.AUTH_GSS_COMPLETE", "the Kerberos worker broke off"),
        ("lambda *arguments: (_ for _ in ()).throw(kerberos.GSSError('?'))", "the Kerberos library refuses the ticket"),
    ],
    ids=["hangs", "raises", "is not finished", "returns nothing", "lies", "raises oddly"],
)
def test_a_library_that_misbehaves_inside_the_worker_refuses(
    kdc: LabKdc, tmp_path: Path, change: str, reason: str
) -> None:
    worker = changed_worker(tmp_path / "worker.py", hanging_library(change))
    with kerberos(kdc, tmp_path, worker=worker, deadline_seconds=0.5) as provider:
        assert re.fullmatch(reason, refused(provider, presentation(kdc).ap_req).reason)


def test_a_replay_cache_that_cannot_be_written_refuses(kdc: LabKdc, tmp_path: Path) -> None:
    with kerberos(kdc, tmp_path) as provider:
        accepted(provider, presentation(kdc).ap_req)
        cache = tmp_path / "replay" / "krb5.rcache"
        cache.unlink()
        cache.mkdir()
        error = refused(provider, presentation(kdc).ap_req)
        assert isinstance(error, ProviderUnavailable)
        assert error.reason == "the Kerberos keytab or replay cache cannot be used"


@pytest.mark.parametrize(
    "start",
    [
        lambda path: path.write_text("raise SystemExit"),
        lambda path: path.write_text("import time; time.sleep(60)"),
        lambda path: path.write_text("import os; os.write(0, b'\\0\\0\\0\\1\\7')"),
        lambda path: path.mkdir(),
    ],
    ids=["ends", "hangs", "says something else", "is not there"],
)
def test_a_worker_that_does_not_come_up_is_told_at_once(
    kdc: LabKdc, tmp_path: Path, start: Callable[[Path], object]
) -> None:
    start(tmp_path / "worker.py")
    with (
        pytest.raises((ProviderUnavailable, ProviderMisconfigured), match="does not come up"),
        kerberos(kdc, tmp_path, worker=tmp_path / "worker.py", deadline_seconds=0.5),
    ):
        pytest.fail("it started")


def test_no_refusal_repeats_what_the_peer_sent(provider: Kerberos, kdc: LabKdc) -> None:
    kdc.keytab("HTTP@localhost")
    token = presentation(kdc, service="HTTP@localhost")
    for error in (refused(provider, token.ap_req), refused(provider, b"\x6eHTTP/localhost")):
        assert "HTTP" not in repr(error)
        assert error.claimed is None
