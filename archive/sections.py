"""Sections of the settings that may be repeated, as the configuration of whatever they set up.

The keys of such a section are the fields of a frozen dataclass in the module that it configures, which also knows what
its values must be. A secret is named by the file that holds it (``bind_passcode`` by ``bind_passcode_file``), and a
duration in seconds (``clock_skew`` by ``clock_skew_seconds``); paths count from the home.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from archive.errors import SettingsInvalid
from archive.home import Home
from auth.credential import Secret
from auth.errors import ProviderMisconfigured

MAX_SECRET_BYTES: Final = 4096
_SUFFIX: Final[Mapping[object, str]] = {Secret: "_file", timedelta: "_seconds"}

_Config = TypeVar("_Config")


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
        values[keys[key]] = value_of(f"{section}.{key}", hints[keys[key]], value, home)
    for key, name in keys.items():
        field = fields[name]
        needed = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if needed and name not in values:
            raise SettingsInvalid(f"[[{section}]] lacks {key}: write it")
    return config(**values)


def value_of(name: str, hint: Any, value: object, home: Home) -> object:
    """A value as the type that its field declares; ``name`` says which, in errors. Raises as `configured`."""
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
        return origin(value_of(name, arguments[0], item, home) for item in value)
    if origin is not None and isinstance(value, dict) and issubclass(origin, Mapping):
        pairs = {key: value_of(f"{name}.{key}", arguments[1], item, home) for key, item in value.items()}
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
