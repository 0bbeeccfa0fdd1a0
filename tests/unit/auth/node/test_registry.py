"""Registrations: the defaults of a node, and what is refused before it is kept."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from auth.errors import CertificateRefused, RecordInvalid
from auth.node.peer import fingerprint_of
from auth.node.registry import register
from auth.principal import IdentityDemand, NodeTrust
from tests.simulators.certificates import make

NOW = datetime.now(UTC)


def plain(name="CT1", **parts):
    return register(name, trust=NodeTrust.PLAIN, now=NOW, **parts)


@pytest.mark.parametrize(
    ("roles", "demand"),
    [
        ([], IdentityDemand.REQUIRED),
        (["modality"], IdentityDemand.OPTIONAL),
        (["modality", "service"], IdentityDemand.OPTIONAL),
        (["service"], IdentityDemand.OPTIONAL),
        (["radiologist"], IdentityDemand.REQUIRED),
        (["modality", "radiologist"], IdentityDemand.REQUIRED),
    ],
)
def test_identity_is_required_unless_the_only_roles_are_modality_and_service(roles, demand):
    assert plain(roles=roles).identity.identity is demand
    assert plain(roles=roles, identity=IdentityDemand.NONE).identity.identity is IdentityDemand.NONE


def test_name_is_always_one_of_its_titles():
    node = plain("CT1", ae_titles=["CT1B"])
    assert node.identity.ae_titles == {"CT1", "CT1B"}


def test_certificate_fixes_the_fingerprint():
    der = make("CT1").der
    node = register("CT1", trust=NodeTrust.PINNED, certificate=der, now=NOW)
    assert node.identity.fingerprint == fingerprint_of(der)
    assert node.certificate == der


@pytest.mark.parametrize(
    "parts",
    [
        {"ae_titles": ["A" * 17]},
        {"ae_titles": [f"T{i}" for i in range(65)]},
        {"roles": ["Radiologist"]},
        {"roles": ["a b"]},
        {"roles": [""]},
        {"roles": [f"r{i}" for i in range(65)]},
        {"roles": ["nurse"], "known_roles": frozenset({"modality"})},
        {"asserts_roles": ["nurse"], "known_roles": frozenset({"modality"})},
        {"identity_types": []},
        {"identity_types": [0]},
        {"identity_types": [2, 6]},
        {"host": "a", "port": None},
        {"port": 104},
        {"host": "a", "port": 0},
        {"host": "a", "port": 65536},
        {"host": "a b", "port": 104},
        {"host": "a;rm", "port": 104},
        {"host": "-oProxy", "port": 104},
        {"host": "", "port": 104},
        {"host": "a\n", "port": 104},
        {"certificate": make("x").der},
    ],
)
def test_malformed_part_is_refused(parts):
    with pytest.raises(RecordInvalid):
        plain(**parts)


@pytest.mark.parametrize("host", ["ct1", "ct1.example.org", "192.0.2.1", "2001:db8::1", "::1", "fe80::1"])
def test_hosts_and_addresses_are_taken(host):
    assert plain(host=host, port=104).host == host


@pytest.mark.parametrize("trust", [NodeTrust.ISSUED, NodeTrust.PINNED])
def test_node_with_tls_needs_a_certificate(trust):
    with pytest.raises(RecordInvalid):
        register("CT1", trust=trust, now=NOW)


@pytest.mark.parametrize(
    "der",
    [
        b"",
        make("x", ends=timedelta(hours=-1)).der,
        make("x", usages=[ExtendedKeyUsageOID.SERVER_AUTH]).der,
    ],
)
def test_certificate_that_could_never_be_accepted_is_not_registered(der):
    with pytest.raises(CertificateRefused):
        register("CT1", trust=NodeTrust.PINNED, certificate=der, now=NOW)
