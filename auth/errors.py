"""What can go wrong while saying who, and whether. Every class carries a unique ``number`` (3xx: auth)."""

from typing import ClassVar


class AuthError(Exception):
    """Base of everything this package raises on purpose."""

    number: ClassVar[int] = 300


class UnknownNode(AuthError):
    """The certificate belongs to no registered node."""

    number = 301


class CertificateRefused(AuthError):
    """The peer certificate fails a numbered check: validity, issuer, usage, revocation."""

    number = 302


class AuthenticationFailed(AuthError):
    """The credential was examined and is not good. ``reason`` is for the audit, never for the peer."""

    number = 310

    def __init__(self, reason: str, *, claimed: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.claimed = claimed


class IdentityRequired(AuthenticationFailed):
    """The node must say who is at it, and did not."""

    number = 311


class IdentityTypeRefused(AuthenticationFailed):
    """A user identity type that this node may not use or nobody here verifies."""

    number = 312


class ProviderUnavailable(AuthenticationFailed):
    """Who could judge the credential cannot be asked: a directory that is down, keys that cannot be fetched."""

    number = 313


class TokenReplayed(AuthenticationFailed):
    """A good token that was presented before, where that is not allowed. Somebody may have stolen it."""

    number = 314


class TooManyAttempts(AuthenticationFailed):
    """So many attempts failed that this one is not examined."""

    number = 315


class ProviderMisconfigured(AuthError):
    """An identity provider cannot be set up as the settings say: a file, a library or a value is missing."""

    number = 316


class PolicyInvalid(AuthError):
    """The policy set does not parse, validate or compile; nothing is permitted until it does."""

    number = 320


class PolicyUnavailable(AuthError):
    """A decision could not be made; it counts as a denial."""

    number = 321


class AccessDenied(AuthError):
    """The policy does not permit the action. ``reason`` is for the audit, never for the peer."""

    number = 330

    def __init__(self, action: str, reason: str) -> None:
        super().__init__(f"{action}: {reason}")
        self.action = action
        self.reason = reason


class HiddenKeyRefused(AccessDenied):
    """A query matches on an attribute that the person may not see. Told alike whether or not anything would match."""

    number = 331


class QueryTooBroad(AccessDenied):
    """A query gives a value to none of the keys that the policy asks for. Told alike whatever would match."""

    number = 332


class TooManyResults(AccessDenied):
    """A query has more matches than the policy lets the person see at once. Counts what they may see, nothing else."""

    number = 334


class VolumeExceeded(AccessDenied):
    """The person would retrieve more objects today than the policy allows; nothing of the request is sent."""

    number = 333


class AuthorityError(AuthError):
    """A certificate could not be issued, or the authority's keys are not usable."""

    number = 340


class RecordInvalid(AuthError):
    """A user or node record is not well-formed: name, role, title, passcode."""

    number = 350


class RecordExists(AuthError):
    """A user or node of that name is already there."""

    number = 351


class RecordMissing(AuthError):
    """No user or node of that name."""

    number = 352
