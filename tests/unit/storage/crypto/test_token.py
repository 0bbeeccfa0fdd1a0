"""The signer's key in a token: it signs as a key in a file does, and is never shown (PKCS #11, RFC 7512)."""

import hashlib
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from storage.crypto.signing_key import SHA2, sign_digest
from storage.crypto.token import Token, TokenPlace
from storage.errors import TokenUnusable
from tests.simulators.tokens_pkcs11 import MODULE, SoftToken


@pytest.fixture(scope="module")
def soft(tmp_path_factory):
    made = SoftToken(tmp_path_factory.mktemp("softhsm") / "token")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture(scope="module")
def token(soft):
    opened = Token(TokenPlace.parse(soft.uri, Path))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def key(token):
    return token.generate("signer")


@pytest.mark.parametrize("algorithm", sorted(SHA2))
def test_a_key_in_a_token_signs_with_every_digest(key, algorithm):
    digest = hashlib.new(algorithm.lower(), b"some bytes").digest()
    key.public_key().verify(sign_digest(key, digest, algorithm), digest, PKCS1v15(), Prehashed(SHA2[algorithm]))
    assert key.public_key().key_size == 3072


def test_a_key_is_found_by_the_certificate_that_it_belongs_to(token, key):
    other = token.generate("another")
    found = token.key_of(certificate_of(key.public_key()))
    assert found is not None
    digest = bytes(32)
    assert sign_digest(found, digest, "SHA256") == sign_digest(key, digest, "SHA256")
    assert sign_digest(found, digest, "SHA256") != sign_digest(other, digest, "SHA256")


def test_threads_sign_at_once_and_each_gets_its_own(key):
    wrong = []

    def sign(number):
        digest = hashlib.sha256(bytes([number])).digest()
        try:
            key.public_key().verify(sign_digest(key, digest, "SHA256"), digest, PKCS1v15(), Prehashed(hashes.SHA256()))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=sign, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "pkcs11:",
        "pkcs11:token=x",
        "pkcs11:token=x?module-path=/lib",
        "file:token=x?module-path=/a&pin-source=b",
        "pkcs11:token=x?module-path=/a&pin-source=b&pin-value=1",
    ],
)
def test_a_uri_that_names_no_token_says_how_to_write_one(uri):
    with pytest.raises(TokenUnusable, match="pkcs11:token=LABEL"):
        TokenPlace.parse(uri, Path)


def test_a_relative_pin_file_counts_from_the_home_and_escapes_are_read():
    place = TokenPlace.parse("pkcs11:token=a%20b?module-path=/m&pin-source=file:keys/pin", Path("/home").joinpath)
    assert place == TokenPlace("a b", Path("/m"), Path("/home/keys/pin"))


def test_what_keeps_a_token_shut_is_said(soft, tmp_path):
    def opened(**changes):
        place = TokenPlace("strongroom", MODULE, soft.pin)
        Token(TokenPlace(**{name: changes.get(name, getattr(place, name)) for name in ("label", "module", "pin")}))

    wrong = tmp_path / "pin"
    wrong.write_text("0000")
    wrong.chmod(0o644)
    with pytest.raises(TokenUnusable, match="chmod 600"):
        opened(pin=wrong)
    wrong.chmod(0o600)
    with pytest.raises(TokenUnusable, match=r"strongroom: (PinIncorrect|UserAlreadyLoggedIn)"):
        opened(pin=wrong)
    with pytest.raises(TokenUnusable, match="NoSuchToken"):
        opened(label="another")
    with pytest.raises(TokenUnusable):
        opened(module=tmp_path / "nothing.so")
    with pytest.raises(TokenUnusable, match="cannot be read"):
        opened(pin=tmp_path / "nothing")


def certificate_of(public):
    ca = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "signer")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(ca, hashes.SHA256())
    )
