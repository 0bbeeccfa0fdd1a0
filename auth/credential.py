"""What a person presents in association negotiation (PS3.7 D.3.3.7). Secrets redact themselves everywhere."""

from dataclasses import dataclass, field


class Secret:
    """Bytes that never show in a log, a traceback or a repr. `reveal` is the only way to them."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """The bytes themselves, for the one comparison that needs them."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True)
class Username:
    """Type 1: a bare claim."""

    name: str
    identity_type = 1


@dataclass(frozen=True, slots=True)
class UsernamePasscode:
    """Type 2: a name and the passcode that proves it."""

    name: str
    passcode: Secret = field(repr=False)
    identity_type = 2


@dataclass(frozen=True, slots=True)
class KerberosTicket:
    """Type 3: a service ticket."""

    ticket: Secret = field(repr=False)
    identity_type = 3


@dataclass(frozen=True, slots=True)
class SamlAssertion:
    """Type 4: a SAML assertion."""

    assertion: Secret = field(repr=False)
    identity_type = 4


@dataclass(frozen=True, slots=True)
class JsonWebToken:
    """Type 5: a JSON Web Token."""

    token: Secret = field(repr=False)
    identity_type = 5


Credential = Username | UsernamePasscode | KerberosTicket | SamlAssertion | JsonWebToken
