"""The authority issues what strict verifiers take, and keeps its two sides apart."""

import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import which

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from auth.errors import AuthorityError, RecordInvalid
from auth.node import authority as module
from auth.node.authority import create, load
from auth.node.certificates import DOCUMENT_SIGNING, key_pem
from auth.node.pem import read_certificate, read_certificates, read_private_key
from tests.simulators.certificates import authority_in

needs_openssl = pytest.mark.skipif(which("openssl") is None, reason="openssl is not installed")


@pytest.fixture
def authority(tmp_path):
    return authority_in(tmp_path / "pki")


def usages_of(certificate):
    return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def every_certificate(authority, tmp_path):
    issued = authority.issue_node("CT1")
    issued.write(tmp_path / "issued")
    names = ("root", "node-ca", "signing-ca", "server", "server-rsa", "signer")
    found = [read_certificates(authority.files.certificate(name))[0] for name in names]
    return [*found, *read_certificates(tmp_path / "issued" / "cert.pem")]


def openssl_verify(*arguments):
    command = ["openssl", "verify", "-x509_strict", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_certificate_carries_what_rfc_5280_and_python_3_13_demand(authority, tmp_path):
    for certificate in every_certificate(authority, tmp_path):
        extensions = certificate.extensions
        assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        constraints = extensions.get_extension_for_class(x509.BasicConstraints)
        usage = extensions.get_extension_for_class(x509.KeyUsage)
        assert constraints.critical
        assert usage.critical
        assert usage.value.key_cert_sign is constraints.value.ca
        assert usage.value.digital_signature is not constraints.value.ca
        assert certificate.version is x509.Version.v3
        assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)


def test_certificates_are_valid_from_a_day_ago_for_verifiers_that_compare_local_time(authority, tmp_path):
    yesterday = datetime.now(UTC) - timedelta(hours=23)
    for certificate in every_certificate(authority, tmp_path):
        assert certificate.not_valid_before_utc < yesterday


def test_no_certificate_outlives_its_issuer(authority, tmp_path):
    by_name = {c.subject: c for c in every_certificate(authority, tmp_path)}
    for certificate in by_name.values():
        assert certificate.not_valid_after_utc <= by_name[certificate.issuer].not_valid_after_utc


def test_intermediates_issue_leaves_only_and_only_of_their_own_kind(authority):
    for ca, expected in (
        (authority.node_ca, {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}),
        (authority.signing_ca, {DOCUMENT_SIGNING}),
    ):
        assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
        assert usages_of(ca) == expected


def test_signer_and_signing_ca_are_rsa_3072_with_document_signing(authority):
    for certificate in (authority.signer, authority.signing_ca):
        key = certificate.public_key()
        assert isinstance(key, rsa.RSAPublicKey)
        assert key.key_size == 3072
        assert usages_of(certificate) == {DOCUMENT_SIGNING}
    usage = authority.signer.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.content_commitment
    assert authority.signer_key().public_key() == authority.signer.public_key()
    assert x509.load_der_x509_certificate(authority.signer_certificate) == authority.signer


def test_server_names_are_in_the_subject_alternative_name_and_unspecified_addresses_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RSA_BITS", 2048)
    # Names for a certificate; nothing listens here.
    create(tmp_path, ae_title="STRONGROOM", names=["pacs.example.org", "0.0.0.0", "192.0.2.7", "::1", "192.0.2.7"])
    leaf = read_certificates(tmp_path / "server.pem")[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pacs.example.org"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.7", "::1"]


@pytest.mark.parametrize("name", ["", "a..b", "-a", "a-", "bad_name", "a b", "ä.example", "a" * 64, "*.example", "a\n"])
def test_what_is_no_host_name_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(AuthorityError):
        create(tmp_path / "pki", ae_title="STRONGROOM", names=[name])
    assert not (tmp_path / "pki").exists()


def test_a_server_has_a_curve_key_and_an_rsa_key_for_peers_that_offer_rsa_suites_only(authority):
    kinds = [type(read_private_key(key)) for _, key in authority.files.server_identities]
    assert issubclass(kinds[0], ec.EllipticCurvePrivateKey)
    assert issubclass(kinds[1], rsa.RSAPrivateKey)


def test_server_sends_leaf_and_node_ca(authority):
    for certificate, _ in authority.files.server_identities:
        chain = read_certificates(certificate)
        assert chain[1:] == [authority.node_ca]


def test_issued_folder_holds_chain_key_and_an_anchor_file_without_the_node_ca(authority, tmp_path):
    issued = authority.issue_node("CT1")
    issued.write(tmp_path / "new" / "ct1")
    folder = tmp_path / "new" / "ct1"
    assert {p.name for p in folder.iterdir()} == {"cert.pem", "key.pem", "ca.pem"}
    assert read_certificates(folder / "ca.pem") == [authority.root, authority.signing_ca]
    leaf, *chain = read_certificates(folder / "cert.pem")
    assert chain == [authority.node_ca]
    assert usages_of(leaf) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert read_private_key(folder / "key.pem").public_key() == leaf.public_key()
    assert read_certificate(folder / "cert.pem") == issued.certificate
    assert leaf.fingerprint(hashes.SHA256()).hex() == issued.fingerprint
    assert leaf.not_valid_after_utc == issued.not_after


