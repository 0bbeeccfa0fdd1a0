"""``detection.toml`` as dataclasses: which rules there are, how many alerts and records, and who is warned.

Every section's keys are the fields of the dataclass that it configures; an unknown one, a wrong type and a value out of
range are errors that name the key. Lines may be left out, and so may the file: then the rules are those of the release.
"""

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from archive.audit.coalescing import FloodLimits
from archive.audit.detection.limiter import AlertLimits
from archive.audit.detection.mail import MailConfig
from archive.audit.detection.rules import (
    OutOfHours,
    RepeatedFailures,
    Rule,
    TitleProbing,
    UnusualDestination,
    UnusualVolume,
)
from archive.audit.detection.rules_of_time import ClockJump, Silence
from archive.audit.detection.webhook import WebhookConfig
from archive.errors import SettingsInvalid
from archive.home import Home
from archive.sections import configured, value_of

MAX_BYTES: Final = 1_048_576
MAX_RULES: Final = 64
MAX_TARGETS: Final = 8
KINDS: Final[Mapping[str, type[Rule]]] = {
    "repeated-failures": RepeatedFailures,
    "title-probing": TitleProbing,
    "unusual-volume": UnusualVolume,
    "unusual-destination": UnusualDestination,
    "out-of-hours": OutOfHours,
    "clock-jump": ClockJump,
    "silence": Silence,
}
"""By the ``kind`` of a ``[[rule]]``."""
_SECTIONS: Final = ("flood", "alerts", "rule", "webhook", "mail")

_Section = TypeVar("_Section")


@dataclass(frozen=True, slots=True)
class DetectionSettings:
    """Everything that ``detection.toml`` says."""

    flood: FloodLimits
    alerts: AlertLimits
    rules: tuple[Rule, ...]
    webhooks: tuple[WebhookConfig, ...]
    mails: tuple[MailConfig, ...]


def load_detection(path: Path, home: Home) -> DetectionSettings:
    """Read a file of rules.

    Raises:
        SettingsInvalid: it cannot be read, is not TOML, or says something that is not understood.
        ProviderMisconfigured: a file with a secret cannot be read, or can be by others.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read ({error.strerror}): restore it or correct its mode") from None
    if len(data) > MAX_BYTES:
        raise SettingsInvalid(f"{path} is larger than {MAX_BYTES} bytes: it is not a file of rules")
    try:
        return parse_detection(data.decode("utf-8"), home)
    except UnicodeDecodeError:
        raise SettingsInvalid(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except SettingsInvalid as error:
        raise SettingsInvalid(f"{path}: {error}") from None


def parse_detection(text: str, home: Home) -> DetectionSettings:
    """Rules from the text of a file; paths count from the home. Raises `SettingsInvalid` as `load_detection`."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsInvalid(f"not TOML ({error}): correct that place") from None
    for name in table:
        if name not in _SECTIONS:
            raise SettingsInvalid(f"unknown section {name!r:.40}: known are {', '.join(_SECTIONS)}")
    rules = tuple(_rule(each, home) for each in _tables("rule", table, MAX_RULES))
    names = [rule.name for rule in rules]
    if len(set(names)) < len(names):
        raise SettingsInvalid("two rules have one name: give each its own")
    return DetectionSettings(
        flood=_section(FloodLimits, "[flood]", "flood", _table("flood", table), home),
        alerts=_section(AlertLimits, "[alerts]", "alerts", _table("alerts", table), home),
        rules=rules,
        webhooks=tuple(
            configured(WebhookConfig, "webhook", each, home) for each in _tables("webhook", table, MAX_TARGETS)
        ),
        mails=tuple(configured(MailConfig, "mail", each, home) for each in _tables("mail", table, MAX_TARGETS)),
    )


def _rule(table: Mapping[str, object], home: Home) -> Rule:
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise SettingsInvalid(f"rule.kind is {kind!r:.40}: it must be one of {', '.join(KINDS)}")
    own = {key: value for key, value in table.items() if key != "kind"}
    return _section(KINDS[kind], f"[[rule]] of kind {kind}", "rule", own, home)


def _tables(name: str, table: Mapping[str, object], most: int) -> list[Mapping[str, object]]:
    value = table.get(name, [])
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise SettingsInvalid(f"{name} is a section that may be repeated: write [[{name}]] and its keys below")
    if len(value) > most:
        raise SettingsInvalid(f"there are more than {most} sections [[{name}]]")
    return value


def _table(name: str, table: Mapping[str, object]) -> Mapping[str, object]:
    value = table.get(name, {})
    if not isinstance(value, dict):
        raise SettingsInvalid(f"{name} is a section: write [{name}] and its keys below")
    return value


def _section(kind: type[_Section], title: str, prefix: str, table: Mapping[str, object], home: Home) -> _Section:
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in fields:
            raise SettingsInvalid(f"unknown key {key!r:.40} in {title}: known are {', '.join(fields)}")
        values[key] = value_of(f"{prefix}.{key}", hints[key], value, home)
    for name, field in fields.items():
        if field.default is dataclasses.MISSING and name not in values:
            raise SettingsInvalid(f"{title} lacks {name}: write it")
    return kind(**values)
