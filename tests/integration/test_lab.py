"""``strongroom lab up`` and ``strongroom identity test``, as an operator uses them: real servers, real credentials."""

import contextlib
import json
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from archive.cli.app import build
from archive.cli.frame import run
from archive.home import Home
from archive.lab.hospital import LabHospital
from archive.lab.system import program
from archive.rehearsal import rehearse
from auth.credential import Secret
from auth.identity.authenticator import OfferedIdentity
from tests.simulators.running_archive import PASSCODE, RunningArchive


def missing(library, *programs):
    """What has to be installed for a kind of credential; None: nothing."""
    if find_spec(library) is None:
        return f"strongroom[{library}]"
    try:
        for name in programs:
            program(name)
    except FileNotFoundError as error:
        return str(error)
    return None


MISSING = {
    "passcode": missing("ldap", "slapd", "slapadd", "ldapmodify"),
    "kerberos": missing("kerberos", "krb5kdc", "kdb5_util", "kadmin.local"),
    "saml": None,
    "jwt": None,
}
EVERY = list(MISSING)
OPTIONS = {"passcode": "-usr", "kerberos": "-kt", "saml": "--saml", "jwt": "--jwt"}
NAMES = {
    "passcode": "uid=alice,ou=people,dc=strongroom,dc=lab",
    "kerberos": "alice@STRONGROOM.LAB",
    "saml": "alice@lab-saml",
    "jwt": "alice@lab-jwt",
}

pytestmark = pytest.mark.xdist_group("lab")


def need(kind):
    if MISSING[kind]:
        pytest.skip(f"the lab cannot run here: {MISSING[kind]}")


@dataclass
class Lab:
    """A lab that runs in a process of its own, and what it has printed."""

    folder: Path
    printed: str
    used: set[bytes] = field(default_factory=set)

    def command(self, person, kind):
        """The storescu command that it printed, as words."""
        need(kind)
        for line in self.printed.split(f"\n{person}, ")[1].split("\n\n")[1].splitlines():
            words = shlex.split(line)
            if OPTIONS[kind] in words:
                return words
        raise AssertionError(f"no command for {person} and {kind}")

    def send(self, person, kind, instead=None):
        """The printed command; ``instead``: another file in the place of the printed one."""
        words = self.command(person, kind)
        if shutil.which("storescu", path="/usr/bin") is None:
            pytest.skip("needs DCMTK as second opinion: Debian package dcmtk, which scripts/test installs")
        if kind != "passcode":
            words[words.index(OPTIONS[kind]) + 1] = str(instead or self.fresh(person, kind))
        return subprocess.run([*words, "-v"], capture_output=True, text=True, timeout=60, check=False)

    def fresh(self, person, kind):
        """The credential file, once there is something in it that no test has used."""
        path = self.folder / f"{person}.{kind}"
        deadline = time.monotonic() + 30
        while (content := path.read_bytes()) in self.used:
            assert time.monotonic() < deadline, "the lab writes no fresh credentials"
            time.sleep(0.1)
        self.used.add(content)
        return path

    def credential(self, person, kind, tmp_path):
        """A copy of a credential file, which stays as it is; and how it is given to `identity test`."""
        words = self.command(person, kind)
        copy = tmp_path / f"{person}.{kind}"
        if kind == "passcode":
            copy.write_text(words[words.index("-pwd") + 1] + "\n")
            return copy, ["--name", person, "--passcode-file", str(copy)]
        copy.write_bytes(self.fresh(person, kind).read_bytes())
        return copy, ["--file", str(copy)]

    def trail(self):
        return json.loads(strongroom("audit", "show", "--json", "--home", str(self.folder / "home")).stdout)

    def try_out(self, kind, *options):
        home = str(self.folder / "home")
        done = strongroom("identity", "test", "--type", kind, *options, "--json", "--home", home)
        assert done.returncode in (0, 1), done.stderr
        told = json.loads(done.stdout)
        assert told["verified"] == (done.returncode == 0)
        return told


