"""Type 4: what an accepted assertion makes of a person, and what is answered."""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from lxml import etree

from auth.credential import SamlAssertion, Secret, Username
from auth.errors import AuthenticationFailed, ProviderMisconfigured, ProviderUnavailable
from auth.identity.chain import NOT_MINE
from auth.identity.saml import Saml, default_audience
from auth.identity.saml.attributes import ROLE, SUBJECT_ID
from auth.identity.saml.document import MAX_BYTES
from tests.simulators.presented import PresentedInMemory
from tests.simulators.records import MemoryUsers, node_identity, user_record
from tests.simulators.saml_documents import (
    AUDIENCE,
    GOOD,
    RADIOLOGIST,
    Desk,
    changed,
    config,
    good,
    handmade,
    issuer,
    moment,
    unsigned,
)


def test_xua_attributes_become_the_principals():
    person = Desk().verify(good()).principal
    assert person.name == "alice@hospital"
    assert person.roles == {"radiologist"}
    assert person.attributes == {
        "display_name": "Alice Ärztin",
        "organization": "Hospital",
        "purpose_of_use": "TREATMENT",
    }


def test_session_of_the_issuer_ends_the_session_here():
    assert Desk().verify(good()).valid_until == moment() + timedelta(hours=8)
    assert Desk().verify(good(wishes=replace(GOOD, session_ends=None))).valid_until is None


