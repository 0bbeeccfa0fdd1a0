"""The facility's authorities and revocation lists: read whole or not at all, believed where signed."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from auth.errors import AuthorityError
from auth.node.trust import Trust, load_trust
from tests.simulators.certificates import make, revoking

NOW = datetime.now(UTC)


@pytest.fixture
def issuer():
    return make("facility CA", ca=True, usages=[])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "revoked").mkdir()
    return tmp_path / "revoked"


def pem(*made):
    return b"".join(each.certificate.public_bytes(serialization.Encoding.PEM) for each in made)


def said_of(trust, made, now=NOW):
    return trust.revocation(made.certificate.issuer.public_bytes(), made.certificate.serial_number, now)


def test_without_files_nobody_is_trusted_and_nobody_revoked(tmp_path):
    assert load_trust(None, tmp_path / "none", ()) == Trust()


def test_a_list_in_der_and_one_in_pem_revoke_what_is_on_them(issuer, folder):
    gone, there = make("GONE", issuer=issuer), make("THERE", issuer=issuer)
    other = make("other CA", ca=True, usages=[])
    also = make("ALSO", issuer=other)
    (folder / "a.crl").write_bytes(revoking(issuer, gone))
    crl = x509.load_der_x509_crl(revoking(other, also))
    (folder / "b.pem").write_bytes(crl.public_bytes(serialization.Encoding.PEM))
    (folder / "issuers.pem").write_bytes(pem(issuer, other))
    trust = load_trust(None, folder, ())
    assert "revoked" in said_of(trust, gone)
    assert "revoked" in said_of(trust, also)
    assert said_of(trust, there) is None
    assert said_of(trust, make("self-signed")) is None


def test_a_list_past_its_time_refuses_everybody_of_its_issuer(issuer, folder):
    (folder / "a.crl").write_bytes(revoking(issuer, until=timedelta(days=1)))
    trust = load_trust(None, folder, (issuer.certificate,))
    there = make("THERE", issuer=issuer)
    assert said_of(trust, there) is None
    assert "past its time" in said_of(trust, there, NOW + timedelta(days=2))


def test_a_facility_is_known_by_name_and_signature(issuer, tmp_path):
    (tmp_path / "facility.pem").write_bytes(pem(issuer))
    trust = load_trust(tmp_path / "facility.pem", None, ())
    assert trust.facility_issuer(make("CT1", issuer=issuer).certificate) == issuer.certificate
    twin = make("facility CA", ca=True, usages=[])
    assert trust.facility_issuer(make("CT1", issuer=twin).certificate) is None


def delta(issuer):
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject)
    builder = builder.last_update(NOW).next_update(NOW + timedelta(days=1))
    builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=True)
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


UNUSABLE = {
    "signed-by-a-twin": lambda issuer: revoking(make("facility CA", ca=True, usages=[])),
    "of-a-stranger": lambda issuer: revoking(make("stranger", ca=True, usages=[])),
    "flipped": lambda issuer: (data := revoking(issuer))[:-1] + bytes((data[-1] ^ 1,)),
    "no-list": lambda issuer: b"hello",
    "empty": lambda issuer: b"",
    "a-delta": delta,
}


@pytest.mark.parametrize("data", UNUSABLE.values(), ids=UNUSABLE)
def test_a_list_that_is_not_good_is_an_error(issuer, folder, data):
    (folder / "a.crl").write_bytes(data(issuer))
    with pytest.raises(AuthorityError, match=r"a\.crl"):
        load_trust(None, folder, (issuer.certificate,))


def test_a_leaf_is_no_authority_of_a_facility(tmp_path):
    (tmp_path / "facility.pem").write_bytes(pem(make("CT1")))
    with pytest.raises(AuthorityError, match="no certificate authority"):
        load_trust(tmp_path / "facility.pem", None, ())


def test_a_leaf_signs_no_list(issuer, folder):
    leaf = make("leaf", issuer=issuer)
    (folder / "a.crl").write_bytes(revoking(leaf))
    with pytest.raises(AuthorityError, match="not signed"):
        load_trust(None, folder, (issuer.certificate, leaf.certificate))
