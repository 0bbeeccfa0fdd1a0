"""Who may vouch for people: the providers of the settings, put together and closed together.

Each kind of provider has its section, whose keys are the fields of its own configuration class. A secret is named by
the file that holds it (``bind_passcode`` by ``bind_passcode_file``), and a duration in seconds (``clock_skew`` by
``clock_skew_seconds``). A provider's library is loaded only where the settings name such a provider.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from archive.errors import SettingsInvalid
from archive.home import Home
from archive.settings import Settings
from auth.credential import Secret
from auth.errors import ProviderMisconfigured
from auth.identity.breaker import Breaker
from auth.identity.chain import Chain, Provider
from auth.identity.guard import Guarded
from auth.identity.passcode import LocalPasscodes
from auth.identity.username import AssertedUsers
from auth.ports import PresentedTokens, UserStore

MAX_SECRET_BYTES: Final = 4096
CONCURRENT: Final = 8
"""Questions that one provider is asked at a time, unless its section says otherwise."""

if typing.TYPE_CHECKING:
    from auth.identity.saml.metadata import IssuerKeys

_SUFFIX: Final[Mapping[object, str]] = {Secret: "_file", timedelta: "_seconds"}

_Config = TypeVar("_Config")


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
        users = surroundings.users
        providers: list[Provider] = [AssertedUsers(users), LocalPasscodes(users)]
        try:
            for kind, tables in settings.providers.items():
                providers.extend(_KINDS[kind](table, surroundings, self._held) for table in tables)
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


def configured(
    config: type[_Config], section: str, table: Mapping[str, object], home: Home, **given: object
) -> _Config:
    """A section of the settings as its provider's configuration; what is ``given`` is no key of it.

    Raises:
        SettingsInvalid: an unknown key, a missing one, or a value of the wrong kind.
    """
    hints = typing.get_type_hints(config)
    fields = {field.name: field for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    keys = {name + _SUFFIX.get(_without_none(hints[name]), ""): name for name in fields if name not in given}
    values: dict[str, Any] = dict(given)
    for key, value in table.items():
        if key not in keys:
            raise SettingsInvalid(f"unknown key {key!r:.40} in [[{section}]]: known are {', '.join(keys)}")
        values[keys[key]] = _value(f"{section}.{key}", hints[keys[key]], value, home)
    for key, name in keys.items():
        field = fields[name]
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if needed and name not in values:
            raise SettingsInvalid(f"[[{section}]] lacks {key}: write it")
    return config(**values)


def _value(name: str, hint: Any, value: object, home: Home) -> object:
    hint = _without_none(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Secret and isinstance(value, str):
        return _read_secret(name, home.inside(Path(value)))
    if hint is Path and isinstance(value, str) and value and "\0" not in value:
        return home.inside(Path(value))
    if hint in (str, bool) and isinstance(value, hint):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint in (float, timedelta) and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if hint is float else timedelta(seconds=value)
    if origin in (tuple, frozenset) and isinstance(value, list):
        return origin(_value(name, arguments[0], item, home) for item in value)
    if origin is not None and isinstance(value, dict) and issubclass(origin, Mapping):
        pairs = {key: _value(f"{name}.{key}", arguments[1], item, home) for key, item in value.items()}
        return types.MappingProxyType(pairs)
    raise SettingsInvalid(f"{name} must be {_in_words(hint)}, not {value!r:.40}")


def _in_words(hint: Any) -> str:
    words = {
        int: "a whole number",
        float: "a number",
        timedelta: "a number of seconds",
        bool: "true or false",
        str: "a text in quotes",
        Path: "a path in quotes",
        Secret: "the path of a file, in quotes",
    }
    origin = typing.get_origin(hint)
    return words.get(hint) or ("a list in square brackets" if origin in (tuple, frozenset) else "a table in braces")


def _without_none(hint: Any) -> Any:
    """``X`` of ``X | None``."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return next(part for part in typing.get_args(hint) if part is not types.NoneType)
    return hint


def _read_secret(name: str, path: Path) -> Secret:
    """One trailing newline is the editor's."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ProviderMisconfigured(f"{name}: {path} cannot be read ({error.strerror})") from None
    if path.stat().st_mode & 0o077:
        raise ProviderMisconfigured(f"{name}: {path} can be read by others; run `chmod 600 {path}`")
    if not 0 < len(data) <= MAX_SECRET_BYTES:
        raise ProviderMisconfigured(f"{name}: {path} is empty or longer than {MAX_SECRET_BYTES} bytes")
    return Secret(data.removesuffix(b"\n"))


def _directory(table: Mapping[str, object], around: Surroundings, held: ExitStack) -> Provider:
    from auth.identity.directory.config import DirectoryConfig
    from auth.identity.directory.provider import Directory

    config = configured(DirectoryConfig, "directory", table, around.home)
    return _guarded(Directory(config, around.users), config.deadline_seconds, held)


def _kerberos(table: Mapping[str, object], around: Surroundings, held: ExitStack) -> Provider:
    from auth.identity.kerberos import Kerberos, KerberosConfig

    config = configured(KerberosConfig, "kerberos", table, around.home)
    provider = Kerberos(config, around.users, around.presented)
    held.callback(provider.close)
    return _guarded(provider, config.deadline_seconds, held, config.concurrent)


def _saml(table: Mapping[str, object], around: Surroundings, held: ExitStack) -> Provider:
    from auth.identity.saml.provider import Saml, SamlConfig

    own = {key: value for key, value in table.items() if key not in _ISSUER_KEYS}
    keys = _issuer_keys({key: value for key, value in table.items() if key in _ISSUER_KEYS}, table, around.home)
    config = configured(SamlConfig, "saml", _for_us(own, around), around.home, keys=keys)
    return Saml(config, around.users, around.presented, around.clock)


def _issuer_keys(said: Mapping[str, object], table: Mapping[str, object], home: Home) -> "IssuerKeys":
    """The certificates that an issuer signs with: files of their own, or those in its metadata."""
    from auth.identity.saml.metadata import IssuerKeys

    files = {key: _value(f"saml.{key}", _ISSUER_KEYS[key], value, home) for key, value in said.items()}
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


def _jwt(table: Mapping[str, object], around: Surroundings, held: ExitStack) -> Provider:
    from auth.identity.jwt.config import JwtConfig
    from auth.identity.jwt.provider import Jwt

    config = configured(JwtConfig, "jwt", _for_us(table, around), around.home)
    provider = Jwt(config, around.users, around.presented, around.clock)
    return _guarded(provider, config.deadline_seconds, held) if config.discovery else provider


def _for_us(table: Mapping[str, object], around: Surroundings) -> Mapping[str, object]:
    """With the audience that an issuer names where the settings do not say another: our AE title."""
    return {"audience": f"urn:dicom:ae:{around.ae_title}", **table}


def _guarded(provider: Provider, deadline_seconds: float, held: ExitStack, concurrent: int = CONCURRENT) -> Provider:
    guarded = Guarded(provider, deadline_seconds=deadline_seconds, concurrent=concurrent, breaker=Breaker())
    held.callback(guarded.close)
    return guarded


_ISSUER_KEYS: Final[Mapping[str, Any]] = {"certificates": tuple[Path, ...], "metadata": Path}

_KINDS: Final[Mapping[str, Callable[[Mapping[str, object], Surroundings, ExitStack], Provider]]] = {
    "directory": _directory,
    "kerberos": _kerberos,
    "saml": _saml,
    "jwt": _jwt,
}
