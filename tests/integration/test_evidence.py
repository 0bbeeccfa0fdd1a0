"""Evidence of a study, checked by a script that knows nothing of the archive, and ways to falsify it (RFC 6962)."""

import ast
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from archive.audit.statement import StatementVerifier
from archive.bootstrap import open_archive
from archive.errors import EvidenceMismatch
from archive.evidence import check
from archive.evidence.making import LedgerReading
from archive.home import Home
from archive.keys import load_keyring
from archive.settings import load_settings
from archive.signing_keys import own_signers
from storage.transfer_syntax import transfer_syntax
from tests.simulators.dicom_files import packaged, read
from tests.simulators.encoding import part10
from tests.simulators.running_archive import RunningArchive
from tests.simulators.timestamp_authority import Authority, AuthorityServer, replying

NAMES = ("CT_small.dcm", "MR_small.dcm", "test-SR.dcm")
STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


def store(archive, name):
    file = read(next(path for path in packaged() if path.name == name))
    with archive.requestor("CT1", contexts=[(file.sop_class, [file.syntax])]) as modality:
        assert modality.store(file.sop_class, file.instance, file.data).status == 0
    return file


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence")
    archive = RunningArchive(folder).init()
    archive.node("CT1", "modality")
    with archive.serving():
        ct = store(archive, NAMES[0])
        archive.must("evidence", STUDY, "--out", str(folder / "first"))
        for name in NAMES[1:]:
            store(archive, name)
        archive.must("keys", "rotate", "signer")
        archive.must("study", "label", STUDY, "research")
        authority = Authority.made(folder / "tsa")
        with AuthorityServer(replying(authority.answer)) as server:
            settings = archive.home / "strongroom.toml"
            text = settings.read_text().replace('timestamp_url = ""', f'timestamp_url = "{server.url}"')
            settings.write_text(text.replace('\ntimestamp_ca = ""\n# For', f'\ntimestamp_ca = "{authority.ca}"\n# For'))
            first = folder / "first" / "checkpoint"
            archive.must("evidence", STUDY, "--out", str(folder / "second"), "--earlier", str(first))
    archive.ct, archive.tsa = ct, authority.ca
    return archive


def judged(scene, evidence=None, *more, ca=None):
    """Exit code and words of the script, as somebody would run it."""
    second = scene.folder / "second"
    path = second / "evidence.json"
    if evidence is not None:
        path = scene.folder / "changed.json"
        path.write_text(json.dumps(evidence))
    script = [sys.executable, "-I", str(second / "check.py"), str(path), "--ca", str(ca or second / "ca.pem")]
    done = subprocess.run([*script, *map(str, more)], capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return done.returncode, done.stdout


def loaded(scene):
    return json.loads((scene.folder / "second" / "evidence.json").read_text())


def kept(scene, folder, change=lambda data: data):
    """The CT as it leaves the archive, as a file."""
    folder.mkdir()
    one = loaded(scene)["objects"][0]
    opened = open_archive(Home.at(scene.home))
    try:
        kept = opened.repository.reader.lookup([one["sop_instance_uid"]])[one["sop_instance_uid"]]
        with opened.repository.open(kept.stored) as leaving:
            data = b"".join(leaving.chunks())
    finally:
        opened.close()
    syntax = transfer_syntax(one["transfer_syntax"])
    path = folder / "ct.dcm"
    path.write_bytes(part10(syntax, change(data), one["sop_class_uid"], one["sop_instance_uid"]))
    return folder


def test_the_script_needs_python_and_openssl_alone():
    tree = ast.parse(Path(check.__file__).read_text())
    imports = {alias.name.split(".")[0] for one in ast.walk(tree) if isinstance(one, ast.Import) for alias in one.names}
    imports |= {one.module.split(".")[0] for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)}
    assert imports <= sys.stdlib_module_names


def test_the_evidence_holds_with_stamp_earlier_checkpoint_and_files(scene, tmp_path):
    first = scene.folder / "first" / "checkpoint"
    files = kept(scene, tmp_path / "files")
    code, words = judged(scene, None, "--timestamp-ca", scene.tsa, "--earlier", first, "--objects", files)
    assert code == 0, words
    assert "its timestamp holds" in words
    assert "records is its beginning" in words
    assert "1 objects are in the ledger" in words
    assert "1 files are what left the archive, 1 of them checked element by element" in words
    evidence = loaded(scene)
    (one,) = evidence["objects"]
    assert one["signatures"][0]["verdict"] == "valid"
    assert [event["event"] for event in evidence["events"]] == ["labelled"]
    assert len(evidence["signers"]) == 2


