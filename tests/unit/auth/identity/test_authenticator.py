"""From the User Identity sub-item to a person (PS3.7 D.3.3.7): every way of not being verified is refused."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.credential import JsonWebToken, Secret
from auth.errors import AuthenticationFailed, IdentityRequired, IdentityTypeRefused
from auth.identity.authenticator import Authenticator, OfferedIdentity, claimed_name
from auth.identity.chain import NOT_MINE, Chain, Vouched
from auth.identity.passcode import LocalPasscodes, hash_passcode
from auth.identity.username import AssertedUsers
from auth.principal import Assurance, IdentityDemand, Principal
from tests.simulators.records import MemoryUsers, node_identity, user_record
from tests.simulators.subjects import Unthrottled

USERS = MemoryUsers(
    user_record("anna", ("radiologist", "administrator"), passcode_hash=hash_passcode(Secret(b"right"))),
    user_record("off", ("radiologist",), enabled=False),
)
STANDARD = Authenticator(Chain([AssertedUsers(USERS), LocalPasscodes(USERS)]), Unthrottled())
ASSERTING = node_identity(asserts_roles=frozenset({"radiologist", "researcher"}))


def offered(identity_type=2, primary=b"anna", secondary=b"right"):
    return OfferedIdentity(identity_type, Secret(primary), Secret(secondary))


class Fixed:
    """A provider that answers, or raises, the same each time."""

    def __init__(self, name, answer, identity_types=frozenset({5})):
        self.name, self.answer, self.identity_types, self.asked = name, answer, identity_types, []

    def verify(self, credential, node):
        self.asked.append(credential)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_passcode_over_tls_is_a_person_and_answers_with_an_empty_response():
    done = STANDARD.authenticate(offered(), node_identity(), tls=True, source="192.0.2.1")
    assert done.principal.name == "anna"
    assert done.assurance == Assurance(identity_type=2, tls=True, verified_by="local")
    assert done.server_response == b""


def test_identity_required_and_none_offered_is_refused():
    with pytest.raises(IdentityRequired):
        STANDARD.authenticate(None, node_identity(), tls=True, source="192.0.2.1")


@pytest.mark.parametrize("demand", [IdentityDemand.OPTIONAL, IdentityDemand.NONE])
def test_node_alone_where_its_registration_allows(demand):
    done = STANDARD.authenticate(None, node_identity(identity=demand), tls=True, source="192.0.2.1")
    assert (done.principal, done.server_response) == (None, None)
    assert done.assurance == Assurance(identity_type=None, tls=True)


def test_optional_identity_that_is_bad_is_refused_not_ignored():
    with pytest.raises(AuthenticationFailed):
        STANDARD.authenticate(
            offered(secondary=b"wrong"), node_identity(identity=IdentityDemand.OPTIONAL), tls=True, source="192.0.2.1"
        )


def test_identity_of_a_node_without_people_is_not_read():
    garbage = offered(9, b"\xff", b"")
    done = STANDARD.authenticate(garbage, node_identity(identity=IdentityDemand.NONE), tls=True, source="192.0.2.1")
    assert (done.principal, done.server_response) == (None, None)


def test_identity_without_tls_is_refused_unless_the_operator_wrote_insecure():
    with pytest.raises(AuthenticationFailed, match="without TLS"):
        STANDARD.authenticate(offered(), node_identity(), tls=False, source="192.0.2.1")
    careless = Authenticator(Chain([LocalPasscodes(USERS)]), Unthrottled(), insecure_without_tls=True)
    assert careless.authenticate(offered(), node_identity(), tls=False, source="192.0.2.1").assurance.tls is False


@pytest.mark.parametrize("identity_type", [0, 3, 4, 5, 6, 255])
def test_type_that_nobody_verifies_is_refused(identity_type):
    with pytest.raises(IdentityTypeRefused):
        STANDARD.authenticate(offered(identity_type, b"x", b""), node_identity(), tls=True, source="192.0.2.1")


def test_type_that_the_node_may_not_use_is_refused():
    with pytest.raises(IdentityTypeRefused, match="may not use"):
        STANDARD.authenticate(offered(), node_identity(identity_types=frozenset({5})), tls=True, source="192.0.2.1")


def test_bare_name_is_refused_from_a_node_that_asserts_nobody():
    with pytest.raises(AuthenticationFailed, match="not believed"):
        STANDARD.authenticate(offered(1, b"anna", b""), node_identity(), tls=True, source="192.0.2.1")


def test_bare_name_has_at_most_the_roles_that_the_node_may_assert():
    done = STANDARD.authenticate(offered(1, b"anna", b""), ASSERTING, tls=True, source="192.0.2.1")
    assert done.principal.roles == {"radiologist"}
    assert done.assurance == Assurance(identity_type=1, tls=True, verified_by="node")


@pytest.mark.parametrize(
    ("name", "asserts"),
    [(b"anna", {"service"}), (b"off", {"radiologist"}), (b"nobody", {"radiologist"})],
)
def test_bare_name_of_nobody_disabled_or_without_assertable_role_is_refused(name, asserts):
    with pytest.raises(AuthenticationFailed):
        STANDARD.authenticate(
            offered(1, name, b""), node_identity(asserts_roles=frozenset(asserts)), tls=True, source="192.0.2.1"
        )


@pytest.mark.parametrize("name", [b"", b"a!b", b"anna\0", b"an\nna", b"\xff", b"a" * 65, b" anna"])
@pytest.mark.parametrize("identity_type", [1, 2])
def test_malformed_name_is_refused(name, identity_type):
    secondary = b"right" if identity_type == 2 else b""
    with pytest.raises(AuthenticationFailed):
        STANDARD.authenticate(offered(identity_type, name, secondary), ASSERTING, tls=True, source="192.0.2.1")


def test_empty_passcode_is_refused():
    with pytest.raises(AuthenticationFailed):
        STANDARD.authenticate(offered(secondary=b""), node_identity(), tls=True, source="192.0.2.1")


def test_secondary_field_outside_type_2_is_refused():
    with pytest.raises(AuthenticationFailed, match="secondary"):
        STANDARD.authenticate(offered(1, b"anna", b"right"), ASSERTING, tls=True, source="192.0.2.1")


def test_unknown_user_and_wrong_passcode_carry_the_claimed_name_for_the_audit():
    for name, value in ((b"nobody", b"x"), (b"anna", b"wrong")):
        with pytest.raises(AuthenticationFailed) as caught:
            STANDARD.authenticate(offered(2, name, value), node_identity(), tls=True, source="192.0.2.1")
        assert caught.value.claimed == name.decode()


def test_claimed_name_is_never_a_token_nor_illegible():
    assert claimed_name(offered(2, b"anna")) == "anna"
    assert claimed_name(offered(5, b"eyJhbGciOi")) is None
    assert claimed_name(offered(1, b"a\nb")) is None


def test_provider_that_does_not_know_the_person_passes_to_the_next():
    first, second = Fixed("a", NOT_MINE), Fixed("b", Vouched(Principal("anna", frozenset())))
    done = Authenticator(Chain([first, second]), Unthrottled()).authenticate(
        offered(5, b"t", b""), node_identity(), tls=True, source="192.0.2.1"
    )
    assert done.assurance.verified_by == "b"
    assert len(first.asked) == 1
    assert isinstance(second.asked[0], JsonWebToken)


def test_provider_that_refuses_is_final():
    second = Fixed("b", Vouched(Principal("anna", frozenset())))
    chain = Chain([Fixed("a", AuthenticationFailed("expired")), second])
    with pytest.raises(AuthenticationFailed, match="expired"):
        Authenticator(chain, Unthrottled()).authenticate(
            offered(5, b"t", b""), node_identity(), tls=True, source="192.0.2.1"
        )
    assert second.asked == []


@pytest.mark.parametrize("fault", [RuntimeError("secret token"), NotImplementedError(), KeyError("x"), OSError()])
def test_provider_that_breaks_refuses_and_its_text_is_not_repeated(fault):
    second = Fixed("b", Vouched(Principal("anna", frozenset())))
    with pytest.raises(AuthenticationFailed) as caught:
        Authenticator(Chain([Fixed("a", fault), second]), Unthrottled()).authenticate(
            offered(5, b"t", b""), node_identity(), tls=True, source="192.0.2.1"
        )
    assert "secret token" not in str(caught.value)
    assert second.asked == []


@pytest.mark.parametrize("answer", [None, True, "anna", ("anna",), Principal("anna", frozenset())])
def test_provider_that_answers_with_something_else_refuses(answer):
    second = Fixed("b", Vouched(Principal("anna", frozenset())))
    chain = Chain([Fixed("a", answer), second])
    with pytest.raises(AuthenticationFailed):
        Authenticator(chain, Unthrottled()).authenticate(
            offered(5, b"t", b""), node_identity(), tls=True, source="192.0.2.1"
        )
    assert second.asked == []


def test_empty_chain_verifies_nobody():
    with pytest.raises(IdentityTypeRefused):
        Authenticator(Chain([]), Unthrottled()).authenticate(offered(), node_identity(), tls=True, source="192.0.2.1")


def test_offered_identity_redacts_itself():
    assert "right" not in repr(offered())
    assert "anna" not in repr(offered())


@given(st.integers(0, 255), st.binary(max_size=80), st.binary(max_size=20))
def test_no_offer_raises_anything_but_a_refusal_or_verifies_a_stranger(identity_type, primary, secondary):
    cheap = Authenticator(Chain([AssertedUsers(USERS)]), Unthrottled())
    with suppress(AuthenticationFailed):
        done = cheap.authenticate(offered(identity_type, primary, secondary), ASSERTING, tls=True, source="192.0.2.1")
        assert primary == b"anna"
        assert done.principal.name == "anna"
