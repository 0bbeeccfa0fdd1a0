"""rsyslog reports to our repository over mutual TLS: what it forwards is kept octet by octet."""

import contextlib
import shutil
import socket
import subprocess
import time

import pytest

from archive.audit import events
from archive.audit.events import Actor, StudyTouched
from tests.simulators.audit_sender import RunningRepository, material_in, syslog, xml_of
from tests.simulators.running_archive import free_port

RSYSLOGD = shutil.which("rsyslogd") or "/usr/sbin/rsyslogd"
CONFIGURATION = """
global(workDirectory="{folder}" maxMessageSize="64k" parser.escapeControlCharactersOnReceive="off"
  defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{cert}" defaultNetstreamDriverKeyFile="{key}")
module(load="imudp")
template(name="asItCame" type="string" string="%rawmsg%")
ruleset(name="forward") {{
  action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" template="asItCame" TCP_Framing="octet-counted"
    StreamDriver="gtls" StreamDriverMode="1" StreamDriverAuthMode="x509/certvalid" action.resumeRetryCount="-1")
}}
input(type="imudp" address="127.0.0.1" port="{udp}" ruleset="forward")
"""


@contextlib.contextmanager
def rsyslog(folder, repository):
    folder.mkdir()
    (cert, key), udp = repository.material.sender, free_port()
    configuration = folder / "rsyslog.conf"
    configuration.write_text(
        CONFIGURATION.format(
            folder=folder, ca=repository.material.ca, cert=cert, key=key, port=repository.port, udp=udp
        )
    )
    command = [RSYSLOGD, "-n", "-f", str(configuration), "-i", str(folder / "pid")]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield udp
        finally:
            process.terminate()
            process.wait(20)


@pytest.mark.skipif(not shutil.which(RSYSLOGD), reason="needs rsyslogd: packages rsyslog and rsyslog-gnutls")
def test_what_rsyslog_forwards_is_kept_as_it_was_told(tmp_path):
    repository = RunningRepository(tmp_path / "kept", material_in(tmp_path / "material"))
    alice = Actor(person="alice", node="WS1", ae_title="WS1", address="10.0.0.2")
    study = StudyTouched("1.2.3", "P1", "Döe^Jane", "", {"1.2.840.10008.5.1.4.1.1.2": 3})
    message = syslog(xml_of(events.InstanceStored(alice, study=study, sop_instance_uid="1.2.3.4")))
    told = [message + b"<!-- %d -->\r\n\t<!-- -->" % number for number in range(20)]
    with repository.serving(), rsyslog(tmp_path / "rsyslog", repository) as port:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as reporter:
            deadline = time.monotonic() + 20
            while not repository.messages():
                # Until it listens; the first is told more than once, perhaps.
                reporter.sendto(told[0], ("127.0.0.1", port))
                time.sleep(0.3)
                assert time.monotonic() < deadline, (tmp_path / "rsyslog" / "log").read_text()
            for datagram in told[1:]:
                reporter.sendto(datagram, ("127.0.0.1", port))
        while told[-1] not in [kept.data for kept in repository.messages()]:
            time.sleep(0.1)
            assert time.monotonic() < deadline
    kept = repository.messages()
    assert list(dict.fromkeys(one.data for one in kept)) == told
    assert all(one.valid for one in kept)
