"""The main job over the wire: people send, find and fetch; policy decides; everything is recorded."""

import shutil
import subprocess

import pytest

from tests.simulators.dicom_files import packaged, read, valid
from tests.simulators.scu import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    STUDY_GET,
    VERIFICATION,
    Refused,
    User,
    identifier,
)

STUDY_UID, PATIENT_NAME, PATIENT_ID = 0x0020000D, 0x00100010, 0x00100020
DCMTK = {name: shutil.which(name, path="/usr/bin:/usr/local/bin") for name in ("storescu", "echoscu", "findscu")}


def the_ct():
    (path,) = [path for path in packaged() if path.name == "CT_small.dcm"]
    file = valid(read(path))
    assert file is not None
    return path, file


def dcmtk(archive, tool, title, *arguments):
    if DCMTK[tool] is None:
        pytest.skip("needs DCMTK as second opinion: Debian package dcmtk, which scripts/test installs")
    node = archive.folder / "nodes" / title
    tls = ["+tls", str(node / "key.pem"), str(node / "cert.pem"), "+cf", str(node / "ca.pem")]
    command = [DCMTK[tool], "-v", *tls, "-aet", title, "-aec", "STRONGROOM", "127.0.0.1", str(archive.port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def store_ct(archive):
    _, file = the_ct()
    with archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
        assert modality.store(CT, file.instance, file.data).status == 0
    return file


def test_storescu_with_a_username_and_passcode_stores_over_mutual_tls(archive):
    archive.node("CT1", "modality", identity="required")
    user = archive.person("technologist", "modality")
    path, _ = the_ct()
    done = dcmtk(archive, "storescu", "CT1", "-usr", "technologist", "-pwd", user.passcode.decode(), "-rsp", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    stored = [record for record in archive.trail() if record["kind"] == "instance-stored"]
    assert [record["facts"]["actor"]["person"] for record in stored] == ["technologist"]


def test_echoscu_verifies_over_mutual_tls_from_an_identity_optional_node(archive):
    archive.node("CT1", "modality")
    done = dcmtk(archive, "echoscu", "CT1")
    assert done.returncode == 0, done.stdout + done.stderr


def test_findscu_carries_no_person_and_so_finds_nothing(archive):
    archive.node("CT1", "modality")
    archive.node("WS1", "radiologist", identity="optional")
    file = store_ct(archive)
    done = dcmtk(archive, "findscu", "WS1", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
    said = done.stdout + done.stderr
    # Nobody may query without a person, so no presentation context is accepted for it.
    assert "No Acceptable Presentation Contexts" in said
    assert file.instance not in said and "(0020,000d) UI [1" not in said


def test_a_radiologist_finds_and_fetches_what_a_modality_stored(archive):
    archive.node("CT1", "modality")
    archive.node("WS1", "radiologist")
    alice = archive.person("alice", "radiologist")
    file = store_ct(archive)
    with archive.requestor("WS1", user=alice, contexts=[(STUDY_FIND, [IMPLICIT])]) as workstation:
        assert workstation.identity_response == b""
        found, final = workstation.find(STUDY_FIND, identifier("STUDY", {STUDY_UID: "", PATIENT_NAME: "*"}))
    assert final.status == 0 and len(found) == 1 and b"CompressedSamples^CT1" in found[0]
    contexts = [(STUDY_GET, [IMPLICIT]), (CT, [EXPLICIT])]
    with archive.requestor("WS1", user=alice, contexts=contexts, scp_roles=(CT,)) as workstation:
        study = found[0][found[0].index(b"\x20\0\x0d\0") + 8 :].split(b"\0")[0].decode()
        objects, responses = workstation.get(STUDY_GET, identifier("STUDY", {STUDY_UID: study}))
    assert len(objects) == 1
    final = responses[-1]
    assert (final.status, final.number(0x1021), final.number(0x1022), final.number(0x1023)) == (0, 1, 0, 0)
    assert final.number(0x1020) is None
    fetched = archive.folder / "fetched.dcm"
    fetched.write_bytes(objects[0].data)
    assert objects[0].data.startswith(file.data[:1000])
    archive.must("signature", "verify", str(fetched), "--trust", str(archive.folder / "nodes" / "WS1" / "ca.pem"))


def test_a_researcher_sees_released_studies_without_names_and_cannot_ask_for_them(archive):
    archive.node("CT1", "modality")
    archive.node("WS1", "radiologist")
    bob = archive.person("bob", "researcher")
    store_ct(archive)
    keys = identifier("STUDY", {STUDY_UID: "", PATIENT_NAME: "", PATIENT_ID: ""})
    with archive.requestor("WS1", user=bob, contexts=[(STUDY_FIND, [IMPLICIT])]) as workstation:
        found, final = workstation.find(STUDY_FIND, keys)
        assert (found, final.status) == ([], 0)
        _, file = the_ct()
        study = file.data[file.data.index(b"\x20\0\x0d\0UI") + 8 :].split(b"\x20\0\x0e\0")[0].rstrip(b"\0").decode()
        archive.must("study", "label", study, "research")
        found, final = workstation.find(STUDY_FIND, keys)
        assert len(found) == 1 and b"CompressedSamples" not in found[0] and final.status == 0
        named, final = workstation.find(STUDY_FIND, identifier("STUDY", {STUDY_UID: "", PATIENT_NAME: "Comp*"}))
        absent, other = workstation.find(STUDY_FIND, identifier("STUDY", {STUDY_UID: "", PATIENT_NAME: "Zzz*"}))
        assert named == absent == [] and final.status == other.status != 0
        assert final.fields.get(0x902) == other.fields.get(0x902)


REFUSALS = {
    "a wrong passcode": ("WS1", User(b"alice", b"wrong"), {}, (1, 2, 1)),
    "an unknown user": ("WS1", User(b"mallory", b"wrong"), {}, (1, 2, 1)),
    "an empty passcode": ("WS1", User(b"alice", b""), {}, (1, 2, 1)),
    "a missing identity": ("WS1", None, {}, (1, 2, 1)),
    "an identity type nobody verifies": ("WS1", User(b"ticket", identity_type=3), {}, (1, 2, 1)),
    "a bare username": ("WS1", User(b"alice", identity_type=1), {}, (1, 2, 1)),
    "another node's AE title": ("WS1", None, {"calling": "CT1"}, (1, 1, 3)),
    "an unknown calling AE title": ("WS1", None, {"calling": "NOBODY"}, (1, 1, 3)),
    "an unknown called AE title": ("WS1", None, {"called": "ELSEWHERE"}, (1, 1, 7)),
}


def test_each_refusal_has_the_bytes_the_standard_asks_for_and_one_audit_event(archive):
    archive.node("CT1", "modality")
    archive.node("WS1", "radiologist")
    archive.person("alice", "radiologist")
    before = len(archive.trail())
    for name, (title, user, changes, expected) in REFUSALS.items():
        requestor = archive.requestor(title, user=user)
        for attribute, value in changes.items():
            setattr(requestor, attribute, value)
        with pytest.raises(Refused) as refused, requestor:
            pass
        assert refused.value.numbers == expected, name
        trail = archive.trail()
        assert len(trail) == before + 1, f"{name}: {trail[before:]}"
        assert trail[-1]["facts"]["outcome"] != 0
        before = len(trail)
    with archive.requestor("CT1", contexts=[(VERIFICATION, [IMPLICIT])]) as modality:
        assert modality.echo() == 0
