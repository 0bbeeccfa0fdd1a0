"""The TLS profile on real handshakes (PS3.15 B.12)."""

import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from auth.errors import AuthorityError
from auth.node.peer import fingerprint_of
from auth.node.tls import ServerTls, client_context, server_context
from auth.ports import NodeRecord
from auth.principal import NodeTrust
from tests.simulators.certificates import authority_in, make
from tests.simulators.records import MemoryNodes, node_identity
from tests.simulators.tls_peer import handshake


@pytest.fixture
def authority(tmp_path):
    return authority_in(tmp_path / "pki")


@pytest.fixture
def server(authority):
    return server_context(authority.files.server_identities, authority.node_ca)


@pytest.fixture
def node(authority, tmp_path):
    authority.issue_node("CT1").write(tmp_path / "ct1")
    return (tmp_path / "ct1" / "cert.pem", tmp_path / "ct1" / "key.pem")


def test_issued_node_and_strict_client_shake_hands_in_tls_1_3(authority, server, node):
    result = handshake(server, client_context(node, authority.files.trust))
    assert result.taken, result
    assert result.version == "TLSv1.3"
    assert fingerprint_of(result.peer_certificate) == authority_fingerprint(node)


def authority_fingerprint(node):
    return fingerprint_of(x509.load_pem_x509_certificate(node[0].read_bytes()).public_bytes(Encoding.DER))


def test_server_name_is_checked_where_asked(authority, server, node):
    client = client_context(node, authority.files.trust)
    assert handshake(server, client, "localhost").taken
    assert isinstance(handshake(server, client, "other.example").client_error, ssl.SSLCertVerificationError)
    careless = client_context(node, authority.files.trust, check_hostname=False)
    assert handshake(server, careless, "other.example").taken


@pytest.mark.parametrize(
    ("suite", "kind"),
    [
        ("ECDHE-RSA-AES128-GCM-SHA256", rsa.RSAPublicKey),
        ("ECDHE-RSA-AES256-GCM-SHA384", rsa.RSAPublicKey),
        ("ECDHE-ECDSA-AES256-GCM-SHA384", ec.EllipticCurvePublicKey),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", ec.EllipticCurvePublicKey),
    ],
)
def test_tls_1_2_peer_gets_the_key_that_its_suites_need(authority, server, node, suite, kind):
    client = client_context(node, authority.files.trust)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(suite)
    result = handshake(server, client)
    assert result.taken, result
    assert (result.version, result.cipher) == ("TLSv1.2", suite)
    assert isinstance(x509.load_der_x509_certificate(result.server_chain_leaf).public_key(), kind)


@pytest.mark.parametrize("suite", ["AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA384", "DHE-RSA-AES128-GCM-SHA256"])
def test_suites_without_forward_secrecy_or_authenticated_encryption_are_refused(authority, server, node, suite):
    client = client_context(node, authority.files.trust)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(suite)
    assert not handshake(server, client).taken


def test_tls_1_1_is_refused_on_both_ends(authority, server, node):
    client = client_context(node, authority.files.trust)
    assert server.minimum_version is client.minimum_version is ssl.TLSVersion.TLSv1_2


def test_client_without_a_certificate_is_refused(authority, server):
    result = handshake(server, client_context(None, authority.files.trust))
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in str(result.server_error)
    assert not result.taken


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed_so_that_every_handshake_proves_the_key(authority, server, node, version):
    client = client_context(node, authority.files.trust)
    client.options &= ~ssl.OP_NO_TICKET
    client.maximum_version = version
    first = handshake(server, client)
    second = handshake(server, client, session=first.session)
    assert second.taken
    assert not second.resumed
    assert server.session_stats()["number"] == 0


def test_no_ticket_no_renegotiation_no_compression(server):
    assert server.num_tickets == 0
    for option in (ssl.OP_NO_TICKET, ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_COMPRESSION):
        assert server.options & option


def test_weak_client_key_does_not_pass_the_handshake(authority, tmp_path):
    weak = make("weak", key=rsa.generate_private_key(public_exponent=65537, key_size=1024))
    server = server_context(authority.files.server_identities, authority.node_ca, [weak.der])
    client = client_context(None, authority.files.trust)
    client.set_ciphers("DEFAULT@SECLEVEL=0")
    client.load_cert_chain(*weak.write(tmp_path, "weak"))
    result = handshake(server, client)
    assert "key too weak" in str(result.server_error)
    assert not result.taken


def test_pinned_node_is_taken_from_the_moment_it_is_registered_until_it_is_removed(authority, tmp_path):
    store = MemoryNodes()
    tls = ServerTls(authority.files.server_identities, authority.node_ca, store)
    pinned = make("self-signed")
    client = client_context(pinned.write(tmp_path, "own"), authority.files.trust)
    before = tls.context()
    assert tls.context() is before
    assert not handshake(before, client).taken
    identity = node_identity("CT9", trust=NodeTrust.PINNED, fingerprint=fingerprint_of(pinned.der))
    store.nodes["CT9"] = NodeRecord(identity, certificate=pinned.der)
    assert handshake(tls.context(), client).taken
    store.nodes.clear()
    assert not handshake(tls.context(), client).taken


def test_reload_keeps_the_previous_context_where_the_files_are_not_usable(authority):
    tls = ServerTls(authority.files.server_identities, authority.node_ca, MemoryNodes())
    before = tls.context()
    tls.reload()
    renewed = tls.context()
    assert renewed is not before
    authority.files.key("server").unlink()
    with pytest.raises(AuthorityError, match="server"):
        tls.reload()
    assert tls.context() is renewed


def test_exposed_key_is_refused(authority, node):
    authority.files.key("server").chmod(0o644)
    with pytest.raises(AuthorityError, match="chmod 600"):
        server_context(authority.files.server_identities, authority.node_ca)
    node[1].chmod(0o604)
    with pytest.raises(AuthorityError, match="chmod 600"):
        client_context(node, authority.files.trust)


def test_encrypted_key_is_an_error_and_asks_nobody(authority, node):
    key = make("x").key
    node[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(AuthorityError, match="not a certificate and its key"):
        client_context(node, authority.files.trust)


def test_key_of_another_certificate_is_refused(authority, node):
    with pytest.raises(AuthorityError, match="not a certificate and its key"):
        server_context([(authority.files.certificate("server"), node[1])], authority.node_ca)


def test_unreadable_pinned_certificate_is_refused(authority):
    with pytest.raises(AuthorityError, match="pinned"):
        server_context(authority.files.server_identities, authority.node_ca, [b"\x30\x03abc"])


def test_missing_anchor_file_is_refused(authority, tmp_path):
    with pytest.raises(AuthorityError, match="nothing"):
        client_context(None, tmp_path / "nothing.pem")
