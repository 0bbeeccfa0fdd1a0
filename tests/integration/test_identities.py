"""All five user identity types at the DICOM port (PS3.7 D.3.3.7), each against what it is verified by in a hospital."""

import contextlib
import subprocess

import pytest

from archive.lab.saml_issuer import Wishes
from tests.simulators.identity_house import (
    AUDIENCE,
    DIRECTORY,
    JWT,
    KERBEROS,
    LOCAL,
    MISSING,
    SAML,
    SERVICE,
    IdentityHouse,
)
from tests.simulators.running_archive import PASSCODE
from tests.simulators.scu import IMPLICIT, STUDY_FIND, VERIFICATION, Refused, User, identifier

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"needs the packages {', '.join(MISSING)}"),
    pytest.mark.xdist_group("identities"),
]
NOT_AUTHORIZED = 0x0124
EVERY = [LOCAL, DIRECTORY, KERBEROS, SAML, JWT]
TYPES = {LOCAL: 2, DIRECTORY: 2, KERBEROS: 3, SAML: 4, JWT: 5}
KEYS = identifier("STUDY", {0x0020000D: ""})


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    made = IdentityHouse.build(tmp_path_factory.mktemp("house"))
    try:
        made.archive.node("WS1", "radiologist")
        made.archive.node("WS2", "radiologist")
        made.archive.node("OPEN", "radiologist", identity="optional")
        made.archive.node("ALONE", "radiologist", identity="none")
        with made.archive.serving():
            yield made
    finally:
        made.close()


def association(house, user, node="WS1", **options):
    contexts = [(VERIFICATION, [IMPLICIT]), (STUDY_FIND, [IMPLICIT])]
    return house.archive.requestor(node, user=user, contexts=contexts, **options)


def logins(house):
    return [one for one in house.archive.trail() if one["kind"] == "user-authenticated"]


@pytest.mark.parametrize("provider", EVERY)
def test_a_good_identity_is_a_person_who_is_named_in_the_audit(house, provider):
    with association(house, house.credentials()[provider]) as workstation:
        found, final = workstation.find(STUDY_FIND, KEYS)
        assert final.status == 0 and found == []
    told = logins(house)[-1]
    assert told["facts"]["actor"]["person"] == house.names()[provider]
    assert told["facts"]["identity_type"] == TYPES[provider] and told["facts"]["outcome"] == 0


def test_the_positive_response_is_what_the_standard_says_of_each_type(house):
    """PS3.7 D.3.3.7.2 and docs/decisions/identity-responses.md."""
    credentials = house.credentials()
    exchange = house.kdc.ticket("alice", PASSCODE, SERVICE).present()
    credentials[KERBEROS] = User(exchange.ap_req, identity_type=3)
    answer = {}
    for provider, user in credentials.items():
        with association(house, user) as workstation:
            answer[provider] = workstation.identity_response
    assert answer[LOCAL] == answer[DIRECTORY] == b""
    exchange.check_answer(answer[KERBEROS])
    assert b"Response" in answer[SAML] and b"Assertion" not in answer[SAML]
    for provider in (KERBEROS, SAML, JWT):
        assert credentials[provider].name not in answer[provider], "a credential was sent back"


def test_no_response_is_sent_where_none_was_asked_for(house):
    for user in house.credentials().values():
        quiet = User(user.name, user.passcode, user.identity_type, wants_response=False)
        with association(house, quiet) as workstation:
            assert workstation.identity_response is None


SPOILT = {
    "wrong passcode": (User(b"alice", b"wrong"), "wrong passcode"),
    "wrong passcode for the directory": (User(b"alice-ldap", b"wrong"), "passcode"),
    "unknown to all": (User(b"nobody", b"secret"), "nobody vouches"),
    "empty passcode": (User(b"alice-ldap", b""), "empty"),
    "no ticket": (User(b"\x60\x03abc", identity_type=3), ""),
    "no assertion": (User(b"<Assertion/>", identity_type=4), ""),
    "no token": (User(b"a.b.c", identity_type=5), ""),
    "bare name": (User(b"alice", identity_type=1), "not believed"),
    "type 6": (User(b"alice", identity_type=6), "type 6"),
}


