"""From what association negotiation offers (PS3.7 D.3.3.7) to a verified person, or a refusal, in numbered steps.

The same steps for every type; what differs between types is in the providers of the chain. Anything unexpected refuses.
"""

from dataclasses import dataclass, field, replace
from typing import Protocol

from auth.credential import (
    Credential,
    JsonWebToken,
    KerberosTicket,
    SamlAssertion,
    Secret,
    Username,
    UsernamePasscode,
)
from auth.errors import (
    AuthenticationFailed,
    IdentityRequired,
    IdentityTypeRefused,
    ProviderUnavailable,
    RecordInvalid,
)
from auth.identity import glass
from auth.identity.chain import Chain, Vouched
from auth.identity.steps import checked
from auth.names import username_from_wire
from auth.principal import Assurance, IdentityDemand, NodeIdentity, Principal


@dataclass(frozen=True, slots=True)
class OfferedIdentity:
    """The User Identity sub-item 58H as it was received (PS3.7 Table D.3-14); nothing of it has been believed."""

    identity_type: int
    primary: Secret = field(repr=False)
    secondary: Secret = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """What came of authentication: a person, or the node alone."""

    principal: Principal | None
    assurance: Assurance
    server_response: bytes | None
    """For sub-item 59H where the requestor asked for a positive response (PS3.7 D.3.3.7.2): empty for types 1 and 2,
    what the provider says for the others. None: no identity was verified, and no 59H is sent."""
    breaks_glass: str | None = None
    """Why the person wants more than their role gives them, where they say so; nobody has decided on it yet."""


class AttemptThrottle(Protocol):
    """What is asked of `auth.identity.throttle.Throttle`.

    Attempts go by the claimed name, or by the identity type where none is legible.
    """

    def admit(self, name: str | int, source: str) -> None:
        """Raises `TooManyAttempts` where attempts for this name from this source have to wait."""

    def failed(self, name: str | int, source: str) -> None:
        """An attempt was examined and was not good."""

    def succeeded(self, name: str | int, source: str) -> None:
        """An attempt was good."""


class Authenticator:
    """The one place where a person is verified. Shared by all associations; thread-safe."""

    def __init__(self, chain: Chain, throttle: AttemptThrottle, *, insecure_without_tls: bool = False) -> None:
        """``insecure_without_tls``: the operator wrote ``insecure``, and credentials may cross the network in clear."""
        self._chain = chain
        self._throttle = throttle
        self._insecure_without_tls = insecure_without_tls

    @property
    def identity_types(self) -> frozenset[int]:
        """The types that somebody here verifies."""
        return self._chain.identity_types

    def authenticate(
        self, offered: OfferedIdentity | None, node: NodeIdentity, *, tls: bool, source: str
    ) -> Authenticated:
        """Verify who is at the node; ``source`` is the address that the connection came from.

        Raises:
            IdentityRequired: the node must say, and did not.
            IdentityTypeRefused: not a type that this node may use and somebody here verifies.
            AuthenticationFailed: the credential is malformed or not good.
        """
        alone = Authenticated(None, Assurance(identity_type=None, tls=tls), None)
        # 1 A node without people: what it offers is not read.
        if node.identity is IdentityDemand.NONE:
            return alone
        # 2 Nothing offered: the node's registration says whether that will do.
        if offered is None:
            if node.identity is IdentityDemand.REQUIRED:
                raise IdentityRequired("the node must say who is at it, and did not")
            return alone
        # 3 From here on an offered identity is verified, and a bad one refused, also where it is optional.
        identity_type = offered.identity_type
        claimed = claimed_name(offered)
        if not tls and not self._insecure_without_tls:
            raise AuthenticationFailed("identities are not taken without TLS", claimed=claimed)
        # 4 Breaking the glass: a reason behind the credential, where nobody on the way can have put it there.
        try:
            credential_bytes, why = glass.split(identity_type, offered.primary.reveal())
        except RecordInvalid as error:
            raise AuthenticationFailed(f"the glass is not broken: {error}", claimed=claimed) from None
        if why is not None:
            if not tls:
                raise AuthenticationFailed("the glass is not broken without TLS", claimed=claimed)
            offered = replace(offered, primary=Secret(credential_bytes))
            checked("it gives a reason to break the glass")
        # 5 A type that somebody verifies and this node may use.
        if identity_type not in self._chain.identity_types:
            raise IdentityTypeRefused(f"nobody here verifies user identity type {identity_type}", claimed=claimed)
        if node.identity_types is not None and identity_type not in node.identity_types:
            raise IdentityTypeRefused(f"the node may not use user identity type {identity_type}", claimed=claimed)
        checked(f"type {identity_type} is verified here, and the node may use it")
        # 6 Well-formed: PS3.7 Table D.3-14.
        credential = _credential(offered)
        checked("its fields are those of its type")
        # 7 Good.
        vouched, provider = self._examined(credential, node, claimed, source)
        assurance = Assurance(identity_type, tls, verified_by=provider, valid_until=vouched.valid_until)
        return Authenticated(vouched.principal, assurance, vouched.server_response, why)

    def _examined(
        self, credential: Credential, node: NodeIdentity, claimed: str | None, source: str
    ) -> tuple[Vouched, str]:
        """What the chain says, unless too many attempts like this one have failed."""
        attempt: str | int = claimed or credential.identity_type
        self._throttle.admit(attempt, source)
        try:
            vouched = self._chain.verify(credential, node, claimed=claimed)
        except ProviderUnavailable:
            # Nobody has looked at the credential, so nobody has guessed.
            raise
        except AuthenticationFailed:
            self._throttle.failed(attempt, source)
            raise
        self._throttle.succeeded(attempt, source)
        return vouched


def claimed_name(offered: OfferedIdentity) -> str | None:
    """The name that is claimed, for the audit of a refusal; None where there is no legible one. Never a secret."""
    if offered.identity_type not in (1, 2):
        return None
    try:
        name, _ = glass.split(offered.identity_type, offered.primary.reveal())
        return username_from_wire(name)
    except RecordInvalid:
        return None


def _credential(offered: OfferedIdentity) -> Credential:
    identity_type, primary, secondary = offered.identity_type, offered.primary, offered.secondary
    # The secondary field is for type 2 only; bytes elsewhere may be a passcode sent to somebody who will not check it.
    if identity_type != 2 and len(secondary):
        raise AuthenticationFailed("a secondary field outside type 2", claimed=claimed_name(offered))
    if not len(primary):
        raise AuthenticationFailed("the primary field is empty")
    match identity_type:
        case 1:
            return Username(_name(primary))
        case 2:
            return UsernamePasscode(_name(primary), secondary)
        case 3:
            return KerberosTicket(primary)
        case 4:
            return SamlAssertion(primary)
        case 5:
            return JsonWebToken(primary)
        case _:
            raise IdentityTypeRefused(f"no such user identity type: {identity_type}")


def _name(value: Secret) -> str:
    try:
        return username_from_wire(value.reveal())
    except RecordInvalid as error:
        raise AuthenticationFailed(f"the user name is refused: {error}") from None
