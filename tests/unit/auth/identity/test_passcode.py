"""Type 2 against local users: what is hashed, how often, and what is refused before."""

import threading

import pytest
from argon2 import PasswordHasher, extract_parameters

from auth.credential import Secret, Username, UsernamePasscode
from auth.errors import AuthenticationFailed, ProviderUnavailable, RecordInvalid
from auth.identity import passcode as module
from auth.identity.chain import NOT_MINE, Vouched
from auth.identity.passcode import LocalPasscodes, hash_passcode
from auth.principal import Principal
from tests.simulators.records import MemoryUsers, node_identity, user_record

NODE = node_identity()
HASH = hash_passcode(Secret(b"right"))


class Counting:
    """The hasher, and how often and how concurrently it was asked."""

    def __init__(self, hasher):
        self.hasher, self.calls, self.now, self.most = hasher, [], 0, 0
        self.lock = threading.Lock()

    def verify(self, kept, value):
        with self.lock:
            self.calls.append(kept)
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            return self.hasher.verify(kept, value)
        finally:
            with self.lock:
                self.now -= 1

    def hash(self, value):
        return self.hasher.hash(value)

    def check_needs_rehash(self, kept):
        return self.hasher.check_needs_rehash(kept)


@pytest.fixture
def hasher(monkeypatch):
    counting = Counting(module._HASHER)
    monkeypatch.setattr(module, "_HASHER", counting)
    return counting


def local(*users):
    return LocalPasscodes(MemoryUsers(*users))


def offer(provider, name="anna", value=b"right"):
    return provider.verify(UsernamePasscode(name, Secret(value)), NODE)


def test_right_passcode_is_the_user_with_roles_and_attributes():
    user = user_record(roles=("radiologist",), passcode_hash=HASH, attributes={"physician_name": "Doe^J"})
    expected = Principal("anna", frozenset({"radiologist"}), {"physician_name": "Doe^J"})
    assert offer(local(user)) == Vouched(expected)


@pytest.mark.parametrize("value", [b"wrong", b"right\0", b"right ", b"Right", b"righ", b"\xff\xfe"])
def test_wrong_passcode_is_refused(value):
    with pytest.raises(AuthenticationFailed, match="wrong passcode"):
        offer(local(user_record(passcode_hash=HASH)), value=value)


def test_parameters_are_argon2id_two_passes_19_mib_one_lane():
    parameters = extract_parameters(HASH)
    assert HASH.startswith("$argon2id$")
    assert (parameters.time_cost, parameters.memory_cost, parameters.parallelism) == (2, 19 * 1024, 1)


@pytest.mark.parametrize("value", [b"", b"x" * 1025])
def test_empty_and_over_long_passcodes_are_refused_unhashed(hasher, value):
    with pytest.raises(AuthenticationFailed, match="empty or too long"):
        offer(local(user_record(passcode_hash=HASH)), value=value)
    with pytest.raises(RecordInvalid):
        hash_passcode(Secret(value))
    assert hasher.calls == []


@pytest.mark.parametrize("users", [(), (user_record(passcode_hash=None),)])
def test_unknown_user_and_user_without_passcode_cost_the_same_hash_and_are_not_mine(hasher, users):
    assert offer(local(*users)) is NOT_MINE
    assert len(hasher.calls) == 1
    assert extract_parameters(hasher.calls[0]) == extract_parameters(HASH)


def test_disabled_user_is_refused_after_the_same_hash(hasher):
    user = user_record(passcode_hash=HASH, enabled=False)
    with pytest.raises(AuthenticationFailed, match="disabled"):
        offer(local(user))
    assert hasher.calls == [HASH]


def test_disabled_user_with_a_wrong_passcode_is_not_told_apart_from_others():
    with pytest.raises(AuthenticationFailed, match="wrong passcode"):
        offer(local(user_record(passcode_hash=HASH, enabled=False)), value=b"wrong")


def test_weaker_hash_is_made_anew_after_a_right_passcode_only():
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("right")
    users = MemoryUsers(user_record(passcode_hash=weak))
    with pytest.raises(AuthenticationFailed):
        offer(LocalPasscodes(users), value=b"wrong")
    assert users.users["anna"].passcode_hash == weak
    offer(LocalPasscodes(users))
    renewed = users.users["anna"].passcode_hash
    assert extract_parameters(renewed) == extract_parameters(HASH)
    assert isinstance(offer(LocalPasscodes(users)), Vouched)


@pytest.mark.parametrize("kept", ["", "plain text", "$argon2id$", "$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA"])
def test_damaged_hash_never_lets_anybody_in(kept):
    provider = local(user_record(passcode_hash=kept))
    try:
        verdict = offer(provider)
    except AuthenticationFailed:
        return
    assert verdict is NOT_MINE


def test_at_most_two_hashes_are_computed_at_a_time(hasher):
    provider = local(user_record(passcode_hash=HASH))
    threads = [threading.Thread(target=offer, args=(provider,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hasher.calls) == 8
    assert hasher.most <= 2


def test_flood_is_refused_not_queued_for_ever(monkeypatch):
    provider = LocalPasscodes(MemoryUsers(user_record(passcode_hash=HASH)), wait_seconds=0.01)
    monkeypatch.setattr(module, "_TURNS", threading.BoundedSemaphore(1))
    module._TURNS.acquire()
    with pytest.raises(ProviderUnavailable, match="too many"):
        offer(provider)
    module._TURNS.release()
    assert isinstance(offer(provider), Vouched)


def test_other_credentials_are_not_mine():
    assert local(user_record(passcode_hash=HASH)).verify(Username("anna"), NODE) is NOT_MINE


def test_no_error_quotes_the_passcode():
    with pytest.raises(AuthenticationFailed) as caught:
        offer(local(user_record(passcode_hash=HASH)), value=b"hunter2")
    assert "hunter2" not in repr(caught.value) + str(caught.value.__cause__) + repr(caught.value.__context__)
