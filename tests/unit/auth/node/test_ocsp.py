"""OCSP: only an answer that the issuer, or whom it gave the power to, signed about this certificate and now counts."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from auth.errors import AuthorityError, CertificateRefused
from auth.node.ocsp import Responder
from tests.simulators.certificates import make
from tests.simulators.ocsp_responder import OcspResponder

OCSP_SIGNING = [ExtendedKeyUsageOID.OCSP_SIGNING]


@pytest.fixture
def issuer():
    return make("facility CA", ca=True, usages=[])


@pytest.fixture
def node(issuer):
    return make("CT1", issuer=issuer)


@pytest.fixture
def responder(issuer, node):
    with OcspResponder(issuer) as running:
        running.good.append(node)
        yield running


def asking(responder, clock=lambda: datetime.now(UTC), seconds=5.0):
    return Responder(responder.url, seconds, clock)


def check(asked, node, issuer):
    asked.check(node.certificate, issuer.certificate)


def test_a_good_certificate_is_good_and_the_answer_is_remembered(responder, node, issuer):
    asked = asking(responder)
    for _ in range(3):
        check(asked, node, issuer)
    assert responder.asked == 1


def test_an_answer_is_forgotten_when_it_ends(responder, node, issuer):
    now = [datetime.now(UTC)]
    asked = asking(responder, lambda: now[0])
    responder.ends = timedelta(minutes=10)
    check(asked, node, issuer)
    now[0] += timedelta(minutes=11)
    responder.good.remove(node)
    responder.revoked.append(node)
    responder.ends = timedelta(hours=2)
    with pytest.raises(CertificateRefused, match="revoked"):
        check(asked, node, issuer)


def test_a_revoked_certificate_is_refused(responder, node, issuer):
    responder.good.clear()
    responder.revoked.append(node)
    with pytest.raises(CertificateRefused, match="revoked by its issuer"):
        check(asking(responder), node, issuer)


def test_a_responder_that_the_issuer_gave_the_power_to_is_believed(responder, node, issuer):
    responder.signer = make("responder", issuer=issuer, usages=OCSP_SIGNING)
    check(asking(responder), node, issuer)


def another_signer(usages, *, own_issuer):
    def change(responder, node, issuer):
        responder.signer = make("responder", issuer=issuer if own_issuer else None, usages=usages)

    return change


def flipped(answer):
    return answer[:-1] + bytes((answer[-1] ^ 1,))


NOT_BELIEVED = {
    "nobody-it-knows": lambda responder, node, issuer: responder.good.clear(),
    "a-stranger-signed": another_signer(OCSP_SIGNING, own_issuer=False),
    "another-node-signed": another_signer(None, own_issuer=True),
    "of-another-certificate": lambda responder, node, issuer: setattr(
        responder, "speaks_of", make("CT2", issuer=issuer)
    ),
    "past-its-time": lambda responder, node, issuer: setattr(responder, "ends", timedelta(hours=-1)),
    "a-flipped-bit": lambda responder, node, issuer: setattr(responder, "tampered", flipped),
    "no-ocsp-at-all": lambda responder, node, issuer: setattr(responder, "tampered", lambda answer: b"<html>"),
    "an-error-page": lambda responder, node, issuer: setattr(responder, "status", 503),
    "endless": lambda responder, node, issuer: setattr(responder, "tampered", lambda answer: bytes(100_000)),
}


@pytest.mark.parametrize("change", NOT_BELIEVED.values(), ids=NOT_BELIEVED)
def test_any_other_answer_refuses(responder, node, issuer, change):
    change(responder, node, issuer)
    with pytest.raises(CertificateRefused, match="revocation is unknown"):
        check(asking(responder), node, issuer)


def test_a_responder_that_is_away_refuses(node, issuer):
    asked = Responder("http://127.0.0.1:1/", 0.5, lambda: datetime.now(UTC))
    with pytest.raises(CertificateRefused, match="cannot be asked"):
        check(asked, node, issuer)


@pytest.mark.parametrize("url", ["https://x/", "http://", "http://a b/", "http://x:99999/", "ftp://x"])
def test_what_is_no_http_url_is_refused_at_the_start(url):
    with pytest.raises(AuthorityError):
        Responder(url, 1, lambda: datetime.now(UTC))
