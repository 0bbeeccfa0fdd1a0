"""D10, D11: every certificate that must not get in, against a running archive; each is audited with its own reason.

Each knocks from a loopback address of its own, so that the record of its refusal can be told from the others.
"""

import base64
import contextlib
import socket
import ssl
import subprocess
from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.simulators.acceptor import request_bytes
from tests.simulators.certificates import Made, make, revoking
from tests.simulators.ocsp_responder import OcspResponder
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import Refused, client_tls

SERVER_ONLY = [ExtendedKeyUsageOID.SERVER_AUTH]


@dataclass
class House:
    """A running archive with a facility, a pinned authority and lists of what is revoked."""

    archive: RunningArchive
    facility: Made
    constrained: Made
    pinned_ca: Made
    responder: OcspResponder
    trail: list

    def knock(self, number, made):
        """Refused by the handshake or by a rejection, from an address of its own; anything else fails."""
        context = client(self.archive)
        if made is not None:
            load(context, self.archive.folder / f"peer-{number}", made)
        with (
            contextlib.suppress(ssl.SSLError, ConnectionError),
            socket.create_connection(("127.0.0.1", self.archive.port), 20, (f"127.0.3.{number + 1}", 0)) as raw,
            context.wrap_socket(raw) as peer,
        ):
            peer.sendall(request_bytes("NOBODY"))
            answer = peer.recv(10)
            assert answer == b"" or answer[:1] == b"\3", answer

    def reason(self, number):
        """The one record of that refusal."""
        found = [
            record["facts"]["reason"]
            for record in self.trail
            if record["facts"]["actor"].get("address") == f"127.0.3.{number + 1}"
        ]
        assert len(found) == 1, found
        return found[0]


def client(archive):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # A peer that checks nothing of itself: what is weak has to be refused by the archive.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_verify_locations(archive.folder / "nodes" / "CT1" / "ca.pem")
    return context


def load(context, folder, made):
    if isinstance(made, Made):
        certificate, key = made.write(folder, "peer")
    else:
        folder.mkdir()
        certificate, key = folder / "peer.pem", folder / "peer.key"
        certificate.write_bytes(made[0])
        key.write_bytes(made[1])
    context.load_cert_chain(certificate, key)


def corrupted(house):
    """A good certificate with one bit of its signature flipped."""
    made = make("CT2", issuer=house.facility)
    der = made.der[:-1] + bytes((made.der[-1] ^ 1,))
    made.certificate = x509.load_der_x509_certificate(der)
    return made


def wrong_key(house):
    """Somebody's certificate, and a key that says it belongs to it and does not."""
    owner, thief = make("CT2", issuer=house.facility), ec.generate_private_key(ec.SECP256R1())
    point = [
        key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        for key in (thief.public_key(), owner.key.public_key())
    ]
    der = thief.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).replace(*point)
    key = b"-----BEGIN PRIVATE KEY-----\n" + base64.encodebytes(der) + b"-----END PRIVATE KEY-----\n"
    return owner.certificate.public_bytes(serialization.Encoding.PEM), key


def weak_signature(house):
    """Signed with SHA-1, by openssl, since cryptography does that no more."""
    folder = house.archive.folder / "weak"
    authority, authority_key = house.facility.write(folder, "ca")
    made = make("CT2", issuer=house.facility)
    _, key = made.write(folder, "peer")
    request = folder / "peer.csr"
    openssl("req", "-new", "-key", key, "-subj", "/CN=CT2", "-out", request)
    options = ["-CA", authority, "-CAkey", authority_key, "-CAcreateserial", "-sha1", "-days", "2"]
    openssl("x509", "-req", "-in", request, *options, "-out", folder / "peer.pem")
    return (folder / "peer.pem").read_bytes(), key.read_bytes()


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def listed(house):
    made = make("GONE", issuer=house.constrained)
    folder = house.archive.home / "revoked"
    folder.mkdir(exist_ok=True)
    (folder / "facility.crl").write_bytes(revoking(house.constrained, made))
    return made


def answered_revoked(house):
    made = make("GONE", issuer=house.facility)
    house.responder.revoked.append(made)
    return made


