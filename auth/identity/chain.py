"""Who verifies which kind of credential, in order. A provider that does not know the person passes; one that knows and
disbelieves refuses, and nobody after it is asked."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, Protocol, assert_never

from auth.credential import Credential
from auth.errors import AuthenticationFailed
from auth.principal import NodeIdentity, Principal


class Verdict(Enum):
    """What a provider says instead of a principal."""

    NOT_MINE = "not mine"
    """The claimed person is not one that this provider vouches for. Never said of a credential that was examined."""


NOT_MINE: Final = Verdict.NOT_MINE


class Provider(Protocol):
    """Verifies credentials of some user identity types (PS3.7 Table D.3-14) for the people it knows."""

    @property
    def name(self) -> str:
        """What `Assurance.verified_by` says of whom it vouched for."""

    @property
    def identity_types(self) -> frozenset[int]:
        """The types it examines; it is asked about no other."""

    def verify(self, credential: Credential, node: NodeIdentity) -> Principal | Verdict:
        """The person, or `NOT_MINE`.

        Raises:
            AuthenticationFailed: the credential is this provider's to judge, and is not good.
        """


class Chain:
    """The configured providers: a new credential type is one new provider here."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        by_type: dict[int, tuple[Provider, ...]] = {}
        for provider in providers:
            for identity_type in provider.identity_types:
                by_type[identity_type] = (*by_type.get(identity_type, ()), provider)
        self._by_type: Mapping[int, tuple[Provider, ...]] = by_type

    @property
    def identity_types(self) -> frozenset[int]:
        """Every type that somebody here examines."""
        return frozenset(self._by_type)

    def verify(self, credential: Credential, node: NodeIdentity, *, claimed: str | None) -> tuple[Principal, str]:
        """The person and the name of the provider that vouched.

        Raises:
            AuthenticationFailed: refused by one, vouched for by none, or a provider broke.
        """
        for provider in self._by_type.get(credential.identity_type, ()):
            try:
                match provider.verify(credential, node):
                    case Verdict.NOT_MINE:
                        continue
                    case Principal() as person:
                        return person, provider.name
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