def test_what_is_not_checked_is_said(scene):
    code, words = judged(scene)
    assert code == 0
    assert "timestamp was NOT checked" in words
    assert "files were NOT checked" in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda it: it["objects"][0].update(canonical_digest="00" * 32), "committed to another content"),
        (lambda it: it["objects"][0].update(salt="00" * 32), "committed to another content"),
        (lambda it: it["objects"][0].update(received_digest="00" * 32), "another address"),
        (lambda it: it["objects"][0].update(sop_instance_uid="1.2.3"), "another sop_instance_uid"),
        (lambda it: it["objects"][0].update(index=1), "not among those"),
        (lambda it: it["objects"][0]["proof"].pop(), "too short"),
        (lambda it: it["objects"][0]["proof"].append("00" * 32), "too long"),
        (lambda it: it["objects"][0].update(record=it["objects"][0]["record"].replace("size", "sise")), "not among"),
        (lambda it: it["objects"][0].update(record=it["events"][0]["record"]), "not among"),
        (lambda it: it.update(checkpoint=it["checkpoint"].replace('"size":', '"size":1')), "not what was signed"),
        (lambda it: it.update(signers=[]), "signer is not in the evidence"),
        (lambda it: it.update(format="x"), "no evidence that this script reads"),
        (lambda it: it.update(consistency={}), "cannot be read"),
        (lambda it: it["consistency"]["proof"].pop(), "not the beginning"),
        (lambda it: it["consistency"].update(proof=["00" * 32] * len(it["consistency"]["proof"])), "not the beginning"),
        (lambda it: it.update(timestamp="AAAA"), "timestamp does not hold"),
    ],
)
def test_whatever_is_changed_is_found(scene, change, words):
    evidence = loaded(scene)
    change(evidence)
    first = scene.folder / "first" / "checkpoint"
    code, said = judged(scene, evidence, "--earlier", first, "--timestamp-ca", scene.tsa)
    assert code == 1, said
    assert said.startswith("WRONG: ")
    assert words in said


def test_another_archives_authority_is_not_believed(scene, tmp_path_factory):
    other = RunningArchive(tmp_path_factory.mktemp("other")).init()
    code, said = judged(scene, None, ca=other.home / "pki" / "ca.pem")
    assert code == 1
    assert "does not lead to the authority" in said


def test_a_changed_file_is_found_and_a_strange_one_too(scene, tmp_path):
    changed = kept(
        scene, tmp_path / "changed", lambda data: data.replace(b"CompressedSamples^CT1", b"CompressedSamples^CT2")
    )
    code, said = judged(scene, None, "--objects", changed)
    assert (code, "not what left the archive" in said) == (1, True)
    evidence = loaded(scene)
    data = check.data_set_of((changed / "ct.dcm").read_bytes())
    evidence["objects"][0]["sha256"] = hashlib.sha256(data).hexdigest()
    code, said = judged(scene, evidence, "--objects", changed)
    assert (code, "not those that the ledger is committed to" in said) == (1, True)
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "x.dcm").write_bytes(b"x" * 200)
    code, said = judged(scene, None, "--objects", strange)
    assert (code, "says nothing of it" in said) == (1, True)


def test_a_ledger_that_lost_its_end_does_not_go_on_from_its_checkpoint(scene, tmp_path):
    segment = scene.home / "ledger" / f"{1:016d}.jsonl"
    whole = segment.read_bytes()
    later = tmp_path / "later"
    later.write_text((scene.folder / "second" / "checkpoint").read_text())
    home = Home.at(scene.home)
    settings = load_settings(home.settings)
    verifier = StatementVerifier(own_signers(home, settings))
    key = load_keyring(home, settings).ledger_key
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / segment.name).write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    with pytest.raises(EvidenceMismatch):
        LedgerReading(tmp_path / "ledger", key).follows(later.read_text().strip(), verifier)
    assert LedgerReading(home.ledger, key).follows(later.read_text().strip(), verifier)["checkpoint"]
