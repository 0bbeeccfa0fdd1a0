"""What an operator says of one issuer of tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from auth.errors import ProviderMisconfigured, RecordInvalid
from auth.names import checked_roles, external_name

ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)
"""Signatures only (RFC 7518 3.3 to 3.5, RFC 8037 3.1): who can check a MAC can make one, and ``none`` is nothing."""
SAME_ALGORITHM: Final = {"Ed25519": "EdDSA"}
"""Newer names (RFC 9864 2.2). Ed25519 is the one curve of EdDSA that is taken here, so the two names mean the same."""

MAX_LEEWAY_SECONDS: Final = 600.0
MAX_SPAN_SECONDS: Final = 604_800.0


@dataclass(frozen=True, slots=True)
class JwtConfig:
    """One issuer: who it is, where its keys are, and what its claims mean here.

    A claim is named by its name, or by a dotted path into nested ones: ``realm_access.roles``.

    Raises:
        ProviderMisconfigured: values that make no sense, alone or together.
    """

    name: str
    """The provider's, as `Assurance.verified_by` says it."""
    realm: str
    """What follows the last ``@`` in the names of this issuer's people."""
    issuer: str
    """``iss``, compared character by character."""
    audience: str
    """``aud``: one of the token's audiences must be this one."""
    jwks: Path | None = None
    """The issuer's keys as a file (RFC 7517 5). Either this or ``discovery``."""
    discovery: str | None = None
    """Where the issuer describes itself (OpenID Connect Discovery 4): an ``https`` URL."""
    ca: Path | None = None
    """PEM of whom the issuer's TLS certificate must come from; None: whom this system trusts."""
    algorithms: frozenset[str] = ALGORITHMS
    """Those accepted. A key decides which of them is its own."""
    leeway_seconds: float = 30.0
    """By how much the issuer's clock and ours may differ."""
    max_lifetime_seconds: float = 43_200.0
    """The longest time from ``iat`` to ``exp`` that is believed: one long shift."""
    subject: str = "sub"
    """The claim that names the person."""
    role_claim: str = "roles"
    roles: Mapping[str, str] = field(default_factory=dict)
    """Value of the role claim: our role. What is not here grants nothing."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Claim: our attribute."""
    single_use: bool = False
    """A token is good for one association, instead of for one node."""
    key_cache_seconds: float = 300.0
    """How long fetched keys are used; past it they are fetched again, or nobody is let in."""
    refresh_interval_seconds: float = 10.0
    """The issuer is asked for its keys at most this often, whatever key ids are presented."""
    deadline_seconds: float = 5.0
    """For everything that fetching the keys takes, from the host's address to the last byte."""

    def __post_init__(self) -> None:
        if (self.jwks is None) == (self.discovery is None):
            raise ProviderMisconfigured(
                "an issuer's keys are in a file (jwks) or discovered (discovery): say one of them"
            )
        if not self.algorithms or not self.algorithms <= ALGORITHMS:
            raise ProviderMisconfigured(f"algorithms are some of {', '.join(sorted(ALGORITHMS))}")
        if not self.issuer or not self.audience or not self.subject or not _is_realm(self.realm):
            raise ProviderMisconfigured("a JWT provider needs an issuer, an audience, a subject, a realm without `@`")
        if not 0 <= self.leeway_seconds <= MAX_LEEWAY_SECONDS:
            raise ProviderMisconfigured(f"leeway_seconds is 0 to {MAX_LEEWAY_SECONDS:g}")
        spans = (
            self.max_lifetime_seconds,
            self.key_cache_seconds,
            self.refresh_interval_seconds,
            self.deadline_seconds,
        )
        if not all(0 < span <= MAX_SPAN_SECONDS for span in spans):
            raise ProviderMisconfigured("a JWT provider's times are above 0 and at most a week")
        try:
            checked_roles(self.roles.values())
        except RecordInvalid as error:
            raise ProviderMisconfigured(str(error)) from error


def _is_realm(text: str) -> bool:
    try:
        return external_name(text) == text and "@" not in text
    except RecordInvalid:
        return False