def strongroom(*arguments):
    command = [sys.executable, "-m", "archive", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def runs(process):
    """Whether it does anything: one that ended may wait for init to take it away."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def lab_up(*arguments, stop=signal.SIGTERM):
    """A lab until the end of the block, when nothing of it may run any more."""
    command = [sys.executable, "-m", "archive", "lab", "up", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    started = []
    try:
        printed = ""
        for line in process.stdout:
            printed += line
            if line.startswith("Ctrl-C"):
                break
        assert "Ctrl-C" in printed, process.stderr.read()
        started = psutil.Process(process.pid).children(recursive=True)
        yield printed
    finally:
        process.send_signal(stop)
        rest, errors = process.communicate(timeout=60)
        alive = [process for process in started if runs(process)]
    assert process.returncode == 0, errors
    assert "nothing of it runs any more" in rest
    assert alive == []


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    with lab_up("--folder", str(folder)) as printed:
        yield Lab(folder, printed)


@pytest.mark.parametrize("kind", EVERY)
def test_each_command_that_the_lab_prints_is_good(lab, kind):
    done = lab.send("alice", kind)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [one for one in lab.trail() if one["kind"] == "user-authenticated"][-1]
    assert told["facts"]["actor"]["person"] == NAMES[kind] and told["facts"]["outcome"] == 0


def test_whoever_may_not_store_is_let_in_and_given_no_context_to_store_in(lab):
    done = lab.send("bob", "jwt")
    assert done.returncode != 0 and "No Acceptable Presentation Contexts" in done.stdout + done.stderr
    admitted, refused = lab.trail()[-2:]
    assert (admitted["kind"], admitted["facts"]["outcome"]) == ("user-authenticated", 0)
    assert refused["kind"] == "access-refused"


def test_a_credential_that_no_user_identity_item_can_hold_is_not_sent_by_dcmtk_and_the_largest_arrives(lab, tmp_path):
    """PS3.7 D.1.3 and D.3.3.7: both the item and the User Information around it have lengths of 16 bits."""
    large = tmp_path / "large.saml"
    large.write_bytes(b"x" * 65_529)
    done = lab.send("alice", "saml", instead=large)
    assert done.returncode != 0 and "exceeds upper limit of 65535 bytes" in done.stdout + done.stderr
    large.write_bytes(b"x" * 65_400)
    done = lab.send("alice", "saml", instead=large)
    assert done.returncode != 0 and "Association Rejected" in done.stdout + done.stderr
    told = lab.trail()[-1]
    assert told["kind"] == "user-authenticated" and told["facts"]["reason"] == "not well-formed XML"


def test_the_lab_names_dcmtk_by_its_path_since_pynetdicom_has_a_program_of_that_name(lab):
    if shutil.which("storescu", path="/usr/bin") is None:
        pytest.skip("needs DCMTK as second opinion: Debian package dcmtk, which scripts/test installs")
    assert lab.command("alice", "saml")[0] == "/usr/bin/storescu"


def test_what_the_lab_writes_is_for_its_owner_alone(lab):
    assert lab.folder.stat().st_mode & 0o077 == 0


def records_of(home):
    """Everything in the database of users, nodes and presented tokens."""
    with contextlib.closing(sqlite3.connect(f"file:{home}/records.sqlite?mode=ro", uri=True)) as records:
        return list(records.iterdump())


def spent(lab):
    """What the archive remembers of presented tokens."""
    replay_cache = b"" if MISSING["kerberos"] else (lab.folder / "replay" / "cache").read_bytes()
    return records_of(lab.folder / "home"), replay_cache


@pytest.mark.parametrize("kind", EVERY)
def test_a_good_credential_is_told_step_by_step_and_can_still_be_presented(lab, kind, tmp_path):
    copy, options = lab.credential("alice", kind, tmp_path)
    before = spent(lab)
    told = lab.try_out(kind, *options)
    assert told["verified"], told["reason"]
    assert spent(lab) == before, "the test has spent the credential"
    assert told["person"] == NAMES[kind] and told["roles"] == ["modality", "radiologist"]
    assert told["verified_by"] == ("lab-directory" if kind == "passcode" else f"lab-{kind}")
    assert len(told["steps"]) >= 4
    response = told["positive_response"]
    assert (response["kind"], response["bytes"] > 0) == {
        "passcode": ("empty", False),
        "kerberos": ("GSS token with a KRB_AP_REP", True),
        "saml": ("samlp:Response", True),
        "jwt": ("empty", False),
    }[kind]
    secret = copy.read_text("latin-1").strip()
    assert secret not in json.dumps(told) and secret not in json.dumps(lab.trail())
    sent = lab.send("alice", kind, instead=copy)
    assert sent.returncode == 0, sent.stdout + sent.stderr
    if kind != "passcode":
        again = lab.try_out(kind, *options, "--node", "LAB")
        assert again["verified"] == (kind != "kerberos"), "a ticket is good once, a bearer token at its node"


def test_what_one_node_has_presented_is_refused_as_from_any_other_and_the_use_of_the_test_is_in_the_trail(
    lab, tmp_path
):
    copy, options = lab.credential("alice", "jwt", tmp_path)
    assert lab.send("alice", "jwt", instead=copy).returncode == 0
    assert "by another node" in lab.try_out("jwt", *options)["reason"]
    told = lab.trail()[-1]
    assert told["kind"] == "security-alert" and told["facts"]["alert"] == "110132"
    assert "jwt of alice@lab-jwt refused" in told["facts"]["description"] and told["facts"]["actor"]["os_user"]


REFUSED = {
    "wrong passcode": ("passcode", ["--name", "alice", "--passcode-file", "{file}"], b"wrong", "wrong passcode"),
    "nobody": ("passcode", ["--name", "mallory", "--passcode-file", "{file}"], b"x", "nobody vouches"),
    "cut assertion": ("saml", ["--file", "{file}"], b"<saml:Assertion", ""),
    "too large": ("saml", ["--file", "{file}"], b" " * 65_530, "65529 bytes"),
    "bare name": ("username", ["--name", "alice", "--node", "LAB"], b"", "not believed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_credential_is_refused_with_its_reason(lab, case, tmp_path):
    kind, options, content, reason = REFUSED[case]
    file = tmp_path / "credential"
    file.write_bytes(content)
    told = lab.try_out(kind, *[word.replace("{file}", str(file)) for word in options])
    assert not told["verified"] and reason in told["reason"] and told["person"] is None


def test_the_lab_leaves_a_home_of_the_operators_alone_and_says_what_to_do(lab, tmp_path):
    archive = RunningArchive(tmp_path).init()
    before = {path: path.read_bytes() for path in archive.home.rglob("*") if path.is_file()}
    folder = tmp_path / "with-home"
    with lab_up("--folder", str(folder), "--home", str(archive.home), stop=signal.SIGINT) as printed:
        assert {path: path.read_bytes() for path in archive.home.rglob("*") if path.is_file()} == before
        commands = printed.split("as long as the lab runs:\n\n")[1].split("\n\n")[0]
        for command in commands.splitlines():
            words = command.strip().replace("strongroom ", f"{sys.executable} -m archive ", 1)
            subprocess.run(words, shell=True, check=True, capture_output=True)
        if shutil.which("storescu", path="/usr/bin") is None:
            pytest.skip("needs DCMTK as second opinion: Debian package dcmtk, which scripts/test installs")
        with archive.serving():
            storing = next(line for line in printed.splitlines() if "--jwt" in line)
            ct = shutil.copy(lab.folder / "image.dcm", tmp_path)
            done = subprocess.run([*shlex.split(storing)[:-1], ct], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("x")
    done = strongroom("lab", "up", "--folder", str(tmp_path))
    assert done.returncode == 2 and "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_without_slapd_and_krb5kdc_the_lab_says_what_brings_them_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("archive.lab.system._SYSTEM_FOLDERS", "")
    with LabHospital(tmp_path / "lab", "urn:dicom:ae:STRONGROOM") as hospital:
        assert [("slapd" in words, "krb5-kdc" in words) for words in hospital.missing] == [(True, False), (False, True)]
        assert all("Debian package" in words for words in hospital.missing)
        assert set(hospital.renew_credentials()) == {(who, of) for who in ("alice", "bob") for of in ("saml", "jwt")}
        assert "[[saml]]" in hospital.settings() and "[[directory]]" not in hospital.settings()


def test_where_no_directory_tells_roles_kerberos_people_need_records(tmp_path, monkeypatch):
    need("kerberos")
    monkeypatch.setattr("archive.lab.hospital.find_spec", lambda name: None if name == "ldap" else name)
    with LabHospital(tmp_path / "lab", "urn:dicom:ae:STRONGROOM") as hospital:
        assert hospital.principals["alice@STRONGROOM.LAB"] == ("radiologist", "modality")
        assert 'roles_from = ""' in hospital.settings() and "python-ldap" in hospital.missing[0]
        with socket.create_connection(("127.0.0.1", hospital.kdc.port)):
            port = hospital.kdc.port
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port)):
        pass


def test_a_home_at_rest_is_looked_at_without_a_server_and_not_changed_but_for_the_trail(tmp_path):
    archive = RunningArchive(tmp_path).init()
    archive.person("carol", "radiologist")
    archive.node("QUIET", "modality", identity="none")
    passcode = ["--type", "passcode", "--name", "carol", "--passcode-file", "-"]
    records = records_of(archive.home)
    done = archive.strongroom("identity", "test", *passcode, stdin=PASSCODE + "\n")
    assert done.returncode == 0, done.stderr
    assert "verified    carol, by local" in done.stdout and "roles       radiologist" in done.stdout
    offered = OfferedIdentity(2, Secret(b"carol"), Secret(PASSCODE.encode()))
    unread = rehearse(Home.at(archive.home), offered, "QUIET")
    assert unread.authenticated is None and "whose identities are not read" in unread.reason
    assert records_of(archive.home) == records
    assert [one["kind"] for one in archive.trail()][-1] == "security-alert"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--type", "saml"], "needs --file"),
        (["--type", "passcode", "--name", "a"], "needs --passcode-file"),
        (["--type", "username", "--name", "a", "--file", "x"], "takes no --file"),
        (["--type", "magic", "--name", "a"], "magic"),
        (["--type", "username", "--name", "a", "--node", "NOWHERE"], "no node"),
        (["--type", "jwt", "--file", "/nowhere"], "/nowhere"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused_in_one_line(lab, arguments, word, capsys):
    with pytest.raises(SystemExit) as left:
        run(build(), ["identity", "test", *arguments, "--home", str(lab.folder / "home")])
    told = capsys.readouterr()
    assert left.value.code == 2 and told.out == "" and word in told.err
    assert len(told.err.splitlines()) == 1
