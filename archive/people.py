"""Who may vouch for people: the providers of the settings, put together and closed together.

Each kind of provider has its section (`archive.sections`). A provider's library is loaded only where the settings name
such a provider.
"""

import typing
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from archive.errors import SettingsInvalid
from archive.home import Home
from archive.sections import configured, value_of
from archive.settings import Settings
from auth.errors import ProviderMisconfigured
from auth.identity.apart import Apart
from auth.identity.breaker import Breaker
from auth.identity.chain import Chain, Provider
from auth.identity.guard import Guarded
from auth.identity.passcode import LocalPasscodes
from auth.identity.username import AssertedUsers
from auth.ports import PresentedTokens, UserStore

CONCURRENT: Final = 8
"""Questions that one provider is asked at a time, unless its section says otherwise."""
GUARD_SHARE: Final = 1.2
"""How many times a provider's own deadline its guard waits."""

if typing.TYPE_CHECKING:
    from auth.identity.kerberos import PeopleElsewhere
    from auth.identity.saml.metadata import IssuerKeys


@dataclass(slots=True)
class _Made:
    """What the sections so far have led to."""

    held: ExitStack
    people_of: "dict[str, PeopleElsewhere]" = field(default_factory=dict)
    """How each directory is asked about somebody whom another provider has verified."""
    realms: set[str] = field(default_factory=set)
    """What follows the last ``@`` of the names that each provider gives."""

    def claim(self, realm: str) -> None:
        """Two providers cannot mean two people by one name. Raises `SettingsInvalid` where they could."""
        if realm in self.realms:
            raise SettingsInvalid(f"two identity providers have the realm {realm!r:.40}: give each its own")
        self.realms.add(realm)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What providers are given besides their configuration."""

    home: Home
    ae_title: str
    users: UserStore
    presented: PresentedTokens
    clock: Callable[[], datetime]


class People:
    """The chain of providers, with what they hold open. Use as a context manager, or `close` it."""

    def __init__(self, settings: Settings, surroundings: Surroundings) -> None:
        """Set up every provider.

        Raises:
            SettingsInvalid: a section has an unknown key, lacks one, or has a value of the wrong kind.
            ProviderMisconfigured: a file, a library or a value is not what the provider needs.
        """
        self._held = ExitStack()
        made = _Made(self._held)
        users = surroundings.users
        providers: list[Provider] = [AssertedUsers(users), LocalPasscodes(users)]
        try:
            for kind, tables in settings.providers.items():
                providers.extend(_KINDS[kind](table, surroundings, made) for table in tables)
            allowed = frozenset(settings.identity.types)
            self.chain = Chain([provider for provider in providers if provider.identity_types <= allowed])
        except ValueError as error:
            self._held.close()
            raise SettingsInvalid(f"{error}: give each its own name") from None
        except BaseException:
            self._held.close()
            raise

    def close(self) -> None:
        """End what the providers hold; idempotent."""
        self._held.close()

    def __enter__(self) -> "People":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _directory(table: Mapping[str, object], around: Surroundings, made: _Made) -> Provider:
    from auth.identity.directory.config import DirectoryConfig
    from auth.identity.directory.provider import Directory

    config = configured(DirectoryConfig, "directory", table, around.home)
    provider = Directory(config, around.users)
    made.held.callback(provider.close)
    made.people_of[config.name] = provider.person
    deadline = config.deadline_seconds
    return Apart(_guarded(provider, deadline, made), _guarded(provider, deadline, made))


def _kerberos(table: Mapping[str, object], around: Surroundings, made: _Made) -> Provider:
    from auth.identity.kerberos import Kerberos, KerberosConfig

    config = configured(KerberosConfig, "kerberos", table, around.home)
    for realm in config.realms:
        made.claim(realm)
    elsewhere = made.people_of.get(config.roles_from)
    if config.roles_from and elsewhere is None:
        raise SettingsInvalid(
            f"kerberos.roles_from names no [[directory]]: there is none called {config.roles_from!r:.40}"
        )
    provider = Kerberos(config, around.users, around.presented, elsewhere=elsewhere)
    made.held.callback(provider.close)
    door = _guarded(provider, config.deadline_seconds, made, config.concurrent)
    if elsewhere is None:
        return Apart(door, provider)
    return Apart(door, _guarded(provider, config.deadline_seconds, made))


def _saml(table: Mapping[str, object], around: Surroundings, made: _Made) -> Provider:
    from auth.identity.saml.provider import Saml, SamlConfig

    own = {key: value for key, value in table.items() if key not in _ISSUER_KEYS}
    keys = _issuer_keys({key: value for key, value in table.items() if key in _ISSUER_KEYS}, table, around.home)
    config = configured(SamlConfig, "saml", _for_us(own, around), around.home, keys=keys)
    made.claim(config.realm)
    return Saml(config, around.users, around.presented, around.clock)


def _issuer_keys(said: Mapping[str, object], table: Mapping[str, object], home: Home) -> "IssuerKeys":
    """The certificates that an issuer signs with: files of their own, or those in its metadata."""
    from auth.identity.saml.metadata import IssuerKeys

    files = {key: value_of(f"saml.{key}", _ISSUER_KEYS[key], value, home) for key, value in said.items()}
    match files:
        case {"certificates": tuple() as paths, **rest} if not rest:
            return IssuerKeys.from_files(paths)
        case {"metadata": Path() as path, **rest} if not rest:
            try:
                return IssuerKeys.from_metadata(path.read_bytes(), str(table.get("issuer", "")))
            except OSError as error:
                raise ProviderMisconfigured(f"saml.metadata: {path} cannot be read ({error.strerror})") from None
        case _:
            raise SettingsInvalid("[[saml]] has either certificates or metadata: write one of them")


def _jwt(table: Mapping[str, object], around: Surroundings, made: _Made) -> Provider:
    from auth.identity.jwt.config import JwtConfig
    from auth.identity.jwt.provider import Jwt

    config = configured(JwtConfig, "jwt", _for_us(table, around), around.home)
    made.claim(config.realm)
    provider = Jwt(config, around.users, around.presented, around.clock)
    if config.discovery is None:
        return provider
    return Apart(_guarded(provider, config.deadline_seconds, made), provider, router=provider)


def _for_us(table: Mapping[str, object], around: Surroundings) -> Mapping[str, object]:
    """With the audience that an issuer names where the settings do not say another: our AE title."""
    return {"audience": f"urn:dicom:ae:{quote(around.ae_title, safe='')}", **table}


def _guarded(provider: Provider, deadline_seconds: float, made: _Made, concurrent: int = CONCURRENT) -> Provider:
    # A little longer than the provider's own, which knows better what it was waiting for.
    deadline = deadline_seconds * GUARD_SHARE
    guarded = Guarded(provider, deadline_seconds=deadline, concurrent=concurrent, breaker=Breaker())
    made.held.callback(guarded.close)
    return guarded


_ISSUER_KEYS: Final[Mapping[str, Any]] = {"certificates": tuple[Path, ...], "metadata": Path}

_KINDS: Final[Mapping[str, Callable[[Mapping[str, object], Surroundings, _Made], Provider]]] = {
    "directory": _directory,
    "kerberos": _kerberos,
    "saml": _saml,
    "jwt": _jwt,
}
