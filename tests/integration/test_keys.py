"""Keys change under a running archive: what former ones signed and wrapped stays valid (strongroom keys)."""

import json
import os

import pytest

from tests.simulators.dicom_files import packaged, read
from tests.simulators.running_archive import RunningArchive
from tests.simulators.tokens_pkcs11 import SoftToken


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    made = RunningArchive(tmp_path_factory.mktemp("keys")).init()
    made.node("CT1", "modality")
    made.start()
    yield made
    made.stop()


def store(archive, name):
    file = read(next(path for path in packaged() if path.name == name))
    with archive.requestor("CT1", contexts=[(file.sop_class, [file.syntax])]) as modality:
        assert modality.store(file.sop_class, file.instance, file.data).status == 0


def keys(archive):
    return json.loads(archive.must("keys", "list", "--json"))


def test_signer_and_encryption_key_rotate_under_a_running_server_and_all_stays_valid(archive):
    store(archive, "CT_small.dcm")
    before = keys(archive)
    signer = json.loads(archive.must("keys", "rotate", "signer", "--json"))
    archive.must("keys", "rotate", "encryption")
    store(archive, "MR_small.dcm")
    after = keys(archive)
    assert [one["current"] for one in after["signers"]] == [True, False]
    assert after["signers"][0]["subject"] == signer["signer"] != before["signers"][0]["subject"]
    assert after["signers"][1] == before["signers"][0] | {"current": False, "kept_in": ""}
    assert [one["current"] for one in after["key_encryption_keys"]] == [False, True]
    archive.must("audit", "verify")
    archive.must("verify", "--full")
    assert f"signed by {signer['signer']} from now on" in archive.must("audit", "show", "--json")
    archive.stop()
    archive.start()
    archive.must("verify", "--full")
    assert keys(archive) == after


def test_a_signer_whose_certificate_was_taken_away_vouches_for_nothing(archive):
    store(archive, "CT_small.dcm")
    (former,) = (archive.home / "pki" / "former-signers").glob("*.pem")
    hidden = former.rename(former.with_suffix(".hidden"))
    refused = archive.strongroom("verify", "--full")
    assert refused.returncode == 1
    assert "signer that is not the archive's" in refused.stdout
    hidden.rename(former)
    archive.must("verify", "--full")


def test_the_signer_moves_into_a_token_and_its_file_is_gone(tmp_path, monkeypatch):
    token = SoftToken(tmp_path / "token")
    for name, value in token.environment.items():
        monkeypatch.setenv(name, value)
    archive = RunningArchive(tmp_path).init()
    archive.node("CT1", "modality")
    settings = archive.home / "strongroom.toml"
    settings.write_text(settings.read_text().replace('\nsigner = ""\n', f'\nsigner = "{token.uri}"\n'))
    archive.start()
    try:
        store(archive, "CT_small.dcm")
        made = json.loads(archive.must("keys", "rotate", "signer", "--json"))
        assert made["kept_in"] == "token"
        assert not (archive.home / "pki" / "signer.key").exists()
        store(archive, "MR_small.dcm")
        archive.must("verify", "--full")
        archive.stop()
        archive.start()
        store(archive, "JPEG2000.dcm")
        archive.must("verify", "--full")
        archive.must("doctor")
    finally:
        archive.stop()
    os.unlink(token.pin)
    refused = archive.strongroom("keys", "list")
    assert refused.returncode == 2
    assert "E241" in refused.stderr
