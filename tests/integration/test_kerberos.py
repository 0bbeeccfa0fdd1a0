"""People with tickets of a real KDC, verified by their service's keytab: PS3.15 B.6, PS3.7 D.3.3.7."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from archive.lab.kdc import LabKdc
from archive.lab.kerberos_client import KerberosClientError
from auth.credential import Username
from auth.errors import AuthenticationFailed, ProviderMisconfigured, ProviderUnavailable
from auth.identity.chain import NOT_MINE, Vouched
from auth.identity.kerberos import Kerberos, KerberosConfig
from auth.identity.kerberos_tokens import Framing, server_response
from auth.principal import Principal
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
    ticket_file,
)
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryUsers, user_record
from tests.simulators.subjects import node

demand_kerberos()

AT = node(name="WS1")


@pytest.fixture(scope="module")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabKdc]:
    with lab_kdc(tmp_path_factory.mktemp("kdc") / "realm") as running:
        yield running


@pytest.fixture(scope="module")
def provider(kdc: LabKdc, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kerberos]:
    """For tests that change nothing about it."""
    with kerberos(kdc, tmp_path_factory.mktemp("home")) as running:
        yield running


def vouched(provider: Kerberos, token: bytes) -> Vouched:
    answer = provider.verify(credential(token), AT)
    assert isinstance(answer, Vouched)
    return answer


def refusal(provider: Kerberos, token: bytes) -> str:
    with pytest.raises(AuthenticationFailed) as refused:
        provider.verify(credential(token), AT)
    return refused.value.reason


def workers(home: Path) -> list[psutil.Process]:
    """Those of the provider over this home."""
    told = ((child, child.environ()) for child in psutil.Process().children() if child.status() != "zombie")
    return [child for child, environment in told if str(home) in environment.get("KRB5_CONFIG", "")]


# ---- Who it is, and what they are answered


def test_a_gss_token_vouches_and_the_workstation_believes_the_answer(provider: Kerberos, kdc: LabKdc) -> None:
    with GssClient(kdc) as workstation:
        answer = vouched(provider, workstation.token)
        assert answer.principal == Principal(f"alice@{kdc.realm}", frozenset({"reader"}), {})
        assert answer.valid_until is None
        assert workstation.believes(answer.server_response)


def test_a_raw_request_is_answered_by_a_raw_ap_rep_that_its_maker_believes(provider: Kerberos, kdc: LabKdc) -> None:
    request = presentation(kdc)
    assert request.ap_req[0] == 0x6E
    answer = vouched(provider, request.ap_req)
    assert answer.server_response[0] == 0x6F
    request.check_answer(answer.server_response)


def test_the_framing_of_the_answer_is_the_only_difference(provider: Kerberos, kdc: LabKdc) -> None:
    request = presentation(kdc)
    answer = vouched(provider, request.gss_token)
    assert answer.server_response[0] == 0x60
    request.check_answer(server_response(answer.server_response, Framing.RAW))


def test_an_answer_to_somebody_else_is_not_believed(provider: Kerberos, kdc: LabKdc) -> None:
    """So that the two tests before this one show something."""
    asked, other = presentation(kdc), presentation(kdc)
    answer = vouched(provider, asked.ap_req).server_response
    with pytest.raises(KerberosClientError):
        other.check_answer(answer)
    with GssClient(kdc) as workstation:
        vouched(provider, workstation.token)
        assert not workstation.believes(vouched(provider, other.gss_token).server_response)


def test_who_asks_for_no_proof_of_the_service_is_answered_by_nothing(provider: Kerberos, kdc: LabKdc) -> None:
    assert vouched(provider, presentation(kdc, mutual=False).ap_req).server_response == b""
    with GssClient(kdc, mutual=False) as workstation:
        assert vouched(provider, workstation.token).server_response == b""


def test_a_ticket_file_is_what_storescu_sends(provider: Kerberos, kdc: LabKdc, tmp_path: Path) -> None:
    for raw, first in ((True, 0x6E), (False, 0x60)):
        token = ticket_file(kdc, tmp_path / "token", raw=raw).read_bytes()
        assert token[0] == first
        assert vouched(provider, token).principal.name == f"alice@{kdc.realm}"


def test_other_credentials_are_not_this_providers(provider: Kerberos) -> None:
    assert provider.verify(Username("alice"), AT) is NOT_MINE
    assert provider.identity_types == {3}


# ---- What roles they have, and for how long


def test_roles_and_attributes_are_those_of_the_record_of_the_principal(kdc: LabKdc, tmp_path: Path) -> None:
    record = user_record(f"alice@{kdc.realm}", ("reader", "importer"), attributes={"organization": "Radiology"})
    with kerberos(kdc, tmp_path, users=MemoryUsers(record)) as provider:
        person = vouched(provider, presentation(kdc).ap_req).principal
    assert person.roles == {"reader", "importer"}
    assert person.attributes == {"organization": "Radiology"}


def test_a_local_user_of_the_bare_name_is_somebody_else(kdc: LabKdc, tmp_path: Path) -> None:
    with kerberos(kdc, tmp_path, users=MemoryUsers(user_record("alice", ("administrator",)))) as provider:
        assert refusal(provider, presentation(kdc).ap_req) == "no roles are kept for this principal"


def test_a_principal_for_whom_nobody_keeps_roles_is_refused(provider: Kerberos, kdc: LabKdc) -> None:
    assert refusal(provider, presentation(kdc, "bob").ap_req) == "no roles are kept for this principal"


def test_a_disabled_person_is_refused(kdc: LabKdc, tmp_path: Path) -> None:
    record = user_record(f"alice@{kdc.realm}", ("reader",), enabled=False)
    with kerberos(kdc, tmp_path, users=MemoryUsers(record)) as provider:
        assert refusal(provider, presentation(kdc).ap_req) == "the user is disabled"


def test_still_follows_the_record(kdc: LabKdc, tmp_path: Path) -> None:
    name = f"alice@{kdc.realm}"
    users = MemoryUsers(user_record(name, ("reader", "importer")))
    with kerberos(kdc, tmp_path, users=users) as provider:
        person = vouched(provider, presentation(kdc).ap_req).principal
        assert provider.still(person) == person
        users.users[name] = user_record(name, ("reader", "administrator"))
        now = provider.still(person)
        assert now is not None
        assert now.roles == {"reader"}  # a role gained takes effect at the next login
        users.users[name] = user_record(name, ("reader",), enabled=False)
        assert provider.still(person) is None
        del users.users[name]
        assert provider.still(person) is None


def test_roles_may_come_from_a_directory(kdc: LabKdc, tmp_path: Path) -> None:
    people: dict[str, Principal] = {
        "alice": Principal("uid=alice,dc=lab", frozenset({"reader"}), {"display_name": "Alice"})
    }
    users = MemoryUsers(user_record(f"alice@{kdc.realm}", ("importer",)))
    with kerberos(kdc, tmp_path, users=users, elsewhere=people.get) as provider:
        person = vouched(provider, presentation(kdc).ap_req).principal
        assert person == Principal(f"alice@{kdc.realm}", frozenset({"reader", "importer"}), {"display_name": "Alice"})
        assert refusal(provider, presentation(kdc, "bob").ap_req) == "no roles are kept for this principal"
        people["alice"] = Principal("uid=alice,dc=lab", frozenset())
        now = provider.still(person)
        assert now is not None
        assert now.roles == {"importer"}
        del people["alice"]
        assert provider.still(person) == Principal(person.name, frozenset({"importer"}), {})
        del users.users[person.name]
        assert provider.still(person) is None


def test_a_directory_that_is_down_refuses(kdc: LabKdc, tmp_path: Path) -> None:
    def down(name: str) -> Principal | None:
        raise ProviderUnavailable("the directory does not answer")

    with kerberos(kdc, tmp_path, elsewhere=down) as provider:
        assert refusal(provider, presentation(kdc).ap_req) == "the directory does not answer"
        with pytest.raises(ProviderUnavailable):
            provider.still(Principal(f"alice@{kdc.realm}", frozenset({"reader"})))


def test_a_directory_that_does_not_say_clearly_is_a_no_to_still(kdc: LabKdc, tmp_path: Path) -> None:
    def twice(name: str) -> Principal | None:
        raise AuthenticationFailed("the directory knows two of them")

    with kerberos(kdc, tmp_path, elsewhere=twice) as provider:
        assert provider.still(Principal(f"alice@{kdc.realm}", frozenset({"reader"}))) is None


# ---- What is found out when the server starts, not at somebody's login


def misconfigured(kdc: LabKdc, home: Path, **settings: object) -> str:
    with pytest.raises(ProviderMisconfigured) as refused, kerberos(kdc, home, **settings):
        pytest.fail("it started")
    return str(refused.value)


def test_a_missing_keytab_is_told_at_once(kdc: LabKdc, tmp_path: Path) -> None:
    told = misconfigured(kdc, tmp_path, keytab=tmp_path / "none")
    assert told == f"the Kerberos keytab {tmp_path / 'none'} cannot be read (No such file or directory)"


def test_an_unreadable_keytab_is_told_at_once(kdc: LabKdc, tmp_path: Path) -> None:
    assert "cannot be read" in misconfigured(kdc, tmp_path, keytab=tmp_path)


def test_a_keytab_that_others_can_read_is_refused(kdc: LabKdc, tmp_path: Path) -> None:
    exposed = tmp_path / "keytab"
    exposed.write_bytes(keytab_of(kdc).read_bytes())
    exposed.chmod(0o640)
    assert misconfigured(kdc, tmp_path, keytab=exposed) == f"{exposed} can be read by others: run `chmod 600 {exposed}`"


@pytest.mark.parametrize("content", [b"", b"\x05\x02", b"no keytab"])
def test_a_keytab_without_a_key_is_told_at_once(kdc: LabKdc, tmp_path: Path, content: bytes) -> None:
    empty = tmp_path / "keytab"
    empty.write_bytes(content)
    empty.chmod(0o600)
    assert misconfigured(kdc, tmp_path, keytab=empty) == "the Kerberos keytab has no key of the service"


def test_a_keytab_of_another_service_is_told_at_once(kdc: LabKdc, tmp_path: Path) -> None:
    told = misconfigured(kdc, tmp_path, keytab=kdc.keytab("imap@localhost"))
    assert told == "the Kerberos keytab has no key of the service"


@pytest.mark.parametrize("service", ["", "dicom", "@localhost", "dicom@", "dicom/localhost@LAB", "dicom@host\n", "*"])
def test_a_service_that_is_not_one_is_refused(kdc: LabKdc, tmp_path: Path, service: str) -> None:
    """An empty one would take a ticket for any key that the keytab holds."""
    assert misconfigured(kdc, tmp_path, service=service) == "kerberos: service is written `dicom@host.example`"


def test_somebodys_realm_is_admitted(kdc: LabKdc, tmp_path: Path) -> None:
    for nobody in (frozenset(), frozenset({""})):
        assert misconfigured(kdc, tmp_path, realms=nobody) == "kerberos: realms names at least one"


def test_a_directory_is_for_one_realm(kdc: LabKdc, tmp_path: Path) -> None:
    """alice of one realm and alice of another are one name to it."""
    told = misconfigured(kdc, tmp_path, realms=frozenset({"ONE.LAB", "TWO.LAB"}), elsewhere=lambda name: None)
    assert told == "kerberos: roles_from is for one realm, not for several"


def test_a_directory_that_is_not_there_is_told_at_once(kdc: LabKdc, tmp_path: Path) -> None:
    assert misconfigured(kdc, tmp_path, roles_from="nowhere") == "kerberos: roles_from names no directory"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("clock_skew_seconds", 0),
        ("clock_skew_seconds", 86_400),
        ("concurrent", 0),
        ("deadline_seconds", 0.0),
        ("deadline_seconds", float("nan")),
        ("refusals_per_worker", 0),
    ],
)
def test_a_number_that_means_nothing_is_refused(kdc: LabKdc, tmp_path: Path, key: str, value: float) -> None:
    assert misconfigured(kdc, tmp_path, **{key: value}).startswith("kerberos: ")


def test_a_replay_cache_that_cannot_be_made_is_told_at_once(kdc: LabKdc, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert "cannot be written" in misconfigured(kdc, tmp_path, replay_cache=tmp_path / "file" / "krb5.rcache")


def test_without_pykerberos_the_operator_is_told_what_to_install(kdc: LabKdc, tmp_path: Path) -> None:
    worker = changed_worker(tmp_path / "worker.py", "sys.modules['kerberos'] = None")
    told = misconfigured(kdc, tmp_path, worker=worker)
    assert told == "pykerberos is not installed: install `strongroom[kerberos]`"


# ---- The processes in which tokens are examined


def test_a_worker_is_told_nothing_but_what_it_needs(
    kdc: LabKdc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KRB5_KTNAME", "FILE:/of/somebody/else")
    monkeypatch.setenv("KRB5RCACHENAME", "none:")
    monkeypatch.setenv("SECRET", "of the server")
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    before = dict(os.environ)
    with kerberos(kdc, tmp_path) as provider:
        (worker,) = workers(tmp_path)
        told = worker.environ()
        request = presentation(kdc)
        vouched(provider, request.ap_req)
        assert refusal(provider, request.ap_req) == "the Kerberos ticket was presented before"
    assert set(told) == {"KRB5_CONFIG", "KRB5_KTNAME", "KRB5RCACHENAME", "GSS_MECH_CONFIG", "LC_ALL"}
    assert told["KRB5RCACHENAME"] == f"file2:{tmp_path}/replay/krb5.rcache"
    assert dict(os.environ) == before
    assert (tmp_path / "replay" / "krb5.rcache").stat().st_mode & 0o077 == 0


def test_no_module_of_the_working_folder_is_taken_for_the_library(
    kdc: LabKdc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kerberos.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with kerberos(kdc, tmp_path) as provider:
        vouched(provider, presentation(kdc).ap_req)


def test_a_worker_is_replaced_after_its_share_of_refusals(kdc: LabKdc, tmp_path: Path) -> None:
    """pykerberos keeps something of each for ever, and anybody can make it refuse."""
    seen = set()
    with kerberos(kdc, tmp_path, refusals_per_worker=5) as provider:
        request = presentation(kdc)
        vouched(provider, request.ap_req)
        for _ in range(20):
            assert refusal(provider, request.ap_req) == "the Kerberos ticket was presented before"
            seen |= {worker.pid for worker in workers(tmp_path)}
            assert len(workers(tmp_path)) <= 1
        vouched(provider, presentation(kdc).ap_req)
    assert len(seen) == 4
    assert workers(tmp_path) == []


def test_a_worker_is_replaced_after_its_share_of_tokens(kdc: LabKdc, tmp_path: Path) -> None:
    with kerberos(kdc, tmp_path, tokens_per_worker=1) as provider:
        for _ in range(3):
            vouched(provider, presentation(kdc).ap_req)


def test_a_keytab_may_be_replaced_while_the_server_runs(tmp_path: Path) -> None:
    with lab_kdc(tmp_path / "realm") as own, kerberos(own, tmp_path) as provider:
        ticket = own.ticket("alice", PASSCODE, SERVICE)
        vouched(provider, ticket.present().ap_req)
        own.keytab(SERVICE)
        assert (
            refusal(provider, ticket.present().ap_req)
            == "the Kerberos ticket was made with a former key of the service"
        )
        vouched(provider, presentation(own).ap_req)
        keytab_of(own).unlink()
        assert refusal(provider, presentation(own).ap_req) == "the Kerberos keytab or replay cache cannot be used"


def test_a_closed_provider_refuses(kdc: LabKdc, tmp_path: Path) -> None:
    with kerberos(kdc, tmp_path) as provider:
        provider.close()
        assert refusal(provider, presentation(kdc).ap_req) == "the Kerberos workers are stopped"


def test_workers_end_with_a_server_that_is_killed(kdc: LabKdc, tmp_path: Path) -> None:
    server = f"""
