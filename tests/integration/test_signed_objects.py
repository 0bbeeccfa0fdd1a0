"""Objects that come signed: checked on receipt, kept and sent as they came, and explained (PS3.15 A.2, A.3)."""

import json

import pytest
from cryptography.hazmat.primitives import serialization

from storage.integrity.signing import SignatureOrder
from storage.transfer_syntax import transfer_syntax
from tests.simulators.dicom_files import packaged, read
from tests.simulators.encoding import part10, signing_key
from tests.simulators.running_archive import RunningArchive
from tests.simulators.signed_objects import signed_by
from tests.simulators.timestamp_authority import Authority, AuthorityServer, replying

CT = read(next(path for path in packaged() if path.name == "CT_small.dcm"))
SYNTAX = transfer_syntax(CT.syntax)
NAME = b"CompressedSamples^CT1"


def pem(folder, name="signer"):
    made = signing_key(name)
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    key.touch(0o600)
    key.write_bytes(
        made.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    certificate.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
    return key, certificate


def instance(number, *, name="signer", broken=False):
    """The CT under another UID, signed by somebody; broken: changed afterwards."""
    uid = f"{CT.instance[:-2]}.{number}".encode()[-64:].lstrip(b".0")
    plain = CT.data.replace(_element(CT.instance), _element(uid.decode()))
    assert plain != CT.data
    data, _ = signed_by(plain, name, SignatureOrder(purpose="1"), syntax=SYNTAX)
    return uid.decode(), data.replace(NAME, b"CompressedSamples^CT2") if broken else data


def _element(uid):
    value = uid.encode() + b"\0" * (len(uid) & 1)
    return b"\x08\0\x18\0UI" + len(value).to_bytes(2, "little") + value


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signed")
    made = RunningArchive(folder).init()
    _, certificate = pem(folder)
    settings = made.home / "strongroom.toml"
    text = settings.read_text()
    for old, new in (
        ('trust = ""', f'trust = "{certificate}"'),
        ('invalid = "flag"', 'invalid = "refuse"'),
        ('unknown = "accept"', 'unknown = "quarantine"'),
    ):
        assert text.count(f"\n{old}\n") == 1
        text = text.replace(f"\n{old}\n", f"\n{new}\n")
    settings.write_text(text)
    made.node("CT1", "modality")
    made.start()
    yield made
    made.stop()


def store(archive, uid, data):
    with archive.requestor("CT1", contexts=[(CT.sop_class, [CT.syntax])]) as modality:
        return modality.store(CT.sop_class, uid, data).status


def test_a_signed_object_is_kept_with_its_signature_and_ours_and_both_are_explained(archive):
    uid, data = instance(1)
    assert store(archive, uid, data) == 0
    found = json.loads(archive.must("signature", "verify", uid, "--json"))
    assert [one["verdict"] for one in found["signatures"]] == ["valid", "valid"]
    theirs, ours = found["signatures"]
    assert (theirs["trust"], theirs["purpose"], theirs["signer"]) == ("trusted", "1", "CN=signer")
    assert (ours["trust"], ours["profiles"]) == ("archive", ["base", "creator", "authorization"])
    words = archive.must("signature", "verify", uid)
    assert "valid: the whole object, signed by CN=signer" in words
    assert "does NOT cover" in words
    assert "Author's Signature" in words
    assert words.endswith("what is covered is unaltered since\n")


def test_a_broken_signature_is_refused_and_nothing_is_left(archive):
    uid, data = instance(2, broken=True)
    assert store(archive, uid, data) == 0xA900
    assert archive.strongroom("signature", "verify", uid).returncode == 2
    told = archive.must("audit", "show", "--json")
    assert "the signature of the whole object is invalid" in told
    archive.must("verify", "--full")


def test_an_unknown_signers_object_is_quarantined(archive):
    uid, data = instance(3, name="other")
    assert store(archive, uid, data) == 0
    studies = json.loads(archive.must("study", "list", "--json"))
    assert [study["labels"] for study in studies] == [["quarantine"]]
    assert "the signature of the whole object is unknown signer" in archive.must("audit", "show", "--json")


def test_a_file_is_signed_stamped_and_verified_by_command_line(archive, tmp_path):
    key, certificate = pem(tmp_path)
    plain, signed = tmp_path / "plain.dcm", tmp_path / "signed.dcm"
    plain.write_bytes(part10(SYNTAX, CT.data, CT.sop_class, CT.instance))
    pair = ("--key", str(key), "--certificate", str(certificate))
    authority = Authority.made(tmp_path / "tsa")
    with AuthorityServer(replying(authority.answer)) as server:
        settings = archive.home / "strongroom.toml"
        before = settings.read_text()
        text = before.replace('timestamp_url = ""', f'timestamp_url = "{server.url}"')
        settings.write_text(text.replace('\ntimestamp_ca = ""\n', f'\ntimestamp_ca = "{authority.ca}"\n'))
        made = archive.strongroom(
            "signature",
            "create",
            str(plain),
            str(signed),
            *pair,
            "--profile",
            "creator",
            "--purpose",
            "14",
            "--timestamp",
        )
        assert made.returncode == 0, made.stderr
        found = json.loads(archive.must("signature", "verify", str(signed), "--trust", str(certificate), "--json"))
        settings.write_text(before)
    (one,) = found["signatures"]
    assert (one["verdict"], one["timestamp_by"]) == ("valid", "CN=tsa,O=Clock")
    assert "creator" in one["profiles"]
    again = archive.strongroom("signature", "create", str(plain), str(signed), *pair)
    assert (again.returncode, "signed.dcm" in again.stderr) == (2, True), "nothing is overwritten"
    for wrong, words in (
        (("--profile", "best"), "profile 'best'"),
        (("--element", "PatientNam"), "is no element"),
        (("--item", "ContentSequence"), "is no item"),
        (("--profile", "sr"), "states no purpose"),
        (("--as", "nobody"), "no [[signature]] called"),
    ):
        refused = archive.strongroom("signature", "create", str(plain), str(tmp_path / "x.dcm"), *pair, *wrong)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert not (tmp_path / "x.dcm").exists()
