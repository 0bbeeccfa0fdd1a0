"""What a section [[audit]] may say."""

import dataclasses
import re
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from archive.audit.forward.target import AuditTarget, targets_of
from archive.errors import SettingsInvalid
from archive.home import Home
from archive.settings import parse_settings


def targets(text, tmp_path):
    return targets_of(parse_settings(text), Home.at(tmp_path))


def test_syslog_over_tls_is_the_transport_unless_another_is_named(tmp_path):
    (target,) = targets('[[audit]]\nname = "arr"\nhost = "arr.example"\nca = "arr.pem"', tmp_path)
    assert (target.transport, target.address, target.ca) == ("tls", ("arr.example", 6514), tmp_path / "arr.pem")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('transport = "udp"', "transport must be one of tls, udp-insecure, fhir"),
        ('name = "../x"', "name must be"),
        ('host = "a b"', "host must be"),
        ("port = 70000", "port must be"),
        ('certificate = "a.pem"', "certificate and key go together"),
        ('fingerprint = "AB:CD"', "fingerprint must be"),
        ('message_id = "x"', "message_id must be"),
        ("datagram_bytes = 100", "datagram_bytes must be"),
        ("deadline_seconds = 0", "deadline_seconds must be"),
        ('path = "fhir"', "path must begin"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name(tmp_path, line, words):
    lines = {"name": 'name = "arr"', "host": 'host = "h"', "ca": 'ca = "ca.pem"'}
    lines[line.split(" ")[0]] = line
    with pytest.raises(SettingsInvalid, match=words):
        targets("[[audit]]\n" + "\n".join(lines.values()), tmp_path)


def test_without_an_authority_only_the_insecure_transport_is_possible(tmp_path):
    with pytest.raises(SettingsInvalid, match="ca must name"):
        targets('[[audit]]\nname = "arr"\nhost = "h"', tmp_path)
    assert targets('[[audit]]\nname = "arr"\nhost = "h"\ntransport = "udp-insecure"', tmp_path)[0].address == ("h", 514)


def test_two_targets_of_one_name_are_refused(tmp_path):
    section = '[[audit]]\nname = "arr"\nhost = "h"\nca = "ca.pem"\n'
    with pytest.raises(SettingsInvalid, match="two sections"):
        targets(section * 2, tmp_path)


def test_the_shipped_settings_name_every_key_and_say_the_defaults(tmp_path):
    shipped = (Path(__file__).resolve().parents[5] / "config" / "strongroom.toml").read_text()
    section = re.search(r"^#\[\[audit\]\]\n(?:#.*\n)+", shipped, re.MULTILINE)
    assert section is not None
    text = "\n".join(line[1:] for line in section[0].splitlines() if not line.startswith("# "))
    (target,) = targets(text, tmp_path)
    keys = {key.removesuffix("_seconds") for key in tomllib.loads(text)["audit"][0]}
    assert keys == {field.name for field in dataclasses.fields(AuditTarget)}
    for field in dataclasses.fields(AuditTarget):
        if field.default not in (dataclasses.MISSING, None):
            assert getattr(target, field.name) == field.default, field.name
    assert target.confirm == timedelta(seconds=10)