import sys, time
from pathlib import Path
from auth.identity.kerberos import Kerberos, KerberosConfig
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryUsers
config = KerberosConfig({SERVICE!r}, Path({str(keytab_of(kdc))!r}), Path({str(tmp_path / "rcache")!r}), frozenset("R"))
provider = Kerberos(config, MemoryUsers(), PresentedInMemory())
print(provider._workers._idle[0]._process.pid, flush=True)
time.sleep(60)
"""
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", server], cwd=root, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root)}
    ) as process:
        assert process.stdout is not None
        worker = psutil.Process(int(process.stdout.readline()))
        process.kill()
    psutil.wait_procs([worker], timeout=5)
    assert not worker.is_running()


def test_a_worker_that_hangs_ends_by_itself_should_nobody_be_left_to_kill_it(kdc: LabKdc, tmp_path: Path) -> None:
    program = changed_worker(
        tmp_path / "worker.py",
        "import kerberos, time\nkerberos.authGSSServerStep = lambda *arguments: time.sleep(60)",
    )
    with kerberos(kdc, tmp_path):
        environment = workers(tmp_path)[0].environ()
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        subprocess.Popen([sys.executable, "-I", program, SERVICE, "0.3"], stdin=theirs, env=environment) as worker,
    ):
        assert ours.recv(5) == b"\0\0\0\1\0"
        ours.sendall((17).to_bytes(4) + bytes(17))
        assert worker.wait(5) == -signal.SIGALRM


def test_the_replay_cache_may_lie_at_a_relative_path(
    kdc: LabKdc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = KerberosConfig(SERVICE, keytab_of(kdc), Path("replay/rcache"), frozenset({kdc.realm}))
    provider = Kerberos(config, MemoryUsers(user_record(f"alice@{kdc.realm}", ("reader",))), PresentedInMemory())
    try:
        vouched(provider, presentation(kdc).ap_req)
    finally:
        provider.close()
    assert Path("replay/rcache").stat().st_size > 0
