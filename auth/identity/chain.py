"""Who verifies which kind of credential, in order. A provider that does not know the person passes; one that knows and
disbelieves refuses, and nobody after it is asked. Who vouched is asked again while the association runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, Protocol, assert_never

from auth.credential import Credential
from auth.errors import AuthenticationFailed
from auth.identity.steps import checked
from auth.principal import NodeIdentity, Principal


class Verdict(Enum):
    """What a provider says instead of a principal."""

    NOT_MINE = "not mine"
    """The claimed person is not one that this provider vouches for. Never said of a credential that was examined."""


NOT_MINE: Final = Verdict.NOT_MINE


@dataclass(frozen=True, slots=True)
class Vouched:
    """A verified person, and what goes with them."""

    principal: Principal
    server_response: bytes = b""
    """For sub-item 59H, where the requestor asked for a positive response (PS3.7 D.3.3.7.2)."""
    valid_until: datetime | None = None
    """An aware time from which on a running association is refused its next operation; None: no end of its own."""


class Provider(Protocol):
    """Verifies credentials of some user identity types (PS3.7 Table D.3-14) for the people it knows."""

    @property
    def name(self) -> str:
        """What `Assurance.verified_by` says of whom it vouched for."""

    @property
    def identity_types(self) -> frozenset[int]:
        """The types it examines; it is asked about no other."""

    def verify(self, credential: Credential, node: NodeIdentity) -> Vouched | Verdict:
        """The person, or `NOT_MINE`.

        Raises:
            AuthenticationFailed: the credential is this provider's to judge, and is not good, or cannot be judged.
        """

    def still(self, principal: Principal) -> Principal | None:
        """A person of a running association whom this provider vouched for, as they are now; None: no longer.

        Roles are at most those of admission.

        Raises:
            ProviderUnavailable: that cannot be found out, which counts as no.
        """


class Chain:
    """The configured providers: a new credential type is one new provider here."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        """``providers``: in the order in which they are asked; their names differ."""
        by_type: dict[int, tuple[Provider, ...]] = {}
        for provider in providers:
            for identity_type in provider.identity_types:
                by_type[identity_type] = (*by_type.get(identity_type, ()), provider)
        self._by_type: Mapping[int, tuple[Provider, ...]] = by_type
        self._by_name: Mapping[str, Provider] = {provider.name: provider for provider in providers}
        if len(self._by_name) != len(providers):
            raise ValueError("two identity providers have one name")

    @property
    def identity_types(self) -> frozenset[int]:
        """Every type that somebody here examines."""
        return frozenset(self._by_type)

    def verify(self, credential: Credential, node: NodeIdentity, *, claimed: str | None) -> tuple[Vouched, str]:
        """The person and the name of the provider that vouched.

        Raises:
            AuthenticationFailed: refused by one, vouched for by none, or a provider broke.
        """
        for provider in self._by_type.get(credential.identity_type, ()):
            try:
                match provider.verify(credential, node):
                    case Verdict.NOT_MINE:
                        checked(f"{provider.name} does not judge it, and passes it on")
                        continue
                    case Vouched() as vouched:
                        return vouched, provider.name
                    case other:
                        assert_never(other)
            except AuthenticationFailed:
                raise
            except Exception as error:
                # Whatever a provider's library raises means "not verified"; it is named for the audit, without its
                # text, which may quote the credential.
                raise AuthenticationFailed(
                    f"{provider.name} failed ({type(error).__name__})", claimed=claimed
                ) from error
        raise AuthenticationFailed("nobody vouches for this name", claimed=claimed)

    def still(self, principal: Principal, verified_by: str | None) -> Principal | None:
        """A person of a running association as they are now; None: whoever vouched does not any more, or cannot say."""
        provider = self._by_name.get(verified_by or "")
        if provider is None:
            return None
        try:
            match provider.still(principal):
                case Principal(name=principal.name) as now:
                    return Principal(now.name, now.roles & principal.roles, now.attributes)
                case _:
                    return None
        except Exception:  # noqa: BLE001  (a check that fails is a check not passed)
            return None
