"""Certificates that change while the archive serves: renewed, revoked, replaced; who notices, and who does not."""

import json
import shutil
import signal
import socket
import ssl
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.simulators.certificates import make, revoking
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import Aborted, client_tls

SOON = 30.0


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    archive = RunningArchive(tmp_path_factory.mktemp("archive")).init()
    settings = archive.home / "strongroom.toml"
    settings.write_text(settings.read_text().replace("reload_seconds = 5.0", "reload_seconds = 1"))
    with archive.serving():
        archive.enrol("CT1", "modality")
        yield archive


def presented(archive):
    """The certificate that the server shows now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", archive.port), 20) as raw,
        context.wrap_socket(raw) as peer,
    ):
        return peer.getpeercert(binary_form=True)


def until(holds, what):
    deadline = time.monotonic() + SOON
    while not holds():
        assert time.monotonic() < deadline, f"{what}\n"
        time.sleep(0.1)


def ends(requestor):
    """Wait until the archive ends the association; whether it said so."""
    requestor._socket.settimeout(SOON)
    try:
        requestor.receive()
    except Aborted as aborted:
        return "PDU type 7" in str(aborted)
    raise AssertionError("a message")


def admitted(archive, title, **options):
    with archive.requestor(title, **options) as requestor:
        return requestor.echo() == 0


def refused(archive, title):
    try:
        admitted(archive, title)
    except Exception:
        return True
    return False


def metric(archive, name):
    return archive.counted().get(name, 0)


def test_a_renewed_server_certificate_is_shown_to_the_next_and_loses_nobody(archive):
    before = presented(archive)
    with archive.requestor("CT1") as modality:
        assert modality.echo() == 0
        archive.must("cert", "renew", "--server")
        until(lambda: presented(archive) != before, "the new certificate")
        assert modality.echo() == 0
    assert admitted(archive, "CT1")
    after = x509.load_der_x509_certificate(presented(archive))
    assert after.serial_number != x509.load_der_x509_certificate(before).serial_number
    assert after.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_sighup_reads_them_again_and_what_cannot_be_used_changes_nothing(archive):
    file = archive.home / "pki" / "server.pem"
    good, shown = file.read_bytes(), presented(archive)
    failed = metric(archive, 'strongroom_tls_reloads_total{result="failed"}')
    file.write_bytes(b"nonsense")
    archive.process.send_signal(signal.SIGHUP)
    until(lambda: metric(archive, 'strongroom_tls_reloads_total{result="failed"}') > failed, "it failed")
    assert presented(archive) == shown
    assert admitted(archive, "CT1")
    file.write_bytes(good)
    archive.process.send_signal(signal.SIGHUP)
    assert admitted(archive, "CT1")


def test_the_live_association_of_a_removed_node_ends_and_no_other(archive):
    archive.node("GONE", "modality")
    with archive.requestor("CT1") as other, archive.requestor("GONE") as gone:
        assert (gone.echo(), other.echo()) == (0, 0)
        archive.must("node", "remove", "GONE")
        assert ends(gone)
        assert other.echo() == 0
    reasons = [record["facts"].get("reason", "") for record in archive.trail() if record["kind"] == "node-refused"]
    assert sum("GONE is no longer registered" in reason for reason in reasons) == 1


def test_the_live_association_of_a_revoked_certificate_ends_and_it_is_not_let_in_again(archive):
    archive.node("STOLEN", "modality")
    with archive.requestor("STOLEN") as thief:
        assert thief.echo() == 0
        archive.must("cert", "revoke", "STOLEN", "--why", "the laptop is gone")
        assert ends(thief)
    assert refused(archive, "STOLEN")
    rows = {row["name"]: row for row in json.loads(archive.must("cert", "list", "--json"))}
    assert (rows["STOLEN"]["state"], rows["STOLEN"]["why"]) == ("revoked", "the laptop is gone")
    crl = x509.load_pem_x509_crl((archive.home / "pki" / "node-ca.crl").read_bytes())
    assert crl.get_revoked_certificate_by_serial_number(int(rows["STOLEN"]["serial"], 16)) is not None
    assert archive.strongroom("cert", "revoke", "STOLEN", "--why", "again").returncode == 2
    # Another certificate, and the node is back.
    archive.must("cert", "renew", "STOLEN", "--out", str(archive.folder / "nodes" / "BACK"))
    thiefs, back = archive.folder / "nodes" / "STOLEN", archive.folder / "nodes" / "BACK"
    shutil.rmtree(thiefs)
    back.rename(thiefs)
    assert admitted(archive, "STOLEN")


def test_a_renewed_node_has_both_certificates_until_the_overlap_is_over(archive):
    former = archive.node("CT2", "modality")
    made = json.loads(archive.must("cert", "renew", "CT2", "--out", str(archive.folder / "nodes" / "NEW"), "--json"))
    assert made["former_until"] is not None
    assert admitted(archive, "CT2")
    with new_requestor(archive, "CT2", "NEW") as renewed:
        assert renewed.echo() == 0
    archive.must("cert", "renew", "CT2", "--out", str(archive.folder / "nodes" / "NEWER"), "--overlap-days", "0")
    with new_requestor(archive, "CT2", "NEWER") as newest:
        assert newest.echo() == 0
    with pytest.raises(Exception, match="A-ASSOCIATE-RJ"), new_requestor(archive, "CT2", "NEW"):
        pass
    assert former.is_dir()


def new_requestor(archive, title, folder):
    requestor = archive.requestor("CT1")
    requestor.calling, requestor.tls = title, client_tls(archive.folder / "nodes" / folder)
    return requestor


def test_one_more_certificate_leaves_the_others_good_and_one_can_be_revoked_alone(archive):
    archive.node("CT3", "modality")
    archive.must("cert", "issue", "CT3", "--out", str(archive.folder / "nodes" / "SECOND"))
    rows = [row for row in archive.ask("cert.list") if row["name"] == "CT3"]
    assert [row["state"] for row in rows] == ["good", "good"]
    archive.must("cert", "revoke", rows[1]["fingerprint"], "--why", "replaced")
    assert refused(archive, "CT3")
    with new_requestor(archive, "CT3", "SECOND") as second:
        assert second.echo() == 0


def test_a_list_of_revoked_certificates_that_appears_ends_who_is_on_it(archive):
    issuer = make("somebody's CA", ca=True, usages=[])
    pinned = make("PIN", issuer=issuer)
    folder = archive.folder / "nodes" / "PIN"
    certificate, key = pinned.write(folder, "pinned")
    archive.must("node", "add", "PIN", "--certificate", str(certificate), "--role", "modality")
    shutil.copy(archive.folder / "nodes" / "CT1" / "ca.pem", folder / "ca.pem")
    certificate.rename(folder / "cert.pem")
    key.rename(folder / "key.pem")
    lists = archive.home / "revoked"
    lists.mkdir()
    with archive.requestor("PIN") as peer:
        assert peer.echo() == 0
        (lists / "issuer.pem").write_bytes(issuer.certificate.public_bytes(serialization.Encoding.PEM))
        (lists / "issuer.crl.new").write_bytes(revoking(issuer, pinned))
        (lists / "issuer.crl.new").rename(lists / "issuer.crl")
        assert ends(peer)
    assert refused(archive, "PIN")
    assert admitted(archive, "CT1")
    shutil.rmtree(lists)
    until(lambda: not refused(archive, "PIN"), "the list is gone")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["renew"], "renew either"),
        (["revoke", "NOBODY", "--why", "x"], "no node of that name"),
        (["issue", "PIN", "--out", "x"], "not issued here"),
    ],
)
def test_what_cannot_be_done_is_said_and_not_done(archive, arguments, words, tmp_path):
    arguments = [str(tmp_path / "out") if word == "x" and "--why" not in arguments else word for word in arguments]
    done = archive.strongroom("cert", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def reloaded(archive, times, workers=3):
    """Associations that failed while everything was read again so often, and how many did not."""
    over, failed, good = threading.Event(), [], []

    def work():
        while not over.is_set():
            try:
                with archive.requestor("CT1") as modality:
                    good.extend(modality.echo() for _ in range(3))
            except Exception as error:
                failed.append(repr(error))

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    before = metric(archive, 'strongroom_tls_reloads_total{result="good"}')
    try:
        for number in range(times):
            archive.process.send_signal(signal.SIGHUP)
            until(
                lambda number=number: metric(archive, 'strongroom_tls_reloads_total{result="good"}') > before + number,
                "reloaded",
            )
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not any(good)
    return failed, len(good)


def test_reloads_under_load_fail_nobody(archive):
    failed, good = reloaded(archive, 10)
    assert not failed and good


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_hundred_reloads_under_load_fail_nobody(archive):
    failed, good = reloaded(archive, 100)
    print(f"100 reloads, {good} echoes, {len(failed)} failed")
    assert not failed and good
