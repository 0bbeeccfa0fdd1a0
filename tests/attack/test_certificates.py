"""Certificates that must not get in, each through a real handshake on loopback and then `NodeVerifier`.

The door is both together: a peer is in only where the handshake succeeds and the certificate is a registered node's.
"""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from archive.records.nodes import NodeRecords
from auth.errors import CertificateRefused, UnknownNode
from auth.node.peer import NodeVerifier
from auth.node.registry import register
from auth.node.tls import ServerTls, client_context
from auth.principal import NodeTrust
from tests.simulators.certificates import Made, authority_in, make, node_ca_of
from tests.simulators.records import MemoryDatabase
from tests.simulators.tls_peer import handshake

SERVER_AUTH = [ExtendedKeyUsageOID.SERVER_AUTH]


class Door:
    """The archive's TLS and node checks over its real records."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = authority_in(folder / "pki")
        self.database = MemoryDatabase()
        self.nodes = NodeRecords(self.database)
        self.tls = ServerTls(self.authority.files.server_identities, self.authority.node_ca, self.nodes)
        self.verifier = NodeVerifier(self.nodes, self.authority.node_ca)

    def register(self, name, der, trust):
        self.nodes.add(register(name, trust=trust, certificate=der, now=datetime.now(UTC)))

    def issued(self, name):
        """A registered node's own files."""
        node = self.authority.issue_node(name)
        node.write(self.folder / name)
        self.register(name, node.certificate, NodeTrust.ISSUED)
        return (self.folder / name / "cert.pem", self.folder / name / "key.pem")

    def knock(self, identity, maximum=ssl.TLSVersion.TLSv1_3):
        """The name of the node that got in.

        Raises:
            SSLError: refused by the handshake.
            AuthError: refused afterwards.
        """
        if isinstance(identity, Made):
            identity = identity.write(self.folder, f"peer-{id(identity)}")
        client = client_context(identity, self.authority.files.trust)
        client.maximum_version = maximum
        result = handshake(self.tls.context(), client)
        if result.server_error is not None:
            raise result.server_error
        return self.verifier.identify(result.peer_certificate).name


@pytest.fixture
def door(tmp_path):
    made = Door(tmp_path)
    yield made
    made.database.close()


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS1.2", "TLS1.3"])
def version(request):
    return request.param


def test_issued_and_pinned_nodes_get_in(door, version):
    assert door.knock(door.issued("CT1"), version) == "CT1"
    pinned = make("self-signed")
    door.register("PIN", pinned.der, NodeTrust.PINNED)
    assert door.knock(pinned, version) == "PIN"


def test_peer_without_a_certificate_is_refused(door, version):
    with pytest.raises(ssl.SSLError):
        door.knock(None, version)


def test_certificate_of_a_foreign_ca_is_refused(door, version):
    foreign = make("foreign CA", ca=True, usages=[])
    with pytest.raises(ssl.SSLCertVerificationError):
        door.knock(make("CT1", issuer=foreign), version)


def test_certificate_of_a_foreign_ca_with_the_name_of_ours_is_refused(door, version):
    twin = make("twin", ca=True, usages=[])
    twin.certificate = door.authority.node_ca
    peer = make("CT1", issuer=twin)
    with pytest.raises(ssl.SSLCertVerificationError):
        door.knock(peer, version)


def test_foreign_chain_sent_along_convinces_nobody(door, version):
    foreign = make("foreign CA", ca=True, usages=[])
    peer = make("CT1", issuer=foreign)
    peer.chain = [foreign.certificate, door.authority.node_ca, door.authority.root]
    with pytest.raises(ssl.SSLCertVerificationError):
        door.knock(peer, version)


def test_self_signed_certificate_with_the_title_of_a_node_is_refused(door, version):
    door.issued("CT1")
    with pytest.raises(ssl.SSLCertVerificationError):
        door.knock(make("CT1"), version)


@pytest.mark.parametrize("trust", [NodeTrust.ISSUED, NodeTrust.PINNED])
def test_expired_certificate_is_refused(door, version, trust):
    issuer = node_ca_of(door.authority) if trust is NodeTrust.ISSUED else None
    then = datetime.now(UTC) - timedelta(days=10)
    peer = make("CT1", issuer=issuer, begins=timedelta(days=-20), ends=timedelta(days=-1))
    door.nodes.add(register("CT1", trust=trust, certificate=peer.der, now=then))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        door.knock(peer, version)
    with pytest.raises(CertificateRefused, match="expired"):
        door.verifier.identify(peer.der)