@pytest.mark.parametrize("case", SPOILT)
@pytest.mark.parametrize("node", ["WS1", "OPEN"])
def test_a_bad_identity_is_refused_alike_and_told_once_with_its_reason(house, case, node):
    user, reason = SPOILT[case]
    before = len(logins(house))
    with pytest.raises(Refused) as refused, association(house, user, node):
        pass
    assert refused.value.numbers == (1, 2, 1)
    told = logins(house)[before:]
    assert len(told) == 1 and told[0]["facts"]["outcome"] == 4 and reason in told[0]["facts"]["reason"]


@pytest.mark.parametrize("case", SPOILT)
def test_where_identities_are_not_read_a_bad_one_changes_nothing(house, case):
    with association(house, SPOILT[case][0], "ALONE") as workstation:
        assert workstation.identity_response is None


def test_missing_identity_is_refused_where_required_and_runs_as_the_node_where_optional(house):
    with pytest.raises(Refused) as refused, association(house, None):
        pass
    assert refused.value.numbers == (1, 2, 1)
    with association(house, None, "OPEN") as workstation:
        assert workstation.identity_response is None


@pytest.mark.parametrize("provider", [KERBEROS, SAML, JWT])
def test_a_token_that_another_node_presents_is_refused_and_an_alert(house, provider):
    user = house.credentials()[provider]
    with association(house, user):
        pass
    with pytest.raises(Refused) as refused, association(house, user, "WS2"):
        pass
    assert refused.value.numbers == (1, 2, 1)
    alert = house.archive.trail()[-1]
    assert alert["kind"] == "security-alert" and alert["facts"]["actor"]["node"] == "WS2"


@pytest.mark.parametrize("provider", [SAML, JWT])
def test_a_bearer_token_is_good_again_at_the_node_that_presented_it_first(house, provider):
    user = house.credentials()[provider]
    for _ in range(2):
        with association(house, user) as workstation:
            assert workstation.find(STUDY_FIND, KEYS)[1].status == 0


def test_a_ticket_is_good_once(house):
    user = house.credentials()[KERBEROS]
    with association(house, user):
        pass
    with pytest.raises(Refused), association(house, user):
        pass


def test_removing_a_role_in_the_directory_ends_a_running_association_at_its_next_operation(house):
    house.directory.add_person("bob", PASSCODE, ["readers"])
    with association(house, User(b"bob", PASSCODE.encode())) as workstation:
        assert workstation.find(STUDY_FIND, KEYS)[1].status == 0
        house.directory.remove_from_group("bob", "readers")
        assert workstation.find(STUDY_FIND, KEYS)[1].status == NOT_AUTHORIZED


def test_deleting_an_account_in_the_directory_ends_a_running_association_at_its_next_operation(house):
    house.directory.add_person("carol", PASSCODE, ["readers"])
    with association(house, User(b"carol", PASSCODE.encode())) as workstation:
        assert workstation.find(STUDY_FIND, KEYS)[1].status == 0
        house.directory.remove_person("carol")
        assert workstation.find(STUDY_FIND, KEYS)[1].status == NOT_AUTHORIZED


@pytest.mark.parametrize("provider", [SAML, JWT])
def test_disabling_a_person_of_an_issuer_here_ends_a_running_association(house, provider):
    name = house.names()[provider]
    with association(house, house.credentials()[provider]) as workstation:
        assert workstation.find(STUDY_FIND, KEYS)[1].status == 0
        house.archive.must("user", "add", name)
        house.archive.must("user", "disable", name)
        assert workstation.find(STUDY_FIND, KEYS)[1].status == NOT_AUTHORIZED
    with pytest.raises(Refused), association(house, house.credentials()[provider]):
        pass
    house.archive.must("user", "remove", name)


def test_a_disabled_user_and_a_removed_node_may_do_nothing_more(house):
    house.archive.node("GONE", "radiologist")
    user = house.archive.person("dave", "radiologist")
    with association(house, user, "GONE") as workstation, association(house, user) as other:
        assert workstation.find(STUDY_FIND, KEYS)[1].status == 0
        house.archive.must("node", "remove", "GONE")
        assert workstation.find(STUDY_FIND, KEYS)[1].status == NOT_AUTHORIZED
        house.archive.must("user", "disable", "dave")
        assert other.find(STUDY_FIND, KEYS)[1].status == NOT_AUTHORIZED


