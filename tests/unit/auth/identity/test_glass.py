"""A reason behind a credential, for every type of identity, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.credential import Secret
from auth.errors import AuthenticationFailed, RecordInvalid
from auth.identity.authenticator import Authenticator, OfferedIdentity, claimed_name
from auth.identity.chain import Chain
from auth.identity.glass import split
from auth.identity.passcode import LocalPasscodes, hash_passcode
from auth.ports import UserRecord
from tests.simulators.records import MemoryUsers
from tests.simulators.subjects import Unthrottled, node

TICKET = b"\x6e\x82\x01\x00" + b"!" * 256
JWT = b"eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl"
SAML = b'<Assertion Note="help! now"><Subject>alice</Subject></Assertion>'


@pytest.mark.parametrize(("kind", "credential"), [(2, b"alice"), (3, TICKET), (4, SAML), (5, JWT)])
def test_a_reason_is_split_off_each_kind_of_credential(kind: int, credential: bytes) -> None:
    assert split(kind, credential) == (credential, None)
    assert split(kind, credential + "!Schädel-Hirn-Trauma".encode()) == (credential, "Schädel-Hirn-Trauma")


@pytest.mark.parametrize("kind", [2, 3, 4, 5])
@pytest.mark.parametrize("reason", [b"", b"  ", b"\xff", b"a\nb", b"x" * 300])
def test_a_mark_without_a_reason_is_refused(kind: int, reason: bytes) -> None:
    credential = {2: b"alice", 3: TICKET, 4: SAML, 5: JWT}[kind]
    with pytest.raises(RecordInvalid):
        split(kind, credential + b"!" + reason)


def test_a_bare_name_breaks_nothing() -> None:
    assert split(1, b"alice!why") == (b"alice!why", None)


@given(kind=st.integers(0, 9), primary=st.binary(max_size=600))
def test_any_bytes_are_split_or_refused(kind: int, primary: bytes) -> None:
    try:
        credential, reason = split(kind, primary)
    except RecordInvalid:
        return
    assert credential == primary if reason is None else primary.startswith(credential + b"!")


@pytest.fixture(scope="module")
def authenticator() -> Authenticator:
    users = MemoryUsers(UserRecord("alice", frozenset({"r"}), {}, hash_passcode(Secret(b"correct horse"))))
    return Authenticator(Chain([LocalPasscodes(users)]), Unthrottled(), insecure_without_tls=True)


def offered(name: bytes, passcode: bytes = b"correct horse") -> OfferedIdentity:
    return OfferedIdentity(2, Secret(name), Secret(passcode))


def test_the_person_is_verified_as_ever_and_the_reason_goes_with_them(authenticator: Authenticator) -> None:
    found = authenticator.authenticate(offered(b"alice!why"), node(), tls=True, source="127.0.0.1")
    assert found.principal is not None and found.principal.name == "alice" and found.breaks_glass == "why"
    found = authenticator.authenticate(offered(b"alice"), node(), tls=True, source="127.0.0.1")
    assert found.breaks_glass is None


def test_a_wrong_passcode_breaks_nothing_and_counts_for_the_name(authenticator: Authenticator) -> None:
    with pytest.raises(AuthenticationFailed) as caught:
        authenticator.authenticate(offered(b"alice!why", b"wrong"), node(), tls=True, source="127.0.0.1")
    assert caught.value.claimed == "alice"
    assert claimed_name(offered(b"alice!why")) == "alice"


def test_without_tls_no_glass_is_broken_even_where_identities_are_taken(authenticator: Authenticator) -> None:
    with pytest.raises(AuthenticationFailed, match="without TLS"):
        authenticator.authenticate(offered(b"alice!why"), node(), tls=False, source="127.0.0.1")
    assert authenticator.authenticate(offered(b"alice"), node(), tls=False, source="127.0.0.1").principal
