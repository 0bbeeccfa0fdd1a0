"""TLS as PS3.15 B.12 profiles it (BCP 195: RFC 8996 and 9325), on both ends. Who the peer is, `auth.node.peer` says.

TLS 1.2 and 1.3, ephemeral key exchange and AEAD only; both sides send a certificate; no compression, no renegotiation,
no tickets and no resumption: every connection proves the key anew.
"""

import ssl
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from auth.errors import AuthorityError
from auth.node.pem import refuse_exposed
from auth.ports import NodeStore

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2"
"""TLS 1.2 suites: those of PS3.15 B.12, and of B.10 the ECDHE half. Level 2: RSA of 2048 bits, SHA-256, at least."""

Identity = tuple[Path, Path]
"""A certificate with its chain (PEM), and its key (PEM, 0600, no passphrase)."""


def server_context(
    identities: Sequence[Identity], node_ca: x509.Certificate, anchors: Iterable[bytes] = ()
) -> ssl.SSLContext:
    """The context of our listeners: sends leaf and node CA, and demands a certificate.

    Trusted are the node CA itself (partial chain: nothing else under its root is), each pinned certificate, and the
    facility's authorities.

    Args:
        identities: ours, at most one of each key type; the peer's offer chooses.
        node_ca: issuer of our nodes.
        anchors: DER of pinned certificates and of the facility's authorities.

    Raises:
        AuthorityError: a file is missing, exposed or does not fit its key, or a pinned certificate cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _profile(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_SINGLE_ECDH_USE
    context.num_tickets = 0
    _load(context, identities)
    try:
        context.load_verify_locations(cadata=node_ca.public_bytes(Encoding.DER) + b"".join(anchors))
    except ssl.SSLError as error:
        raise AuthorityError("the node CA's, a pinned or a facility's certificate cannot be read") from error
    return context


def client_context(identity: Identity | None, trust: Path, *, check_hostname: bool = True) -> ssl.SSLContext:
    """The context of a connection that we open: to a node, or as a node.

    Args:
        identity: what we send when asked; None: nothing.
        trust: PEM of the authorities that may vouch for the server.
        check_hostname: compare the server's name with its subjectAltName (RFC 9525). DICOM does not ask for it.

    Raises:
        AuthorityError: a file is missing, exposed or does not fit its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _profile(context)
    context.check_hostname = check_hostname
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if identity is not None:
        _load(context, [identity])
    try:
        context.load_verify_locations(cafile=trust)
    except (ssl.SSLError, OSError) as error:
        raise AuthorityError(f"{trust} holds no readable certificates") from error
    return context


def destination_context(identities: Sequence[Identity]) -> ssl.SSLContext:
    """The context of a connection that we open to a registered node, as ourselves.

    The handshake proves that the peer has the key of the certificate that it sends, and nothing else: whose that is,
    `auth.node.peer.NodeVerifier` says before a byte of ours follows, by the same steps as when the node calls us. A
    chain would prove less, for every node of ours has a certificate by the same CA, and none of them one for servers.

    Raises:
        AuthorityError: a file of ours is missing, exposed or does not fit its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _profile(context)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _load(context, identities)
    return context


class ServerTls:
    """The listeners' context, made anew when pinned nodes come or go, or when `reload` is asked for. Thread-safe."""

    def __init__(
        self,
        identities: Sequence[Identity],
        node_ca: x509.Certificate,
        store: NodeStore,
        facility: tuple[bytes, ...] = (),
    ) -> None:
        """Make the first context, so that what is wrong with the files is known before anything listens.

        Args:
            identities: ours.
            node_ca: issuer of our nodes.
            store: where pinned certificates are.
            facility: DER of the facility's authorities.

        Raises:
            AuthorityError: as `server_context`.
        """
        self._identities = tuple(identities)
        self._node_ca = node_ca
        self._store = store
        self._lock = threading.Lock()
        self._facility = facility
        self._pinned = store.pinned_certificates()
        self._context = server_context(self._identities, node_ca, (*self._pinned, *facility))

    def context(self) -> ssl.SSLContext:
        """The context for the next connection.

        Raises:
            AuthorityError: nodes have changed and the new context could not be made; no connection is taken.
        """
        pinned = self._store.pinned_certificates()
        if pinned != self._pinned:
            self._renew(pinned, self._facility)
        return self._context

    def reload(self, facility: tuple[bytes, ...] = ()) -> None:
        """Read our certificates and keys again; if they are not usable, the previous context stays.

        Raises:
            AuthorityError: as `server_context`.
        """
        self._renew(self._store.pinned_certificates(), facility)

    def _renew(self, pinned: tuple[bytes, ...], facility: tuple[bytes, ...]) -> None:
        with self._lock:
            self._context = server_context(self._identities, self._node_ca, (*pinned, *facility))
            self._pinned, self._facility = pinned, facility


def _profile(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET


def _load(context: ssl.SSLContext, identities: Iterable[Identity]) -> None:
    for certificate, key in identities:
        refuse_exposed(key)
        try:
            # A passphrase is never asked for on the terminal: an encrypted key is an error.
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise AuthorityError(f"{certificate} and {key} are not a certificate and its key") from error


def _no_passphrase() -> bytes:
    raise ValueError("the key is encrypted")
