"""DCMTK with the files that ``node add --issue`` writes: it takes our server and our signer, and nobody else."""

import socket
import subprocess
import threading
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from auth.node.pem import read_certificates
from auth.node.tls import server_context
from tests.simulators.certificates import authority_in, make

# pynetdicom installs scripts of the same names in the virtual environment: DCMTK's are asked for by their place.
DCMTK = Path("/usr/bin")
REJECTED = bytes.fromhex("03000000000400010107")
"""A-ASSOCIATE-RJ, permanent, called AE title not recognized (PS3.8 9.3.4): read only by a peer inside TLS."""


def tool(name):
    path = DCMTK / name
    if not path.exists():
        pytest.skip(f"needs DCMTK's {name}: Debian package dcmtk, which scripts/test installs")
    return str(path)


@pytest.fixture
def authority(tmp_path):
    return authority_in(tmp_path / "pki")


@pytest.fixture
def node(authority, tmp_path):
    authority.issue_node("CT1").write(tmp_path / "ct1")
    return tmp_path / "ct1"


def run(*command):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, check=False)


class Rejecting:
    """A TLS listener that reads one A-ASSOCIATE-RQ and rejects it."""

    def __init__(self, context):
        self.context, self.error, self.request = context, None, b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.thread = threading.Thread(target=self.serve)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.thread.join()
        self.listener.close()

    @property
    def port(self):
        return self.listener.getsockname()[1]

    def serve(self):
        raw, _ = self.listener.accept()
        raw.settimeout(20)
        try:
            with self.context.wrap_socket(raw, server_side=True) as tls:
                self.request = tls.recv(65536)
                tls.sendall(REJECTED)
                tls.recv(1)
        except OSError as error:
            self.error = error
        finally:
            raw.close()


@pytest.mark.parametrize("profile", ["--profile-bcp195-nd", "--profile-bcp195", "--profile-bcp195-ex"])
def test_storescu_takes_our_server_with_the_issued_anchor_file_in_every_profile(authority, node, profile):
    context = server_context(authority.files.server_identities, authority.node_ca)
    with Rejecting(context) as server:
        sent = run(
            *(tool("storescu"), "+tls", node / "key.pem", node / "cert.pem", "+cf", node / "ca.pem", profile),
            *("-aet", "CT1", "-aec", "STRONGROOM", "127.0.0.1", server.port, get_testdata_file("CT_small.dcm")),
        )
    assert "Called AE Title Not Recognized" in sent.stderr + sent.stdout, sent.stderr
    assert server.request[0] == 1
    assert server.error is None


def test_echoscu_without_a_certificate_is_refused(authority, node):
    context = server_context(authority.files.server_identities, authority.node_ca)
    with Rejecting(context) as server:
        sent = run(tool("echoscu"), "+tla", "+cf", node / "ca.pem", "127.0.0.1", server.port)
    assert sent.returncode != 0
    assert "Called AE Title Not Recognized" not in sent.stderr + sent.stdout
    assert server.error is not None


def test_echoscu_refuses_a_server_of_another_authority(authority, node, tmp_path):
    stranger = make("stranger", usages=[])
    context = server_context([stranger.write(tmp_path, "stranger")], authority.node_ca)
    with Rejecting(context) as server:
        sent = run(
            *(tool("echoscu"), "+tls", node / "key.pem", node / "cert.pem", "+cf", node / "ca.pem"),
            *("127.0.0.1", server.port),
        )
    assert sent.returncode != 0
    assert server.request == b""


def sign(folder, certificate, key, *options):
    """A real CT, signed by dcmsign."""
    target = folder / "signed.dcm"
    done = run(tool("dcmsign"), "+s", key, certificate, *options, get_testdata_file("CT_small.dcm"), target)
    assert done.returncode == 0, done.stderr
    return target


def verify(path, trust):
    """Everything that dcmsign says about the signatures of a file."""
    done = run(tool("dcmsign"), "--verbose", "--require-sig", "--add-cert-file", trust, path)
    return done.stdout + done.stderr


def test_dcmsign_takes_the_archives_signer_under_the_issued_anchor_file(authority, node, tmp_path):
    files = authority.files
    path = sign(tmp_path, files.certificate("signer"), files.key("signer"), "--profile-base")
    assert "1 signatures verified in dataset, 0 corrupted" in verify(path, node / "ca.pem")


def test_dcmsign_calls_a_node_that_signs_an_unknown_signer_under_the_issued_anchor_file(node, tmp_path):
    path = sign(tmp_path, node / "cert.pem", node / "key.pem")
    assert "certificate verification failed" in verify(path, node / "ca.pem")


def test_anchor_file_holds_the_root_and_the_signing_ca_and_nothing_else(authority, node):
    assert read_certificates(node / "ca.pem") == [authority.root, authority.signing_ca]
