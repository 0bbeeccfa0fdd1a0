"""Type 2, user name and passcode, against local users: argon2id (RFC 9106), bounded in memory, time and concurrency.

A hash costs 19 MiB and some 25 ms of processor; at most two are computed at a time, so that a flood of guesses can
neither take the memory nor starve the associations that are already admitted.
"""

import secrets
import threading

from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError

from auth.credential import Credential, Secret, UsernamePasscode
from auth.errors import AuthenticationFailed, ProviderUnavailable, RecordInvalid
from auth.identity.chain import NOT_MINE, Verdict, Vouched
from auth.identity.overrides import local_now
from auth.identity.steps import checked
from auth.ports import UserStore
from auth.principal import NodeIdentity, Principal

TIME_COST = 2
MEMORY_KIB = 19 * 1024
PARALLELISM = 1
CONCURRENT_HASHES = 2
WAIT_SECONDS = 10.0
"""For a turn at the hash; past it the attempt is refused, not queued for ever."""
MAX_PASSCODE_BYTES = 1024
"""Longer ones are refused unhashed."""

_HASHER = PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=PARALLELISM, type=Type.ID)
_TURNS = threading.BoundedSemaphore(CONCURRENT_HASHES)


def hash_passcode(passcode: Secret) -> str:
    """The argon2id string to keep for a new passcode.

    Raises:
        RecordInvalid: empty, or longer than 1024 bytes.
    """
    value = passcode.reveal()
    if not 0 < len(value) <= MAX_PASSCODE_BYTES:
        raise RecordInvalid(f"a passcode has 1 to {MAX_PASSCODE_BYTES} bytes")
    with _TURNS:
        return _HASHER.hash(value)


class LocalPasscodes:
    """Vouches for local users by their passcode (PS3.15 B.5). Shared by all associations; thread-safe."""

    name = "local"
    identity_types = frozenset({2})

    def __init__(self, users: UserStore, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._users = users
        self._wait_seconds = wait_seconds
        # Nobody knows what this is the hash of: an unknown name costs as much time as a wrong passcode.
        self._nobody = hash_passcode(Secret(secrets.token_bytes(32)))

    def verify(self, credential: Credential, node: NodeIdentity) -> Vouched | Verdict:
        """The user whose passcode this is.

        Raises:
            AuthenticationFailed: empty or over-long passcode, wrong one, or disabled user.
            ProviderUnavailable: too many passcodes are being checked.
        """
        if not isinstance(credential, UsernamePasscode):
            return NOT_MINE
        claimed = credential.name
        # 1 An empty passcode proves nothing (an LDAP server would call it an anonymous bind), and is not hashed.
        if not 0 < len(credential.passcode) <= MAX_PASSCODE_BYTES:
            raise AuthenticationFailed("the passcode is empty or too long", claimed=claimed)
        checked("the passcode is neither empty nor too long")
        # 2 One hash is computed, whether the user exists, has a passcode, or is disabled.
        user = self._users.user(claimed)
        kept = user.passcode_hash if user is not None else None
        right = self._matches(kept or self._nobody, credential.passcode, claimed) and kept is not None
        if user is None or kept is None:
            return NOT_MINE
        # 3 The passcode is right, and 4 the user is enabled: told apart for the audit only.
        if not right:
            raise AuthenticationFailed("wrong passcode", claimed=claimed)
        checked("it is the passcode of the local user")
        if not user.enabled:
            raise AuthenticationFailed("the user is disabled", claimed=claimed)
        checked("the user is enabled")
        # 5 A hash from weaker days is made anew, now that the passcode is at hand.
        if _HASHER.check_needs_rehash(kept):
            self._users.replace_hash(user.name, hash_passcode(credential.passcode), instead_of=kept)
        return Vouched(Principal(name=user.name, roles=user.roles, attributes=user.attributes))

    def still(self, principal: Principal) -> Principal | None:
        """The user as the record says now."""
        return local_now(principal, self._users)

    def _matches(self, kept: str, passcode: Secret, claimed: str) -> bool:
        if not _TURNS.acquire(timeout=self._wait_seconds):
            raise ProviderUnavailable("too many passcodes are being checked", claimed=claimed)
        try:
            return _HASHER.verify(kept, passcode.reveal())
        except VerifyMismatchError:
            return False
        except (Argon2Error, InvalidHashError) as error:
            raise AuthenticationFailed("the kept hash cannot be checked", claimed=claimed) from error
        finally:
            _TURNS.release()
