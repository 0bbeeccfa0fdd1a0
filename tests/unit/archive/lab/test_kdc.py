"""The throw-away realm: it serves its own folder's people, and leaves nothing running."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.lab import system
from archive.lab.kdc import LabKdc
from archive.lab.kerberos_client import KerberosClientError
from tests.simulators.kerberos_clients import demand_kerberos


@pytest.fixture
def kdc(tmp_path: Path) -> Iterator[LabKdc]:
    demand_kerberos()
    running = LabKdc(tmp_path / "realm")
    running.start()
    running.add_principal("alice", "right")
    running.keytab("dicom@localhost")
    yield running
    running.stop()


def test_a_person_gets_a_ticket_by_their_passcode_alone(kdc: LabKdc) -> None:
    assert kdc.ticket("alice", "right", "dicom@localhost").present().ap_req[0] == 0x6E
    with pytest.raises(KerberosClientError, match="Decrypt integrity check failed"):
        kdc.ticket("alice", "wrong", "dicom@localhost")
    with pytest.raises(KerberosClientError, match="not found"):
        kdc.ticket("bob", "right", "dicom@localhost")


def test_each_presentation_of_a_ticket_is_another_one(kdc: LabKdc) -> None:
    ticket = kdc.ticket("alice", "right", "dicom@localhost")
    assert ticket.present().ap_req != ticket.present().ap_req


def test_a_principal_is_made_once(kdc: LabKdc) -> None:
    with pytest.raises(RuntimeError, match="already exists"):
        kdc.add_principal("alice", "other")


def test_nothing_answers_after_stop(kdc: LabKdc) -> None:
    kdc.stop()
    kdc.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", kdc.port), timeout=1)
    with pytest.raises(KerberosClientError, match="Cannot contact any KDC"):
        kdc.ticket("alice", "right", "dicom@localhost")


def test_everything_lies_in_the_folder_for_its_owner_alone(kdc: LabKdc) -> None:
    assert kdc.folder.stat().st_mode & 0o077 == 0
    assert {"principal", "stash", "krb5.conf", "dicom-localhost.keytab"} <= {path.name for path in kdc.folder.iterdir()}


def test_a_missing_program_is_named_with_the_package_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(system, "_SYSTEM_FOLDERS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="krb5kdc is not installed: it comes with the Debian package krb5-kdc"):
        LabKdc(tmp_path / "realm").start()
