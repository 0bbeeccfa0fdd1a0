"""From certificate to node: every numbered step of `auth.node.peer` refuses what it is there for."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from auth.errors import CertificateRefused, UnknownNode
from auth.node import peer
from auth.node.peer import NodeVerifier, checked_registration, describe, fingerprint_of
from auth.ports import NodeRecord
from auth.principal import NodeTrust
from tests.simulators.certificates import authority_in, make, node_ca_of
from tests.simulators.records import MemoryNodes, node_identity


@pytest.fixture
def authority(tmp_path):
    return authority_in(tmp_path / "pki")


def registered(der, trust=NodeTrust.ISSUED, name="CT1"):
    return NodeRecord(node_identity(name, trust=trust, fingerprint=fingerprint_of(der)), certificate=der)


def verifier(authority, *records, clock=lambda: datetime.now(UTC)):
    return NodeVerifier(MemoryNodes(*records), authority.node_ca, clock)


def test_issued_certificate_is_its_node(authority):
    der = authority.issue_node("CT1").certificate
    record = registered(der)
    assert verifier(authority, record).identify(der) == record.identity


def test_no_certificate_is_no_node(authority):
    with pytest.raises(UnknownNode):
        verifier(authority).identify(None)


def test_issued_certificate_that_is_not_registered_is_refused(authority):
    with pytest.raises(UnknownNode):
        verifier(authority).identify(authority.issue_node("CT1").certificate)


def test_removed_node_is_refused_at_the_next_association(authority):
    der = authority.issue_node("CT1").certificate
    store = MemoryNodes(registered(der))
    checks = NodeVerifier(store, authority.node_ca)
    checks.identify(der)
    store.nodes.clear()
    with pytest.raises(UnknownNode):
        checks.identify(der)


def test_second_certificate_of_the_same_title_is_refused(authority):
    record = registered(authority.issue_node("CT1").certificate)
    with pytest.raises(UnknownNode):
        verifier(authority, record).identify(authority.issue_node("CT1").certificate)


def test_pinned_certificate_is_its_node(authority):
    der = make("foreign").der
    assert verifier(authority, registered(der, NodeTrust.PINNED)).identify(der).name == "CT1"


def test_pinned_in_the_record_but_not_among_the_pinned_is_refused(authority):
    der = make("foreign").der
    record = replace(registered(der, NodeTrust.PINNED), certificate=make("other").der)
    with pytest.raises(CertificateRefused, match="pinned"):
        verifier(authority, record).identify(der)


def test_record_that_says_plain_is_never_believed_with_a_certificate(authority):
    der = make("foreign").der
    with pytest.raises(CertificateRefused, match="without TLS"):
        verifier(authority, registered(der, NodeTrust.PLAIN)).identify(der)


def test_registered_as_issued_but_by_another_ca_is_refused(authority):
    der = make("CT1", issuer=make("other CA", ca=True)).der
    with pytest.raises(CertificateRefused, match="node CA"):
        verifier(authority, registered(der)).identify(der)


def test_issuer_of_the_same_name_with_another_key_is_refused(authority):
    twin = make("twin", ca=True)
    twin.certificate = authority.node_ca
    der = make("CT1", issuer=twin).der
    with pytest.raises(CertificateRefused, match="node CA"):
        verifier(authority, registered(der)).identify(der)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ca": True}, "a CA's"),
        ({"usages": [ExtendedKeyUsageOID.SERVER_AUTH]}, "TLS clients"),
        ({"usages": [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]}, "TLS clients"),
        ({"digital_signature": False}, "digital signatures"),
        ({"begins": timedelta(days=1)}, "not valid yet"),
        ({"ends": timedelta(hours=-1)}, "expired"),
        ({"key": rsa.generate_private_key(public_exponent=65537, key_size=1024)}, "weaker"),
        ({"key": ec.generate_private_key(ec.SECP224R1())}, "weaker"),
    ],
)
def test_issued_certificate_that_is_not_as_it_should_be_is_refused(authority, changes, reason):
    der = make("CT1", issuer=node_ca_of(authority), **changes).der
    with pytest.raises(CertificateRefused, match=reason):
        verifier(authority, registered(der)).identify(der)


def test_pinned_self_signed_certificate_that_claims_to_be_a_ca_is_its_node_and_nobody_elses(authority):
    pinned = make("openssl req -x509", ca=True, usages=[])
    issued = make("CT1", issuer=pinned)
    checks = verifier(authority, registered(pinned.der, NodeTrust.PINNED))
    assert checks.identify(pinned.der).name == "CT1"
    with pytest.raises(UnknownNode):
        checks.identify(issued.der)


def test_certificate_that_expires_after_it_was_remembered_is_refused(authority):
    der = authority.issue_node("CT1").certificate
    now = [datetime.now(UTC)]
    checks = verifier(authority, registered(der), clock=lambda: now[0])
    checks.identify(der)
    now[0] += timedelta(days=731)
    with pytest.raises(CertificateRefused, match="expired"):
        checks.identify(der)


def test_expired_node_ca_takes_its_nodes_with_it(authority):
    der = make("CT1", issuer=node_ca_of(authority), ends=timedelta(days=9000)).der
    later = authority.node_ca.not_valid_after_utc + timedelta(seconds=1)
    with pytest.raises(CertificateRefused, match="expired"):
        verifier(authority, registered(der), clock=lambda: later).identify(der)


def test_memory_of_checked_certificates_is_bounded(authority, monkeypatch):
    monkeypatch.setattr(peer, "MAX_REMEMBERED", 3)
    ders = [make(f"N{i}").der for i in range(8)]
    records = [registered(der, NodeTrust.PINNED, f"N{i}") for i, der in enumerate(ders)]
    checks = verifier(authority, *records)
    for _ in range(2):
        assert [checks.identify(der).name for der in ders] == [f"N{i}" for i in range(8)]
        assert len(checks._remembered) <= 3


def test_plain_node_is_known_by_its_title_and_a_node_with_a_certificate_is_not(authority):
    secure = registered(make("CT2").der, NodeTrust.PINNED, "CT2")
    checks = verifier(authority, NodeRecord(node_identity("OLD")), secure)
    assert checks.plain("OLD").name == "OLD"
    for title in ("CT2", "", "old", "OLD "):
        with pytest.raises(UnknownNode):
            checks.plain(title)


def test_oversized_certificate_is_not_parsed():
    with pytest.raises(CertificateRefused, match="larger"):
        checked_registration(bytes(peer.MAX_CERTIFICATE_BYTES + 1), datetime.now(UTC))


def test_certificate_with_bytes_after_it_is_refused():
    with pytest.raises(CertificateRefused, match="can be read"):
        checked_registration(make("x").der + b"\0", datetime.now(UTC))


def test_expired_certificate_is_not_registered_and_one_of_tomorrow_is():
    now = datetime.now(UTC)
    with pytest.raises(CertificateRefused, match="expired"):
        checked_registration(make("x", ends=timedelta(hours=-1)).der, now)
    checked_registration(make("x", begins=timedelta(hours=20)).der, now)


def test_edwards_keys_are_strong_enough():
    checked_registration(make("x", key=ed25519.Ed25519PrivateKey.generate()).der, datetime.now(UTC))


@given(st.binary(max_size=400))
def test_no_bytes_from_a_peer_make_the_description_fail_or_break_a_line(certificate):
    text = describe(certificate)
    assert text.isprintable()
    assert fingerprint_of(certificate) in text


@pytest.mark.filterwarnings("ignore:Parsed a serial number which wasn't positive")
@given(st.data())
def test_damaged_certificate_is_refused_and_nothing_else_is_raised(data):
    der = bytearray(_SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    with suppress(CertificateRefused):
        checked_registration(bytes(der), datetime.now(UTC))
    describe(bytes(der))


_SAMPLE = make("sample").der


def test_subject_with_control_characters_stays_one_line():
    text = describe(make("CT1\nFAKE LINE\x1b[31m").der)
    assert text.isprintable()
