"""Bad command lines, settings and homes: one clear line with its number and what to do, exit code 2, no traceback.

Everything here is a process of its own, as an operator would start it.
"""

import os
import shutil
import socket
import stat
import subprocess
import sys

import pytest

from tests.simulators.running_archive import RunningArchive


def strongroom(*arguments, **options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM")}
    environment |= options.pop("environment", {})
    return subprocess.run(
        [sys.executable, "-m", "archive", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
        env=environment,
        **options,
    )


def refused(done, number, *words):
    """One line on standard error: number, what is wrong, what to do; nothing on standard output."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"strongroom: E{number} "), lines
    assert ": " in lines[0].removeprefix("strongroom: ")
    for word in words:
        assert word in lines[0], lines[0]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return RunningArchive(tmp_path_factory.mktemp("template")).init()


@pytest.fixture
def archive(template, tmp_path):
    copy = RunningArchive(tmp_path)
    shutil.copytree(template.home, copy.home)
    settings(copy, f"port = {template.port}", f"port = {copy.port}")
    return copy


def settings(archive, old, new):
    path = archive.home / "strongroom.toml"
    text = path.read_text()
    assert text.count(f"\n{old}\n") == 1
    path.write_text(text.replace(f"\n{old}\n", f"\n{new}\n"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["--help"]),
        (["dance"], ["dance"]),
        (["node"], ["--help"]),
        (["node", "dance"], ["dance"]),
        (["node", "add"], ["AE_TITLE"]),
        (["node", "list", "--colour"], ["--colour"]),
        (["node", "add", "CT1", "--port", "x", "--home", "."], ["--port"]),
        (["study", "label", "1.2"], ["LABEL"]),
        (["node", "list"], ["--home", "STRONGROOM_HOME"]),
        (["init"], ["init HOME"]),
    ],
)
def test_a_bad_command_line(arguments, words):
    refused(strongroom(*arguments), 107, *words)


@pytest.mark.parametrize("verb", [[], ["node"], ["node", "add"], ["serve"], ["user"], ["audit", "show"]])
def test_help_is_help_and_answers_without_a_home(verb):
    done = strongroom(*verb, "--help")
    assert done.returncode == 0 and "Usage:" in done.stdout and done.stderr == ""


def test_a_folder_that_is_no_home(tmp_path):
    refused(strongroom("serve", "--home", tmp_path), 103, "strongroom.toml", "init")
    refused(strongroom("node", "list", "--home", tmp_path / "none"), 103, "init")


def test_the_home_may_be_named_by_the_environment(archive):
    done = strongroom("node", "list", "--json", environment={"STRONGROOM_HOME": str(archive.home)})
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_init_of_a_folder_that_is_not_empty_touches_nothing(tmp_path):
    (tmp_path / "precious").write_text("x")
    refused(strongroom("init", tmp_path), 103, "not empty")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize(
    ("arguments", "number", "word"),
    [
        (["--ae-title", "SEVENTEEN_LETTERS"], 101, "ae_title"),
        (["--ae-title", 'X"'], None, ""),
        (["--host", "no host"], 101, "listen.host"),
        (["--name", "not a name"], 340, "name"),
    ],
)
def test_init_that_is_refused_leaves_an_empty_folder_and_can_be_tried_again(tmp_path, arguments, number, word):
    done = strongroom("init", tmp_path / "home", *arguments)
    if number is None:
        assert done.returncode == 0
        return
    refused(done, number, word)
    assert [path.name for path in (tmp_path / "home").iterdir()] in ([], ["lock"])
    assert strongroom("init", tmp_path / "home").returncode == 0


def test_a_new_home_is_closed_to_others_and_holds_only_closed_files(template):
    assert stat.S_IMODE(template.home.stat().st_mode) == 0o700
    keys = [path for path in template.home.rglob("*") if path.suffix in (".key", ".json")]
    assert len(keys) >= 7
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('host = "127.0.0.1"', 'hots = "127.0.0.1"', ["hots", "[listen]"]),
        ("associations = 512", "associations = 0", ["limits.associations"]),
        ("associations = 512", 'associations = "many"', ["limits.associations", "whole number"]),
        ("[policy]", "[polices]", ["polices"]),
        ('plain = ""', 'plain = "yes"', ["listen.plain", "insecure"]),
        ('level = "info"', 'level = "info', ["TOML"]),
    ],
)
def test_settings_that_make_no_sense(archive, old, new, words):
    settings(archive, old, new)
    refused(archive.strongroom("serve"), 101, "strongroom.toml", *words)


def test_a_port_in_use(archive):
    with socket.socket() as occupant:
        occupant.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        occupant.bind(("127.0.0.1", archive.port))
        occupant.listen()
        done = archive.strongroom("serve")
    told = [line for line in done.stderr.splitlines() if line.startswith("strongroom: ")]
    assert done.returncode == 2 and done.stdout == "" and "Traceback" not in done.stderr
    assert len(told) == 1 and told[0].startswith("strongroom: E105 ")
    assert str(archive.port) in told[0] and "in use" in told[0] and "[listen]" in told[0]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o606])
@pytest.mark.parametrize("verb", [["serve"], ["node", "list"], ["audit", "show"], ["verify"]])
def test_a_keyring_that_others_can_read(archive, verb, mode):
    path = archive.home / "keys" / "keyring.json"
    path.chmod(mode)
    refused(archive.strongroom(*verb), 102, "chmod 600", str(path))


@pytest.mark.parametrize("name", ["server.key", "signer.key"])
def test_a_private_key_that_others_can_read(archive, name):
    (archive.home / "pki" / name).chmod(0o644)
    refused(archive.strongroom("serve"), 340, name)


def test_a_missing_keyring(archive):
    (archive.home / "keys" / "keyring.json").unlink()
    refused(archive.strongroom("serve"), 103, "keyring.json", "backup")


def test_policies_that_do_not_hold_together(archive):
    (archive.home / "policies" / "roles.cedar").write_text("permit (")
    refused(archive.strongroom("serve"), 320, "roles.cedar", "policy check")
    done = archive.strongroom("policy", "check")
    assert done.returncode == 1 and "roles.cedar" in done.stdout and done.stderr == ""


def test_a_second_server_on_one_home(archive):
    with archive.serving():
        refused(archive.strongroom("serve"), 104, f"process {archive.process.pid}")


@pytest.mark.parametrize(
    ("arguments", "number", "words"),
    [
        (["node", "add", "CT1"], 107, ["--issue", "--certificate", "--plain"]),
        (["node", "add", "CT1", "--plain", "--certificate", "x"], 107, ["--plain"]),
        (["node", "add", "CT1", "--plain", "--identity", "maybe"], 107, ["required", "optional", "none"]),
        (["node", "add", "CT1", "--plain", "--identity-types", "1;2"], 107, ["--identity-types"]),
        (["node", "add", "CT1", "--plain", "--identity-types", "9"], 350, ["1 to 5"]),
        (["node", "add", "CT1", "--plain", "--role", "surgeon"], 350, ["surgeon", "radiologist"]),
        (["node", "add", "SEVENTEEN_LETTERS", "--plain"], 350, ["16"]),
        (["node", "add", "CT1", "--plain", "--host", "h"], 350, ["port"]),
        (["node", "add", "CT1", "--certificate", "/nowhere.pem"], 340, ["/nowhere.pem"]),
        (["node", "add", "CT1", "--issue", "/proc/nowhere"], 107, ["/proc/nowhere"]),
        (["node", "remove", "CT9"], 352, ["node list"]),
        (["user", "add", "a!b"], 350, ["name"]),
        (["user", "add", "alice", "--attribute", "x"], 107, ["NAME=VALUE"]),
        (["user", "add", "alice", "--role", "surgeon"], 350, ["surgeon"]),
        (["user", "add", "alice", "--passcode-file", "/nowhere"], 100, ["/nowhere"]),
        (["user", "passcode", "alice"], 107, ["--passcode-file"]),
        (["user", "disable", "nobody"], 352, ["user list"]),
        (["study", "label", "1.2.3", "research"], 107, ["no object of that study"]),
        (["study", "label", "1.02", "research"], 201, ["UID"]),
        (["study", "delete", "1.2.3", "--reason", "spite"], 107, ["quality", "expired"]),
        (["study", "delete", "1.2.3", "--reason", "expired"], 107, ["no object of that study"]),
        (["study", "hold", "1.2.3", "--reason", " "], 107, ["--reason"]),
        (["study", "hold", "1.2.3", "--reason", "court"], 107, ["no object of that study"]),
        (["study", "restore", "1.2.3"], 107, ["nothing of that study"]),
        (["study", "erase", "1.2.3"], 107, ["nothing of that study"]),
        (["policy", "explain", "Fly", "--node", "CT1"], 107, ["Associate"]),
        (["signature", "verify", "/nowhere"], 100, ["/nowhere"]),
    ],
)
def test_a_verb_that_is_refused_alone_is_refused_alike_beside_a_server(
    archive_at_rest_and_running, arguments, number, words
):
    for archive in archive_at_rest_and_running:
        refused(archive.strongroom(*arguments), number, *words)


@pytest.fixture(scope="module")
def archive_at_rest_and_running(template, tmp_path_factory):
    at_rest, running = (RunningArchive(tmp_path_factory.mktemp(name)) for name in ("rest", "running"))
    for archive in (at_rest, running):
        shutil.copytree(template.home, archive.home)
        settings(archive, f"port = {template.port}", f"port = {archive.port}")
    with running.serving():
        yield at_rest, running


def test_an_empty_passcode_is_refused(archive):
    refused(archive.strongroom("user", "add", "alice", "--passcode-file", "-", stdin="\n"), 350, "passcode")


def test_issued_material_is_never_overwritten(archive, tmp_path):
    folder = tmp_path / "ct1"
    archive.must("node", "add", "CT1", "--issue", str(folder), "--role", "modality")
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"key.pem", "cert.pem", "ca.pem"}
    refused(archive.strongroom("node", "add", "CT2", "--issue", str(folder)), 107, "already there")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert archive.strongroom("node", "remove", "CT2").returncode == 2


def test_a_server_that_was_killed_leaves_a_home_that_serves_again(archive):
    archive.start()
    archive.kill()
    archive.must("node", "add", "CT1", "--plain")
    with archive.serving():
        assert "CT1" in archive.must("node", "list")


def test_standard_output_that_nobody_reads_is_no_error(archive):
    archive.must("user", "add", "alice")
    with subprocess.Popen(
        [sys.executable, "-m", "archive", "audit", "show", "--json", "--home", str(archive.home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(170) == 0