def test_private_keys_are_for_their_owner_only(authority, tmp_path):
    authority.issue_node("CT1").write(tmp_path / "ct1")
    keys = [*(authority.files.directory.glob("*.key")), tmp_path / "ct1" / "key.pem"]
    assert len(keys) == 7
    for key in keys:
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ct1").stat().st_mode) == 0o700


def test_private_keys_never_show_in_a_representation(authority):
    assert "PRIVATE" not in repr(authority.issue_node("CT1"))


def test_nothing_is_overwritten_and_nothing_half_written(authority, tmp_path):
    folder = tmp_path / "ct1"
    folder.mkdir()
    (folder / "cert.pem").write_text("mine")
    with pytest.raises(AuthorityError, match="already there"):
        authority.issue_node("CT1").write(folder)
    assert [p.name for p in folder.iterdir()] == ["cert.pem"]
    assert (folder / "cert.pem").read_text() == "mine"


def test_a_second_authority_is_not_made_over_the_first(authority):
    with pytest.raises(AuthorityError, match="already there"):
        create(authority.files.directory, ae_title="STRONGROOM", names=[])
    assert load(authority.files.directory) is not None


def test_dangling_link_in_the_way_is_not_followed(authority, tmp_path):
    folder = tmp_path / "ct1"
    folder.mkdir()
    (folder / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuthorityError):
        authority.issue_node("CT1").write(folder)
    assert not (tmp_path / "elsewhere").exists()


def test_key_that_others_can_read_is_refused(authority):
    authority.files.key("node-ca").chmod(0o640)
    with pytest.raises(AuthorityError, match="chmod 600"):
        authority.issue_node("CT1")


def test_key_of_another_certificate_is_refused(authority):
    authority.files.key("signer").write_bytes(authority.files.key("node-ca").read_bytes())
    with pytest.raises(AuthorityError, match="is not the key of"):
        authority.signer_key()


def test_a_damaged_key_that_makes_no_good_signature_is_refused(authority):
    path = authority.files.key("signer")
    whole = read_private_key(path).private_numbers()
    parts = {name: getattr(whole, name) for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp")}
    # Either alone is made up for by the other.
    parts["d"] += 2
    parts["dmp1"] += 2
    damaged = rsa.RSAPrivateNumbers(**parts, public_numbers=whole.public_numbers)
    path.write_bytes(key_pem(damaged.private_key(unsafe_skip_rsa_key_validation=True)))
    with pytest.raises(AuthorityError, match="is not the key of"):
        authority.signer_key()


def test_authority_whose_parts_do_not_belong_together_is_not_loaded(authority):
    authority.files.certificate("root").write_bytes(authority.files.certificate("signing-ca").read_bytes())
    with pytest.raises(AuthorityError, match="not issued by"):
        load(authority.files.directory)


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"x" * 300_000]
)
def test_damaged_certificate_file_is_named(authority, content):
    authority.files.certificate("signer").write_bytes(content)
    with pytest.raises(AuthorityError, match=r"signer\.pem"):
        load(authority.files.directory)


def test_missing_file_is_named(authority):
    authority.files.certificate("node-ca").unlink()
    with pytest.raises(AuthorityError, match=r"node-ca\.pem"):
        load(authority.files.directory)


@pytest.mark.parametrize("title", ["", "A" * 17, "A\\B", " A", "A ", "ÄRZTE", "A\n", "A\0"])
def test_certificate_is_issued_for_an_ae_title_only(authority, title):
    with pytest.raises(RecordInvalid):
        authority.issue_node(title)


def test_expired_node_ca_issues_nothing(tmp_path):
    authority = authority_in(tmp_path / "pki", clock=lambda: datetime.now(UTC) + timedelta(days=4000))
    with pytest.raises(AuthorityError, match="expired"):
        authority.issue_node("CT1")


@needs_openssl
def test_openssl_strict_takes_server_and_signer_under_what_clients_are_given(authority):
    files = authority.files
    for name in ("server", "server-rsa"):
        chain = files.certificate(name)
        done = openssl_verify("-purpose", "sslserver", "-CAfile", files.trust, "-untrusted", chain, chain)
        assert done.returncode == 0, done.stderr
    done = openssl_verify("-CAfile", files.trust, files.certificate("signer"))
    assert done.returncode == 0, done.stderr


@needs_openssl
def test_openssl_takes_a_node_under_the_node_ca_alone_as_a_client_and_not_as_a_server(authority, tmp_path):
    authority.issue_node("CT1").write(tmp_path / "ct1")
    arguments = ("-partial_chain", "-CAfile", authority.files.certificate("node-ca"), tmp_path / "ct1" / "cert.pem")
    assert openssl_verify("-purpose", "sslclient", *arguments).returncode == 0
    assert openssl_verify("-purpose", "sslserver", *arguments).returncode != 0


@needs_openssl
def test_node_key_that_signs_is_an_unknown_signer_under_the_file_that_clients_are_given(authority, tmp_path):
    authority.issue_node("CT1").write(tmp_path / "ct1")
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(
        (tmp_path / "ct1" / "cert.pem").read_bytes().split(b"-----END CERTIFICATE-----\n")[0]
        + b"-----END CERTIFICATE-----\n"
    )
    assert openssl_verify("-CAfile", authority.files.trust, leaf).returncode != 0


@needs_openssl
def test_openssl_reads_every_file(authority):
    for path in sorted(Path(authority.files.directory).glob("*.key")):
        done = subprocess.run(["openssl", "pkey", "-in", path, "-noout", "-check"], capture_output=True, check=False)
        assert done.returncode == 0, path
