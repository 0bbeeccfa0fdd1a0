"""People of a directory: a real slapd, both transports, both kinds of groups, and running associations."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from auth.errors import AuthenticationFailed, ProviderUnavailable
from auth.identity.chain import NOT_MINE
from auth.identity.steps import followed
from auth.ports import UserRecord
from auth.principal import Principal
from tests.simulators.directories import ALICE, directory, lab_directory, signing_in
from tests.simulators.records import MemoryUsers

RADIOLOGISTS = "cn=radiologists,ou=groups,dc=strongroom,dc=lab"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with lab_directory(tmp_path_factory.mktemp("directory") / "lab") as lab:
        lab.add_person("alice", "alice's own", ["radiologists", "choir"], displayName="Alice Ärztin")
        lab.add_person("bob", "bob's own", ["choir"])
        yield lab


@pytest.mark.parametrize("transport", ["ldaps", "starttls"])
def test_a_person_of_the_directory_with_the_roles_of_their_groups(lab, transport):
    with directory(lab, transport=transport) as provider:
        vouched = signing_in(provider)
    assert vouched.principal == Principal(ALICE, frozenset({"radiologist"}), {"display_name": "Alice Ärztin"})
    assert (vouched.server_response, vouched.valid_until) == (b"", None)


@pytest.mark.parametrize("typed", ["alice", "ALICE", " alice ", "AliCe"])
def test_whatever_was_typed_the_person_is_the_name_that_the_directory_returned(lab, typed):
    with directory(lab) as provider:
        assert signing_in(provider, typed).principal.name == ALICE


def test_groups_that_are_listed_on_the_person(lab):
    with directory(lab, group_base="", roles={RADIOLOGISTS: "radiologist"}) as provider:
        assert signing_in(provider).principal.roles == {"radiologist"}


def test_a_group_that_is_not_mapped_grants_nothing(lab):
    with directory(lab) as provider:
        assert signing_in(provider, "bob", b"bob's own").principal.roles == frozenset()


def test_an_unknown_name_is_left_to_the_next_provider(lab):
    with directory(lab) as provider:
        assert signing_in(provider, "nobody") is NOT_MINE


@pytest.mark.parametrize("passcode", [b"wrong", b"alice's ow", b"alice's own ", b"\xff\xfe", b"x" * 1024])
def test_wrong_passcode(lab, passcode):
    with directory(lab) as provider, pytest.raises(AuthenticationFailed, match="wrong passcode") as refused:
        signing_in(provider, passcode=passcode)
    assert (refused.type, refused.value.claimed) == (AuthenticationFailed, "alice")


def test_two_entries_for_one_name_are_nobody(lab):
    for name in ("twin1", "twin2"):
        lab.add_person(name, "the twins'", mail="twins@strongroom.lab")
    with (
        directory(lab, filter="(mail={name})") as provider,
        pytest.raises(AuthenticationFailed, match="several entries for this name"),
    ):
        signing_in(provider, "twins@strongroom.lab", b"the twins'")


def test_an_account_that_is_locked_is_told_from_nothing_but_a_wrong_passcode(lab):
    dn = lab.add_person("locked", "locked's own")
    lab.change(f"dn: {dn}\nchangetype: modify\nreplace: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z")
    with directory(lab) as provider, pytest.raises(AuthenticationFailed, match="the account is locked"):
        signing_in(provider, "locked", b"locked's own")
    # Where the operator's filter says so, it is not even found.
    awake = "(&(uid={name})(!(pwdAccountLockedTime=*)))"
    with directory(lab, filter=awake) as provider:
        assert signing_in(provider, "locked", b"locked's own") is NOT_MINE


def test_a_passcode_that_must_be_changed_first_is_refused(lab):
    dn = lab.add_person("new", "given")
    lab.change(f"dn: {dn}\nchangetype: modify\nreplace: pwdReset\npwdReset: TRUE")
    with directory(lab) as provider, pytest.raises(AuthenticationFailed, match="demands a new passcode"):
        signing_in(provider, "new", b"given")


def test_an_attribute_with_several_values_is_not_guessed_at(lab):
    lab.add_person("many", "many's own", mail="one@strongroom.lab")
    lab.change(f"dn: {lab.dn_of('many')}\nchangetype: modify\nadd: mail\nmail: two@strongroom.lab")
    with (
        directory(lab, attributes={"mail": "mail"}) as provider,
        pytest.raises(AuthenticationFailed, match="several values of mail"),
    ):
        signing_in(provider, "many", b"many's own")


def test_a_local_record_of_that_name_adds_roles_or_shuts_out(lab):
    users = MemoryUsers(UserRecord(ALICE, frozenset({"researcher"})))
    with directory(lab, users) as provider:
        vouched = signing_in(provider)
        assert vouched.principal.roles == {"radiologist", "researcher"}
        users.users[ALICE] = UserRecord(ALICE, frozenset(), enabled=False)
        assert provider.still(vouched.principal) is None
        with pytest.raises(AuthenticationFailed, match="the user is disabled"):
            signing_in(provider)


def test_a_removed_membership_and_a_deleted_account_take_effect_on_who_is_signed_in(lab):
    lab.add_person("carol", "carol's own", ["radiologists", "administrators"])
    with directory(lab) as provider:
        carol = signing_in(provider, "carol", b"carol's own").principal
        assert carol.roles == {"radiologist", "administrator"}
        assert provider.still(carol) == carol
        lab.remove_from_group("carol", "administrators")
        assert provider.still(carol).roles == {"radiologist"}
        lab.remove_person("carol")
        assert provider.still(carol) is None


def test_a_new_membership_gives_a_running_association_nothing(lab):
    lab.add_person("dave", "dave's own")
    with directory(lab) as provider:
        dave = signing_in(provider, "dave", b"dave's own").principal
        lab.add_to_group("dave", "radiologists")
        assert provider.still(dave).roles == frozenset()
        assert signing_in(provider, "dave", b"dave's own").principal.roles == {"radiologist"}


def test_an_account_that_the_filter_does_not_find_any_more_is_gone(lab):
    dn = lab.add_person("erin", "erin's own")
    with directory(lab, filter="(&(uid={name})(!(employeeType=former)))") as provider:
        erin = signing_in(provider, "erin", b"erin's own").principal
        assert provider.still(erin) == erin
        lab.change(f"dn: {dn}\nchangetype: modify\nreplace: employeeType\nemployeeType: former")
        assert provider.still(erin) is None


@pytest.mark.parametrize(
    "name", ["alice@EXAMPLE.ORG", "uid=alice", "uid=alice,ou=people,dc=elsewhere", "", "*", ALICE.upper()]
)
def test_somebody_whom_the_directory_does_not_hold_by_that_name_is_not_still_there(lab, name):
    with directory(lab) as provider:
        assert provider.still(Principal(name, frozenset({"radiologist"}))) is None


def test_who_was_verified_otherwise_is_described(lab):
    with directory(lab) as provider:
        assert provider.person("alice") == signing_in(provider).principal
        assert provider.person("nobody") is None


def test_what_was_checked_is_told_to_who_follows_it(lab):
    with directory(lab) as provider, followed() as steps:
        signing_in(provider)
        told = list(steps)
        with pytest.raises(AuthenticationFailed):
            signing_in(provider, passcode=b"wrong")
    assert told == [
        "name and passcode are neither empty nor too long",
        "the directory was reached over TLS, and takes the service account",
        "it has exactly one entry for the name",
        "the passcode is that of the entry",
        "its groups give radiologist",
        "no local record shuts the person out",
    ]
    assert steps[len(told) :] == told[:3]


def test_logins_go_on_when_the_directory_was_started_anew(lab):
    with directory(lab) as provider:
        alice = signing_in(provider).principal
        lab.stop()
        with pytest.raises(ProviderUnavailable, match="does not accept connections"):
            provider.still(alice)
        with pytest.raises(ProviderUnavailable, match="does not accept connections"):
            signing_in(provider)
        lab.start()
        assert provider.still(alice) == alice
        assert signing_in(provider).principal == alice


def test_people_are_asked_about_over_one_connection_and_bind_on_their_own(lab):
    with directory(lab) as provider:
        alice = signing_in(provider).principal
        before = lab.log.read_text()
        for _ in range(20):
            assert provider.still(alice) == alice
        signing_in(provider)
        log = lab.log.read_text().removeprefix(before)
    assert log.count(" ACCEPT ") == 1
    assert log.count(" BIND dn=") - log.count(f'BIND dn="{ALICE}" mech=') == 1


def test_people_who_sign_in_at_once_are_not_mixed_up(lab):
    people = {"alice": b"alice's own", "bob": b"bob's own"}

    def sign_in(number):
        name = ("alice", "bob")[number % 2]
        try:
            return signing_in(provider, name, people[name] if number % 3 else b"wrong").principal.name == lab.dn_of(
                name
            )
        except AuthenticationFailed:
            return number % 3 == 0

    with directory(lab, deadline_seconds=20) as provider, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(sign_in, range(24)))
    assert threading.active_count() == 1


def test_an_unknown_name_is_refused_no_sooner_than_a_wrong_passcode(lab):
    def seconds(name):
        begun = time.monotonic()
        with suppress(AuthenticationFailed):
            signing_in(provider, name, b"wrong")
        return time.monotonic() - begun

    with directory(lab) as provider:
        seconds("alice")
        pairs = [(seconds("alice"), seconds("nobody")) for _ in range(7)]
    known, unknown = (sorted(times)[3] for times in zip(*pairs, strict=True))
    assert unknown > known * 0.75
