"""The conformance statement: complete, true of what the server negotiates and answers, and silent about who is who."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import UID_dictionary

from archive.conformance.services import accepted, refusals, service_of
from archive.conformance.statement import statement
from archive.dimse.contexts import ContextNegotiation
from archive.dimse.sop_classes import MESSAGES, STORAGE
from archive.dimse.status import Service
from archive.settings import DeletionSettings, IdentitySettings, ListenSettings, Settings, StorageSettings
from archive.upper_layer.limits import Limits
from archive.upper_layer.negotiation import ProposedContext
from storage.index.columns import ATTRIBUTES
from storage.transfer_syntax import supported

DOCUMENT = Path(__file__).parents[2] / "docs" / "conformance-statement.md"
TEXT = statement(Settings())
HARDCOPY = "1.2.840.10008.5.1.1.29"


def test_the_copy_in_docs_is_what_the_verb_prints():
    assert DOCUMENT.read_text() == TEXT, (
        "write it anew: strongroom conformance --home HOME >docs/conformance-statement.md"
    )


def test_every_sop_class_that_is_accepted_is_listed_and_no_other():
    listed = set(re.findall(r"\| ([0-9.]+) \|$", TEXT, re.MULTILINE)) - supported()
    every = {uid for uid, (_, kind, *_) in UID_dictionary.items() if kind.endswith("SOP Class")}
    taken = {
        uid
        for uid in every | STORAGE | MESSAGES
        if ContextNegotiation().result(ProposedContext(1, uid, tuple(sorted(supported())))).result == 0
    }
    assert listed & (every | taken) == taken == set(accepted())
    assert {service_of(uid) for uid in taken} == {"Storage", "Storage Commitment", "Verification", "Query/Retrieve"}


@pytest.mark.parametrize("service", Service)
def test_every_status_of_a_service_is_listed_with_its_meaning(service):
    part = TEXT.split(f"**{service.value}**", 1)[1].split("**", 1)[0]
    for status, comments in refusals(service).items():
        assert any(
            f"| {status:04X} |" in line and all(comment in line for comment in comments) for line in part.split("\n")
        )


def test_every_attribute_with_a_column_is_listed():
    assert all(
        f"| {one.keyword} | ({one.tag >> 16:04X},{one.tag & 0xFFFF:04X}) | {one.vr} |" in TEXT for one in ATTRIBUTES
    )


def test_sections_are_those_of_ps3_2():
    headings = re.findall(r"^## \d (.*)$", TEXT, re.MULTILINE)
    assert headings == [
        "Overview",
        "Introduction",
        "Networking",
        "Media interchange",
        "Character sets",
        "Security",
        "Annexes",
    ]


def test_what_is_configured_is_what_is_stated():
    changed = replace(
        Settings(),
        listen=ListenSettings(host="pacs.hospital.example", port=11113, plain="insecure", plain_port=104),
        limits=Limits(pdu_bytes=16384, associations=7),
        identity=IdentitySettings(types=(2, 4)),
        deletion=DeletionSettings(quality_notes="show"),
    )
    text = statement(changed)
    for words in (
        "port 11113",
        "port 104, INSECURE",
        "| 16384 bytes |",
        "| Associations at one time | 7 |",
        "setting: show",
    ):
        assert words in text, words
    assert "| 2 | user name and passcode |" in text and "Kerberos" not in text


def test_sop_classes_that_an_operator_named_are_stated():
    text = statement(replace(Settings(), storage=StorageSettings(sop_classes=("1.2.826.0.1.77", HARDCOPY))))
    assert "| 1.2.826.0.1.77 | 1.2.826.0.1.77 |" in text and f"| {HARDCOPY} |" in text and HARDCOPY not in TEXT


def test_no_host_and_no_ae_title_is_told():
    told = statement(replace(Settings(), listen=ListenSettings(host="pacs.hospital.example")))
    assert "hospital" not in told and "STRONGROOM |" not in told and "127.0.0.1" not in told