def revoked_here(house):
    house.archive.node("LOST", "modality")
    house.archive.must("cert", "revoke", "LOST", "--why", "stolen")
    folder = house.archive.folder / "nodes" / "LOST"
    return (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()


def unregistered(house):
    """Issued by the node CA, and its node removed."""
    folder = house.archive.node("LEFT", "modality")
    made = (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()
    house.archive.must("node", "remove", "LEFT")
    return made


def outside_constraint(house):
    names = x509.SubjectAlternativeName([x509.DNSName("ct2.elsewhere.example")])
    return make("CT2", issuer=house.constrained, extensions=(names,))


WEAK = rsa.generate_private_key(65537, 1024)
# Case: the certificate, and what the audit says.
CASES = {
    "corrupted": (corrupted, "signature failure"),
    "expired": (lambda house: make("CT2", issuer=house.facility, ends=timedelta(hours=-1)), "has expired"),
    "not-yet-valid": (lambda house: make("CT2", issuer=house.facility, begins=timedelta(days=1)), "not yet valid"),
    "revoked-by-list": (listed, "revoked by its issuer"),
    "revoked-by-ocsp": (answered_revoked, "revoked by its issuer (OCSP)"),
    "unknown-to-ocsp": (lambda house: make("CT2", issuer=house.facility), "revocation is unknown"),
    "revoked-here": (revoked_here, "revoked here"),
    "self-signed": (lambda house: make("CT1"), "self-signed"),
    "unknown-ca": (lambda house: make("CT1", issuer=make("CA", ca=True, usages=[])), "local issuer"),
    "none": (lambda house: None, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
    "wrong-key": (wrong_key, "BAD_SIGNATURE"),
    "wrong-eku": (lambda house: make("CT2", issuer=house.facility, usages=SERVER_ONLY), "purpose"),
    "weak-signature": (weak_signature, "digest algorithm too weak"),
    "weak-key": (lambda house: make("CT2", issuer=house.facility, key=WEAK), "key too weak"),
    "name-constraint": (outside_constraint, "permitted subtree"),
    "issued-by-a-pinned-ca": (lambda house: make("CT1", issuer=house.pinned_ca), "no node is registered"),
    "issued-but-removed": (unregistered, "no node is registered"),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    archive = RunningArchive(tmp_path_factory.mktemp("house")).init()
    archive.node("CT1", "modality")
    facility = make("facility CA", ca=True, usages=[])
    permitted = x509.NameConstraints([x509.DNSName("hospital.example")], None)
    constrained = make("department CA", ca=True, usages=[], extensions=(permitted,))
    pinned_ca = make("pinned CA", ca=True, usages=[])
    pem = [each.certificate.public_bytes(serialization.Encoding.PEM) for each in (facility, constrained, pinned_ca)]
    (archive.home / "pki" / "facility.pem").write_bytes(pem[0] + pem[1])
    (archive.folder / "pinned.pem").write_bytes(pem[2])
    archive.must("node", "add", "PIN", "--certificate", str(archive.folder / "pinned.pem"), "--role", "modality")
    with OcspResponder(facility) as responder:
        settings = archive.home / "strongroom.toml"
        text = settings.read_text().replace('facility_ca = ""', 'facility_ca = "pki/facility.pem"')
        settings.write_text(text.replace('ocsp_url = ""', f'ocsp_url = "{responder.url}"'))
        house = House(archive, facility, constrained, pinned_ca, responder, [])
        made = [make_it(house) for make_it, _ in CASES.values()]
        # The department has no responder: what it issued is judged by its list, and asked about in vain.
        with archive.serving():
            for number, each in enumerate(made):
                house.knock(number, each)
            house.admitted = facility_node(house)
        house.trail = archive.trail()
        yield house


def facility_node(house):
    """A certificate of the facility that is good, under a title that is nobody's, and under a registered node's."""
    made = make("WS9", issuer=house.facility)
    house.responder.good.append(made)
    context = client(house.archive)
    load(context, house.archive.folder / "good", made)
    outcomes = {}
    for title in ("WS9", "CT1"):
        requestor = house.archive.requestor("CT1")
        requestor.tls, requestor.calling = context, title
        try:
            with requestor:
                outcomes[title] = requestor.echo()
        except Refused as refused:
            outcomes[title] = refused.numbers
    return outcomes


@pytest.mark.parametrize("case", CASES)
def test_a_certificate_that_is_not_good_is_refused_with_its_own_reason(house, case):
    reason = house.reason(list(CASES).index(case))
    assert CASES[case][1].lower() in reason.lower()


def test_the_reasons_tell_the_cases_apart(house):
    reasons = [house.reason(number) for number in range(len(CASES))]
    # A node that is unknown is unknown, whoever else vouches for it.
    assert len(set(reasons)) == len(reasons) - 1


def test_a_node_of_the_facility_is_let_in_by_its_least_role_and_under_nobody_elses_title(house):
    assert house.admitted == {"WS9": 0, "CT1": (1, 1, 3)}
    admitted = [record for record in house.trail if record["kind"] == "node-authenticated"]
    assert admitted[-1]["facts"]["actor"]["node"].startswith("facility/")


def test_the_archive_itself_is_as_it_was_for_a_registered_node(house):
    with house.archive.serving(), house.archive.requestor("CT1") as modality:
        assert modality.echo() == 0
    assert client_tls(house.archive.folder / "nodes" / "CT1")