def storescu_arguments(house, provider, folder):
    user = house.credentials()[provider]
    if provider in (LOCAL, DIRECTORY):
        return ["-usr", user.name.decode(), "-pwd", user.passcode.decode()]
    file = folder / "credential"
    file.write_bytes(user.name)
    return {KERBEROS: ["-kt", str(file)], SAML: ["--saml", str(file)], JWT: ["--jwt", str(file)]}[provider]


@pytest.mark.parametrize("provider", EVERY)
def test_dcmtk_signs_in_with_each_and_gets_its_positive_response(house, provider, tmp_path, ct_file):
    with contextlib.suppress(AssertionError):
        house.archive.node("CT1", "modality", identity="required")
    material = house.archive.folder / "nodes" / "CT1"
    command = ["/usr/bin/storescu", "-d", "-aet", "CT1", "-aec", "STRONGROOM", "-rsp"]
    command += storescu_arguments(house, provider, tmp_path)
    command += ["+tls", str(material / "key.pem"), str(material / "cert.pem"), "+cf", str(material / "ca.pem")]
    done = subprocess.run(
        [*command, "127.0.0.1", str(house.archive.port), str(ct_file)], capture_output=True, text=True, timeout=60
    )
    # The node may store and the person may read, and both have to be permitted: no context is left, and the answer to
    # the identity is what is tested.
    assert "User Identity Negotiation Response:" in done.stderr and "No Acceptable Presentation Contexts" in done.stderr
    assert "Server Response (not dumped) length" in done.stderr
    assert logins(house)[-1]["facts"]["actor"]["person"] == house.names()[provider]


def test_a_credential_of_nearly_the_largest_size_is_verified(house):
    filler = {f"urn:filler:{number}": "x" * 1000 for number in range(55)}
    assertion = house.saml.assertion("alice", Wishes(audience=AUDIENCE, roles=["reader"], attributes=filler))
    assert 60_000 < len(assertion) < 65_400
    with association(house, User(assertion, identity_type=4)) as workstation:
        assert workstation.find(STUDY_FIND, KEYS)[1].status == 0


def test_dcmtk_does_not_even_send_one_that_cannot_be(house, tmp_path, ct_file):
    """65,529 bytes are the most that a User Identity sub-item holds (PS3.7 Table D.3-14)."""
    material = house.archive.folder / "nodes" / "WS1"
    (tmp_path / "credential").write_bytes(b" " * 65_530)
    before = len(logins(house))
    tls = ["+tls", str(material / "key.pem"), str(material / "cert.pem"), "+cf", str(material / "ca.pem")]
    command = ["/usr/bin/storescu", "-aet", "WS1", "-aec", "STRONGROOM", "--saml", str(tmp_path / "credential"), *tls]
    done = subprocess.run(
        [*command, "127.0.0.1", str(house.archive.port), str(ct_file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0 and len(logins(house)) == before


@pytest.fixture(scope="module")
def ct_file():
    from pydicom.data import get_testdata_file

    return get_testdata_file("CT_small.dcm", download=False)


def test_a_kerberos_person_gets_their_roles_from_the_directory_that_is_named(tmp_path):
    house = IdentityHouse.build(tmp_path)
    try:
        settings = house.archive.home / "strongroom.toml"
        settings.write_text(
            settings.read_text().replace("\n[[kerberos]]\n", '\n[[kerberos]]\nroles_from = "hospital"\n')
        )
        house.kdc.add_principal("alice-ldap", PASSCODE)
        house.archive.node("WS1", "radiologist")
        ticket = house.kdc.ticket("alice-ldap", PASSCODE, SERVICE)
        with house.archive.serving():
            user = User(ticket.present().gss_token, identity_type=3)
            with association(house, user) as workstation:
                assert workstation.find(STUDY_FIND, KEYS)[1].status == 0
                house.directory.remove_from_group("alice-ldap", "readers")
                assert workstation.find(STUDY_FIND, KEYS)[1].status == NOT_AUTHORIZED
        assert logins(house)[-1]["facts"]["actor"]["person"] == f"alice-ldap@{house.kdc.realm}"
    finally:
        house.close()
