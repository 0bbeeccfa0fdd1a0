"""Whose keys: files, metadata, rollover, and what is too weak or too old to count."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from auth.errors import ProviderMisconfigured, ProviderUnavailable
from auth.identity.saml import IssuerKeys
from auth.identity.saml.markup import instant
from tests.simulators.certificates import make
from tests.simulators.saml_documents import Desk, good, issuer, moment, stranger, unsigned

MD = 'xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#"'
ENTITY = "https://idp.example"


def holder(certificate, use=' use="signing"'):
    der = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
    return (
        f"<md:KeyDescriptor{use}><ds:KeyInfo><ds:X509Data><ds:X509Certificate>\n{der}\n</ds:X509Certificate>"
        "</ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"
    )


def metadata(*holders, entity=ENTITY, attributes="", role="IDPSSODescriptor", before=""):
    return (
        f'{before}<md:EntityDescriptor {MD} entityID="{entity}"{attributes}><!-- ours -->'
        f"<md:{role}>{''.join(holders)}</md:{role}></md:EntityDescriptor>"
    ).encode()


OURS, THEIRS = issuer().certificate, stranger().certificate


def test_every_signing_key_of_the_issuer_counts():
    """A key with no ``use`` is for signing too (SAML metadata 2.4.1.1); one for encryption is not."""
    data = metadata(holder(OURS), holder(THEIRS, ""), holder(OURS))
    assert IssuerKeys.from_metadata(data, ENTITY).certificates == (OURS, THEIRS)
    data = metadata(holder(OURS), holder(THEIRS, ' use="encryption"'))
    assert IssuerKeys.from_metadata(data, ENTITY).certificates == (OURS,)


def test_keys_of_an_attribute_authority_count_and_those_of_a_service_provider_do_not():
    data = metadata(holder(OURS), role="AttributeAuthorityDescriptor")
    assert IssuerKeys.from_metadata(data, ENTITY).certificates == (OURS,)
    with pytest.raises(ProviderMisconfigured, match="has no certificate"):
        IssuerKeys.from_metadata(metadata(holder(OURS), role="SPSSODescriptor"), ENTITY)


def test_issuer_is_found_among_the_entities_of_a_federation():
    federation = f"<md:EntitiesDescriptor {MD}>%s%s</md:EntitiesDescriptor>".encode() % (
        metadata(holder(THEIRS), entity="https://other.example"),
        metadata(holder(OURS)),
    )
    assert IssuerKeys.from_metadata(federation, ENTITY).certificates == (OURS,)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<a",
        b"<a/>",
        b" " * (8 * 1024 * 1024 + 1),
        metadata(),
        metadata(holder(OURS), entity="https://other.example"),
        f"<md:EntitiesDescriptor {MD}>".encode() + metadata(holder(OURS)) * 2 + b"</md:EntitiesDescriptor>",
        metadata(holder(OURS), before="<!DOCTYPE a [<!ENTITY x 'y'>]>"),
        metadata(holder(OURS)).replace(b"MII", b"NII"),
        metadata(holder(OURS)).replace(b"MII", b"!!!"),
        metadata(holder(OURS), attributes=' validUntil="tomorrow"'),
    ],
    ids=["empty", "cut", "other", "large", "no-key", "absent", "twice", "doctype", "der", "base64", "until"],
)
def test_metadata_that_does_not_say_whose_keys_is_refused(data):
    with pytest.raises(ProviderMisconfigured):
        IssuerKeys.from_metadata(data, ENTITY)


def test_rollover_takes_the_old_key_and_the_new_one():
    keys = IssuerKeys.from_metadata(metadata(holder(THEIRS), holder(OURS)), ENTITY)
    desk = Desk(keys=keys)
    assert desk.verify(good()).principal.name == "alice@hospital"
    assert desk.verify(stranger().sign(unsigned("bob"))).principal.name == "bob@hospital"


def test_expired_metadata_verifies_nobody():
    end = moment() + timedelta(minutes=1)
    data = metadata(holder(OURS), attributes=f' validUntil="{end:%Y-%m-%dT%H:%M:%SZ}"')
    desk = Desk(keys=IssuerKeys.from_metadata(data, ENTITY))
    assert desk.verify(good()).principal.name == "alice@hospital"
    desk.now = end
    with pytest.raises(ProviderUnavailable, match="metadata has expired"):
        desk.verify(good())


def test_lab_issuers_metadata_names_its_key():
    assert IssuerKeys.from_metadata(issuer().metadata_file.read_bytes(), issuer().issuer).certificates == (OURS,)


def test_certificates_come_from_files(tmp_path):
    assert IssuerKeys.from_files([issuer().certificate_file, stranger().certificate_file]).certificates == (
        OURS,
        THEIRS,
    )
    (tmp_path / "none.pem").write_text("nothing")
    for path in (tmp_path / "none.pem", tmp_path / "absent.pem"):
        with pytest.raises(ProviderMisconfigured):
            IssuerKeys.from_files([path])
    with pytest.raises(ProviderMisconfigured):
        IssuerKeys.from_files([])


@pytest.mark.parametrize(
    "key",
    [
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024),
        lambda: ec.generate_private_key(ec.SECP256K1()),
        ed25519.Ed25519PrivateKey.generate,
    ],
    ids=["rsa-1024", "secp256k1", "ed25519"],
)
def test_weak_or_odd_key_is_no_issuers(key):
    with pytest.raises(ProviderMisconfigured):
        IssuerKeys((make("idp", key=key()).certificate,))


def test_only_certificates_that_are_valid_now_count():
    past = make("past", begins=timedelta(days=-9), ends=timedelta(days=-1)).certificate
    assert IssuerKeys((past, OURS)).at(moment()).certificates == (OURS,)
    with pytest.raises(ProviderUnavailable, match="no certificate of the issuer is valid now"):
        IssuerKeys((past,)).at(moment())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05+00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.1234567Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02T03:04:05", None),
        ("2026-01-02T03:04:05+01:00", None),
        ("2026-01-02", None),
        ("2026-02-30T03:04:05Z", None),
        ("2026-01-02T24:00:00Z", None),
        ("0000-01-02T03:04:05Z", None),
        ("2026-01-02T03:04:05Z\n", None),
        ("٢026-01-02T03:04:05Z", None),
        ("", None),
        (None, None),
    ],
)
def test_a_time_is_in_utc_and_says_so(text, expected):
    assert instant(text) == expected