def test_first_of_several_sessions_to_end_counts():
    statement = unsigned().decode()
    statement = statement[statement.index("<saml:AuthnStatement") : statement.index("</saml:AuthnStatement>") + 22]
    hour = (moment() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S.500Z")
    begin, _, rest = statement.partition(' SessionNotOnOrAfter="')
    sooner = f'{begin} SessionNotOnOrAfter="{hour}"{rest.partition(chr(34))[2]}'
    data = handmade(unsigned().replace(statement.encode(), (statement + sooner).encode()))
    assert Desk().verify(data).valid_until == moment() + timedelta(hours=1, milliseconds=500)


def test_role_that_nobody_mapped_grants_nothing():
    assert Desk(roles={}).verify(good()).principal.roles == frozenset()
    others = replace(GOOD, roles=("999", "administrator", "radiologist"))
    assert Desk().verify(good(wishes=others)).principal.roles == frozenset()


@pytest.mark.parametrize("key", [RADIOLOGIST, f"2.16.840.1.113883.6.96|{RADIOLOGIST}"])
def test_role_is_mapped_by_its_code_or_by_system_and_code(key):
    assert Desk(roles={key: "researcher"}).verify(good()).principal.roles == {"researcher"}


def test_code_of_another_system_is_another_role():
    data = changed('codeSystem="2.16.840.1.113883.6.96"', 'codeSystem="1.2.3"')
    desk = Desk(roles={f"2.16.840.1.113883.6.96|{RADIOLOGIST}": "radiologist"})
    assert desk.verify(data).principal.roles == frozenset()


def test_roles_are_gathered_over_values_and_repeated_attributes():
    wishes = replace(GOOD, roles=(RADIOLOGIST, "2"))
    text = f'<saml:Attribute Name="{ROLE}"><saml:AttributeValue> reader\n</saml:AttributeValue></saml:Attribute>'
    data = changed("</saml:AttributeStatement>", f"{text}</saml:AttributeStatement>", wishes=wishes)
    roles = {RADIOLOGIST: "radiologist", "2": "researcher", "reader": "physician"}
    assert Desk(roles=roles).verify(data).principal.roles == {"radiologist", "researcher", "physician"}


def test_role_attribute_of_another_name():
    wishes = replace(GOOD, attributes={"groups": "doctors"})
    desk = Desk(role_attribute="groups", roles={"doctors": "radiologist"})
    assert desk.verify(good(wishes=wishes)).principal.roles == {"radiologist"}


def test_mapped_attribute_reaches_policy_and_takes_the_place_of_the_usual_one():
    wishes = replace(GOOD, attributes={"urn:npi": "Meyer^Anna", "cn": "Anna M."})
    desk = Desk(attributes={"urn:npi": "physician_name", "cn": "display_name"})
    attributes = desk.verify(good(wishes=wishes)).principal.attributes
    assert (attributes["physician_name"], attributes["display_name"]) == ("Meyer^Anna", "Anna M.")


def test_empty_attribute_says_nothing():
    data = changed("Alice Ärztin", "  ")
    assert "display_name" not in Desk().verify(data).principal.attributes


def test_subject_from_an_attribute():
    wishes = replace(GOOD, attributes={"uid": "a17"})
    assert Desk(subject="uid").verify(good(wishes=wishes)).principal.name == "a17@hospital"


def test_subject_attribute_that_is_missing_or_has_two_values_names_nobody():
    with pytest.raises(AuthenticationFailed, match="does not say who"):
        Desk(subject="uid").verify(good())
    twice = "Alice Ärztin</saml:AttributeValue><saml:AttributeValue>Root"
    with pytest.raises(AuthenticationFailed, match="does not say who"):
        Desk(subject=SUBJECT_ID).verify(changed("Alice Ärztin", twice))


def test_local_record_adds_roles_and_shuts_out():
    desk = Desk(user_record("alice@hospital", ("researcher",)))
    assert desk.verify(good()).principal.roles == {"radiologist", "researcher"}
    with pytest.raises(AuthenticationFailed, match="the user is disabled"):
        Desk(user_record("alice@hospital", enabled=False)).verify(good())


def test_person_of_a_running_association_is_what_their_record_now_allows():
    desk = Desk(user_record("alice@hospital", ("researcher",)))
    person = desk.verify(good()).principal
    assert desk.provider.still(person).roles == {"radiologist", "researcher"}
    desk.users.users["alice@hospital"] = user_record("alice@hospital")
    assert desk.provider.still(person).roles == {"radiologist"}
    desk.users.users["alice@hospital"] = user_record("alice@hospital", enabled=False)
    assert desk.provider.still(person) is None


def test_answer_is_a_saml_response_that_says_success_and_nothing_of_the_callers():
    answer = Desk().verify(good()).server_response
    root = etree.fromstring(answer)
    assert root.tag == "{urn:oasis:names:tc:SAML:2.0:protocol}Response" and root.get("Version") == "2.0"
    assert [element.tag.rpartition("}")[2] for element in root.iter()] == ["Response", "Issuer", "Status", "StatusCode"]
    assert root[0].text == AUDIENCE
    assert root[1][0].get("Value") == "urn:oasis:names:tc:SAML:2.0:status:Success"
    assert not any(word in answer for word in (b"alice", b"Assertion ", issuer().issuer.encode(), b"InResponseTo"))


def test_each_answer_has_an_identifier_of_its_own():
    desk = Desk()
    assert desk.verify(good()).server_response != desk.verify(good()).server_response


def test_other_credentials_are_not_ours():
    desk = Desk()
    assert desk.provider.verify(Username("alice"), desk.node) is NOT_MINE


def test_recipient_is_not_asked_for_where_the_settings_name_none():
    """XUA assertions need not carry one."""
    wishes = replace(GOOD, recipient="https://elsewhere.example")
    assert Desk(recipient="").verify(good(wishes=wishes)).principal.name == "alice@hospital"
    begin, _, rest = unsigned().partition(b"<saml:SubjectConfirmationData")
    without_data = handmade(begin + rest.partition(b"/>")[2])
    assert Desk(recipient="").verify(without_data).principal.name == "alice@hospital"


def test_one_good_confirmation_among_others_is_enough():
    other = '<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"/>'
    data = changed("<saml:SubjectConfirmation ", f"{other}<saml:SubjectConfirmation ")
    assert Desk().verify(data).principal.name == "alice@hospital"


def test_assertion_of_exactly_the_greatest_size_is_taken():
    filler = "<saml:Advice>{}</saml:Advice>"
    room = MAX_BYTES - len(changed("<saml:AuthnStatement", f"{filler.format('')}<saml:AuthnStatement"))
    texts = [16_000] * (room // 16_007) + [room % 16_007 - 7]
    advice = "".join(f"<a>{'x' * length}</a>" for length in texts)
    data = changed("<saml:AuthnStatement", f"{filler.format(advice)}<saml:AuthnStatement")
    assert len(data) == MAX_BYTES
    assert Desk().verify(data).principal.name == "alice@hospital"
    with pytest.raises(AuthenticationFailed, match="larger than"):
        Desk().verify(data + b"\n")


def test_byte_order_mark_and_declaration_are_taken():
    data = b'\xef\xbb\xbf<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n' + good() + b"\n"
    assert Desk().verify(data).principal.name == "alice@hospital"


def test_many_threads_verify_at_once():
    desk, documents = Desk(), [good(f"person{number}") for number in range(8)] * 8
    with ThreadPoolExecutor(8) as threads:
        names = list(threads.map(lambda data: desk.verify(data).principal.name, documents))
    assert names == [f"person{number}@hospital" for number in range(8)] * 8


def test_record_of_presented_tokens_that_fails_refuses():
    class Broken:
        def present(self, *_, **__):
            raise OSError("disk")

    with pytest.raises(ProviderUnavailable, match="what was presented before cannot be found out"):
        Desk(presented=Broken()).verify(good())


def test_assertion_never_reaches_the_log(caplog):
    with caplog.at_level(logging.DEBUG):
        Desk().verify(good())
    assert not any("alice" in record.getMessage() for record in caplog.records)


def test_audience_of_a_title_is_a_uri():
    assert default_audience("STRONGROOM") == "urn:dicom:ae:STRONGROOM"
    assert default_audience("MY AE/2") == "urn:dicom:ae:MY%20AE%2F2"


@pytest.mark.parametrize(
    "changes",
    [
        {"realm": "a@b"},
        {"realm": ""},
        {"realm": "a\n"},
        {"issuer": ""},
        {"audience": ""},
        {"subject": ""},
        {"clock_skew": timedelta(minutes=11)},
        {"clock_skew": timedelta(seconds=-1)},
        {"longest_lifetime": timedelta(0)},
        {"roles": {"x": "No Role"}},
    ],
)
def test_settings_that_would_weaken_or_confuse_are_refused(changes):
    with pytest.raises(ProviderMisconfigured):
        config(**changes)


def test_real_clock_is_the_usual_one():
    provider = Saml(config(), MemoryUsers(), PresentedInMemory())
    data = issuer().assertion("alice", GOOD)
    assert provider.verify(SamlAssertion(Secret(data)), node_identity()).principal.name == "alice@hospital"
