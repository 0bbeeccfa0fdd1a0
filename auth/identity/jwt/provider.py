"""Vouches for people by tokens of one issuer: PS3.7 D.3.3.7, type 5; RFC 7519, verified as RFC 8725 advises."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime

from auth.credential import Credential, JsonWebToken
from auth.errors import AuthenticationFailed, ProviderMisconfigured, ProviderUnavailable, TokenReplayed
from auth.identity.chain import NOT_MINE, Verdict, Vouched
from auth.identity.jwt.claims import person, person_name, token_id, valid_until
from auth.identity.jwt.config import JwtConfig
from auth.identity.jwt.https import trusting
from auth.identity.jwt.sources import FileKeys, IssuerKeys, KeySource
from auth.identity.jwt.strict import JsonObject, Malformed, json_object
from auth.identity.jwt.token import key_id, signed_payload, take_apart
from auth.identity.overrides import still_local, with_local
from auth.identity.steps import checked
from auth.ports import Presentation, PresentedTokens, UserStore, presenter
from auth.principal import NodeIdentity, Principal

__all__ = ["Jwt", "JwtConfig"]


class Jwt:
    """One issuer's tokens. Shared by all associations; thread-safe."""

    identity_types = frozenset({5})

    def __init__(
        self,
        config: JwtConfig,
        users: UserStore,
        presented: PresentedTokens,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """An issuer is not asked yet; it need not be there.

        Raises:
            ProviderMisconfigured: the key file or the CA file cannot be used.
        """
        self.name = config.name
        self._config = config
        self._users = users
        self._presented = presented
        self._clock = clock
        try:
            self._keys = _key_source(config, clock)
        except ProviderUnavailable as error:
            raise ProviderMisconfigured(f"{config.name}: {error.reason}") from None
        self._lock = threading.Lock()
        self._given: dict[str, tuple[frozenset[str], datetime]] = {}

    def verify(self, credential: Credential, node: NodeIdentity) -> Vouched | Verdict:
        """The person whom the token is about, until it ends; `NOT_MINE` for a token that names another issuer.

        The positive response is empty (docs/decisions/identity-responses.md).

        Raises:
            AuthenticationFailed: the token is not good; each reason is its own.
            TokenReplayed: it is, and was presented where or as often as it may not be.
            ProviderUnavailable: its issuer's keys cannot be had.
        """
        if not isinstance(credential, JsonWebToken):
            return NOT_MINE
        now = self._clock()
        # 1 to 3 It is a token. 4 Whose it says it is: that only tells who has to judge it.
        token = take_apart(credential.token.reveal())
        claims = _claims(token.payload)
        if _issuer(claims) != self._config.issuer:
            return NOT_MINE
        checked(f"it is a token, and says that {self._config.issuer} issued it")
        claimed = _claimed(claims, self._config)
        try:
            # 5 Its header asks for nothing special and names a key; 6 which is one of the issuer's.
            key = self._keys.key(key_id(token.header, self._config.algorithms))
            checked("its header asks for nothing special, and names a key that the issuer publishes")
            # 7 The key signed it, and what it signed is what was read.
            signed_payload(token, key)
            checked(f"that key signed it, by the key's own algorithm, {key.algorithm}")
            # 8 to 10 It holds for us, now.
            ends = valid_until(claims, self._config, now)
            checked(f"it is for {self._config.audience}, in force, and accepted until {ends:%Y-%m-%d %H:%M:%S} UTC")
            # 11 to 13 Who it is about, and what that means here.
            outside = person(claims, self._config)
            checked(f"its claims give {_listed(outside.roles)}")
            # 14 A local record of that name may add roles, or shut the person out.
            principal = with_local(outside, self._users)
            checked("no local record shuts the person out")
            # 15 Its id; last of all, whether it may be presented (again), by this node.
            self._present(token_id(claims, token.signing_input), node, ends)
            checked("it was not presented elsewhere before, nor more often than it may be")
        except AuthenticationFailed as refusal:
            refusal.claimed = refusal.claimed or claimed
            raise
        self._remember(outside, ends, now)
        return Vouched(principal, valid_until=ends)

    def is_mine(self, credential: Credential) -> bool:
        """Whether the token is this provider's to judge: it names our issuer, or is so malformed that it names none.

        Believes nothing, and asks nobody.
        """
        if not isinstance(credential, JsonWebToken):
            return False
        try:
            return _issuer(_claims(take_apart(credential.token.reveal()).payload)) == self._config.issuer
        except AuthenticationFailed:
            return True

    def still(self, principal: Principal) -> Principal | None:
        """The person with at most what their newest token and their local record give; None: shut out, or expired.

        The issuer is not asked: what it withdraws ends with the token.
        """
        with self._lock:
            roles, ends = self._given.get(principal.name, (frozenset(), datetime.min.replace(tzinfo=UTC)))
        if self._clock() >= ends:
            return None
        return still_local(principal, roles, self._users)

    def _present(self, token: str, node: NodeIdentity, ends: datetime) -> None:
        once = self._config.single_use
        match self._presented.present(self._config.issuer, token, node=presenter(node), until=ends, once=once):
            case Presentation.FIRST:
                return
            case Presentation.AGAIN if not once:
                return
            case Presentation.ELSEWHERE:
                raise TokenReplayed("the token was first presented by another node")
            case _:
                raise TokenReplayed("the token was presented before, and is good for one time")

    def _remember(self, outside: Principal, ends: datetime, now: datetime) -> None:
        with self._lock:
            self._given = {name: given for name, given in self._given.items() if given[1] > now}
            _, until = self._given.get(outside.name, (None, ends))
            self._given[outside.name] = (outside.roles, max(ends, until))


def _key_source(config: JwtConfig, clock: Callable[[], datetime]) -> KeySource:
    if config.jwks is not None:
        return FileKeys(config.jwks, config.algorithms)
    return IssuerKeys(
        config.discovery or "",
        config.issuer,
        trusting(config.ca),
        config.algorithms,
        cache_seconds=config.key_cache_seconds,
        interval_seconds=config.refresh_interval_seconds,
        deadline_seconds=config.deadline_seconds,
        clock=clock,
    )


def _claims(payload: bytes) -> JsonObject:
    try:
        return json_object(payload)
    except Malformed as error:
        raise AuthenticationFailed(f"the token's claims are refused: {error}") from None


def _issuer(claims: JsonObject) -> str:
    issuer = claims.get("iss")
    if not isinstance(issuer, str):
        raise AuthenticationFailed("the token names no issuer")
    return issuer


def _listed(roles: frozenset[str]) -> str:
    return f"the roles {', '.join(sorted(roles))}" if roles else "no role"


def _claimed(claims: JsonObject, config: JwtConfig) -> str | None:
    """Who the token says it is about, for the audit of a refusal; None where that is not legible."""
    try:
        return person_name(claims, config)
    except AuthenticationFailed:
        return None