@pytest.mark.parametrize("trust", [NodeTrust.ISSUED, NodeTrust.PINNED])
def test_certificate_of_tomorrow_is_refused(door, version, trust):
    issuer = node_ca_of(door.authority) if trust is NodeTrust.ISSUED else None
    peer = make("CT1", issuer=issuer, begins=timedelta(days=1))
    door.register("CT1", peer.der, trust)
    with pytest.raises(ssl.SSLCertVerificationError, match="not yet valid"):
        door.knock(peer, version)
    with pytest.raises(CertificateRefused, match="not valid yet"):
        door.verifier.identify(peer.der)


def test_certificate_for_servers_only_is_refused(door, version):
    peer = make("CT1", issuer=node_ca_of(door.authority), usages=SERVER_AUTH)
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        door.knock(peer, version)
    with pytest.raises(CertificateRefused):
        door.register("CT1", peer.der, NodeTrust.ISSUED)


def test_certificate_issued_by_a_pinned_ca_is_refused_though_tls_takes_it(door, version):
    pinned = make("pinned CA", ca=True, usages=[])
    door.register("PIN", pinned.der, NodeTrust.PINNED)
    peer = make("CT1", issuer=pinned)
    with pytest.raises(UnknownNode):
        door.knock(peer, version)
    assert door.knock(pinned, version) == "PIN"


def test_certificate_issued_by_a_pinned_leaf_is_refused(door, version):
    pinned = make("pinned leaf")
    door.register("PIN", pinned.der, NodeTrust.PINNED)
    with pytest.raises((ssl.SSLError, UnknownNode)):
        door.knock(make("CT1", issuer=pinned), version)


def test_certificate_issued_by_an_issued_node_is_refused(door, version):
    leaf = make("CT1", issuer=node_ca_of(door.authority))
    door.register("CT1", leaf.der, NodeTrust.ISSUED)
    peer = make("CT2", issuer=leaf)
    peer.chain = [leaf.certificate, door.authority.node_ca]
    with pytest.raises(ssl.SSLCertVerificationError):
        door.knock(peer, version)


def test_twin_of_a_pinned_certificate_with_another_key_is_refused(door, version):
    pinned = make("self-signed")
    door.register("PIN", pinned.der, NodeTrust.PINNED)
    with pytest.raises(ssl.SSLError):
        door.knock(make("self-signed"), version)


def test_stolen_certificate_without_its_key_is_refused(door, version):
    door.issued("CT1")
    victim = door.folder / "CT1" / "cert.pem"
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ssl.SSLError):
        client.load_cert_chain(victim, make("thief").write(door.folder, "thief")[1])


def test_archives_own_signer_is_no_node(door, version):
    files = door.authority.files
    with pytest.raises(ssl.SSLCertVerificationError):
        door.knock((files.certificate("signer"), files.key("signer")), version)


def test_archives_own_server_certificate_is_no_node(door, version):
    with pytest.raises(UnknownNode):
        door.knock(door.authority.files.server_identities[0], version)


def test_intermediate_and_root_are_no_nodes(door, version):
    files = door.authority.files
    for name in ("root", "node-ca", "signing-ca"):
        with pytest.raises((ssl.SSLError, UnknownNode)):
            door.knock((files.certificate(name), files.key(name)), version)


def test_issued_certificate_that_was_never_registered_is_refused(door, version):
    door.authority.issue_node("CT1").write(door.folder / "CT1")
    with pytest.raises(UnknownNode):
        door.knock((door.folder / "CT1" / "cert.pem", door.folder / "CT1" / "key.pem"), version)


def test_removed_issued_node_is_refused(door, version):
    files = door.issued("CT1")
    assert door.knock(files, version) == "CT1"
    door.nodes.remove("CT1")
    with pytest.raises(UnknownNode):
        door.knock(files, version)


def test_removed_pinned_node_is_refused_by_the_handshake(door, version):
    pinned = make("self-signed")
    door.register("PIN", pinned.der, NodeTrust.PINNED)
    assert door.knock(pinned, version) == "PIN"
    door.nodes.remove("PIN")
    with pytest.raises(ssl.SSLCertVerificationError):
        door.knock(pinned, version)


def test_node_registered_anew_is_refused_with_its_old_certificate(door, version):
    old = door.issued("CT1")
    door.nodes.remove("CT1")
    (door.folder / "CT1").rename(door.folder / "old")
    new = door.issued("CT1")
    with pytest.raises(UnknownNode):
        door.knock(tuple(door.folder / "old" / path.name for path in old), version)
    assert door.knock(new, version) == "CT1"
