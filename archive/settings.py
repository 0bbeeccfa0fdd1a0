"""``strongroom.toml`` as frozen dataclasses: the only place where the file's keys, defaults and ranges are known.

An unknown section or key, a wrong type and a value out of range are errors that name the key; nothing is ignored.
`config/strongroom.toml` shows every key with its default, and a test compares the two.
"""

import re
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from archive.errors import SettingsInvalid
from archive.upper_layer.limits import Limits

INSECURE: Final = "insecure"
"""The word that an operator writes to run without TLS."""
HIDE, SHOW = "hide", "show"
"""What becomes of objects that were rejected for quality reasons."""
MAX_SETTINGS_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    """Section ``[archive]``."""

    ae_title: str = "STRONGROOM"
    """Our AE title, 1 to 16 characters (PS3.5 6.2, AE)."""


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Section ``[listen]``: where associations are accepted."""

    host: str = "127.0.0.1"
    port: int = 2762
    """DICOM over TLS (PS3.15 B.12; IANA dicom-tls is 2762); 0 lets the system choose."""
    plain: str = ""
    """Empty, or the word ``insecure``: also listen without TLS."""
    plain_port: int = 11112
    """DICOM without TLS (IANA dicom is 11112)."""
    drain_seconds: float = 20.0
    """What open associations get to finish after SIGTERM."""


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Section ``[tls]``: whom else we believe, and what is read again while serving."""

    facility_ca: str = ""
    """Empty, or a path, PEM: issuing authorities of the facility; any certificate of theirs is a facility node's."""
    facility_role: str = "service"
    """The one role of facility nodes."""
    revoked: Path = Path("revoked")
    """A folder of revocation lists (PEM or DER), and of their issuers' certificates (PEM) where we do not know them."""
    ocsp_url: str = ""
    """Empty, or the OCSP responder of the facility's authorities, an http URL."""
    ocsp_seconds: float = 3.0
    """For the exchange with that responder."""
    reload_seconds: float = 5.0
    """How often certificates, keys and revocation lists are looked at for changes."""
    warn_days: int = 30
    """So many days before its end a certificate is warned of, daily."""


@dataclass(frozen=True, slots=True)
class KeySettings:
    """Section ``[keys]``: where the secrets lie; relative to the home, or outside it."""

    keyring: Path = Path("keys/keyring.json")
    authority: Path = Path("pki")
    signer: str = ""
    """Empty: the signer's key is a file of the authority; or a token, as a PKCS #11 URI (RFC 7512)."""


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Section ``[identity]``: how people prove who they are (PS3.7 D.3.3.7)."""

    types: tuple[int, ...] = (1, 2, 3, 4, 5)
    """User identity types that are verified at all (PS3.7 Table D.3-14), those without a provider excepted."""
    without_tls: str = ""
    """Empty, or the word ``insecure``: take an identity that came over a plain connection."""


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Section ``[policy]``."""

    directory: Path = Path("policies")
    """Holds ``schema.cedarschema`` and the policies, ``*.cedar``."""


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Section ``[storage]``."""

    reserve_bytes: int = 1_073_741_824
    """Free space that storing never touches."""
    processes: int = 0
    """That take objects in, beside the one that serves; 0: as many as there are processors, at most 8."""
    sop_classes: tuple[str, ...] = ()
    """UIDs of SOP classes whose objects are taken besides those that are always (`archive.dimse.sop_classes`)."""


@dataclass(frozen=True, slots=True)
class CommitmentSettings:
    """Section ``[commitment]``: delivery of storage commitment results."""

    retry_seconds: float = 86_400.0
    """For so long after the request a result is tried again."""
    longest_pause_seconds: float = 1_800.0
    """Between two attempts, at most; they begin with ten seconds."""


@dataclass(frozen=True, slots=True)
class SignatureSettings:
    """Section ``[signatures]``: whose digital signatures count, and what becomes of objects by theirs."""

    trust: str = ""
    """Empty, or a path, PEM: anchors, intermediates and single signers that are believed."""
    revoked: str = ""
    """Empty, or a path: a revocation list, PEM or DER."""
    timestamp_ca: str = ""
    """Empty, or a path, PEM: whose certified timestamps count; else those of ``trail.timestamp_ca``."""
    invalid: str = "flag"
    """What becomes of an object with a signature that is broken, or whose signer was not valid or is revoked."""
    unknown: str = "accept"
    """... with a right signature by somebody who is not trusted."""
    indeterminate: str = "flag"
    """... with one that can be neither proved nor disproved here."""
    weak: str = "accept"
    """... with one whose digest or key no longer resists forgery."""
    require: str = ""
    """Empty, or the name of a section ``[[signature]]``: objects are to be signed so."""
    missing: str = "flag"
    """What becomes of an object that is not signed as ``require`` wants."""


@dataclass(frozen=True, slots=True)
class DeletionSettings:
    """Section ``[deletion]``."""

    quality_notes: str = HIDE
    """What a rejection note for quality reasons does: ``hide`` its objects, or ``show`` them with the note."""
    erase_after_days: int = 0
    """So long after it was taken away an object is erased by itself, unless its study is on hold; 0: never."""


@dataclass(frozen=True, slots=True)
class TrailSettings:
    """Section ``[trail]``: the audit trail's signed checkpoints."""

    checkpoint_seconds: float = 900.0
    """At most so long does a record wait until a checkpoint vouches for it."""
    checkpoint_file: str = ""
    """Empty, or a path: each of these checkpoints is added to that file, which should lie on another machine."""
    timestamp_url: str = ""
    """Empty, or a time stamping authority (RFC 3161) that stamps these checkpoints: https, or http on this machine."""
    timestamp_ca: str = ""
    """A path, PEM: whom a stamp's chain of certificates has to lead to. Needed with ``timestamp_url``."""
    timestamp_seconds: float = 4.0
    """For the whole exchange with that authority."""


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Section ``[log]``: the operational log on standard error; the audit trail is another thing."""

    level: str = "info"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that ``strongroom.toml`` says."""

    archive: ArchiveSettings = field(default_factory=ArchiveSettings)
    listen: ListenSettings = field(default_factory=ListenSettings)
    limits: Limits = field(default_factory=Limits)
    tls: TlsSettings = field(default_factory=TlsSettings)
    keys: KeySettings = field(default_factory=KeySettings)
    identity: IdentitySettings = field(default_factory=IdentitySettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    storage: StorageSettings = field(default_factory=StorageSettings)
    commitment: CommitmentSettings = field(default_factory=CommitmentSettings)
    signatures: SignatureSettings = field(default_factory=SignatureSettings)
    deletion: DeletionSettings = field(default_factory=DeletionSettings)
    trail: TrailSettings = field(default_factory=TrailSettings)
    log: LogSettings = field(default_factory=LogSettings)
    providers: Mapping[str, tuple[Mapping[str, object], ...]] = field(default_factory=dict)
    """Sections like ``[[directory]]``, by kind and in their order; `archive.sections` reads them."""
    audit: tuple[Mapping[str, object], ...] = ()
    """Sections ``[[audit]]``, each of them where audit messages go."""
    signature: tuple[Mapping[str, object], ...] = ()
    """Sections ``[[signature]]``: local signature profiles (`archive.signatures.local`)."""


PROVIDERS: Final = ("directory", "kerberos", "saml", "jwt")
"""Kinds of identity providers, each any number of times."""
_REPEATED: Final = (*PROVIDERS, "audit", "signature")
ACTIONS: Final = ("accept", "flag", "quarantine", "refuse")
"""What may become of an object by its signatures."""

_Section = TypeVar("_Section")
_AE_TITLE: Final = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_HOST: Final = re.compile(r"[A-Za-z0-9:._%-]{1,253}")
_AUTHORITY: Final = re.compile(
    r"(?:https://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])|http://(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]))"
    r"(?::(?!0)[0-9]{1,4}|:[1-5][0-9]{4}|:6[0-4][0-9]{3}|:65[0-4][0-9]{2}|:655[0-2][0-9]|:6553[0-5])?(?:[/?][!-\"$-~]*)?"
)
"""A URL without user name or fragment; unencrypted to this machine alone."""
_ROLE: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_RESPONDER: Final = re.compile(r"http://(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?(?:/[!-~]*)?")
_LEVELS: Final = ("debug", "info", "warning", "error")
_IDENTITY_TYPES: Final = frozenset({1, 2, 3, 4, 5})
"""PS3.7 Table D.3-14."""

# Smallest and largest value of every number, both allowed. What is not here is bounded by `_COUNT` or `_SECONDS`.
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "listen.port": (0, 65_535),
    "listen.plain_port": (0, 65_535),
    "listen.drain_seconds": (0, 3_600),
    "limits.associate_pdu_bytes": (4_096, 16_777_216),
    "limits.pdu_bytes": (4_096, 16_777_216),
    "limits.presentation_contexts": (1, 128),
    "limits.command_bytes": (256, 1_048_576),
    "limits.data_set_bytes": (1, 2**48),
    "limits.data_set_depth": (1, 10_000),
    "limits.inflated_bytes": (0, 2**40),
    "limits.inflation_ratio": (0, 100_000),
    "limits.least_bytes_per_second": (1, 1_048_576),
    "limits.rate_seconds": (1, 3_600),
    "storage.reserve_bytes": (0, 2**50),
    "storage.processes": (0, 64),
    "commitment.retry_seconds": (1, 604_800),
    "deletion.erase_after_days": (0, 36_500),
    "trail.timestamp_seconds": (0.1, 60),
    "tls.ocsp_seconds": (0.1, 60),
    "tls.reload_seconds": (1, 3_600),
    "tls.warn_days": (1, 3_650),
}
_COUNT: Final = (1, 2**31)
_SECONDS: Final = (0.1, 86_400)


def is_ae_title(text: str) -> bool:
    """Whether ``text`` is an AE title without padding: 1 to 16 printable ASCII characters, no backslash (PS3.5 6.2)."""
    return _AE_TITLE.fullmatch(text) is not None


def load_settings(path: Path) -> Settings:
    """Read a settings file.

    Raises:
        SettingsInvalid: it cannot be read, is not TOML, or says something that is not understood.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SETTINGS_BYTES + 1)
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read ({error.strerror}): restore it or correct its mode") from None
    if len(data) > MAX_SETTINGS_BYTES:
        raise SettingsInvalid(f"{path} is larger than {MAX_SETTINGS_BYTES} bytes: it is not a settings file")
    try:
        return parse_settings(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise SettingsInvalid(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except SettingsInvalid as error:
        raise SettingsInvalid(f"{path}: {error}") from None


def parse_settings(text: str) -> Settings:
    """Settings from the text of a file.

    Raises:
        SettingsInvalid: not TOML, an unknown section or key, a wrong type, or a value out of range.
    """
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsInvalid(f"not TOML ({error}): correct that place") from None
    hints = typing.get_type_hints(Settings)
    del hints["providers"], hints["audit"], hints["signature"]
    chosen: dict[str, Any] = {
        "providers": {kind: _tables(kind, table.pop(kind)) for kind in PROVIDERS if kind in table},
        "audit": _tables("audit", table.pop("audit", [])),
        "signature": _tables("signature", table.pop("signature", [])),
    }
    for name, value in table.items():
        if name not in hints:
            known = ", ".join((*hints, *_REPEATED))
            raise SettingsInvalid(f"unknown section [{name!r:.40}]: known are {known}")
        if not isinstance(value, dict):
            raise SettingsInvalid(f"{name} is a section: write [{name}] and its keys below")
        chosen[name] = _section(hints[name], name, value)
    settings = Settings(**chosen)
    _check(settings)
    return settings


def _tables(kind: str, value: object) -> tuple[Mapping[str, object], ...]:
    if not isinstance(value, list) or not all(isinstance(table, dict) for table in value):
        raise SettingsInvalid(f"{kind} is a section that may be repeated: write [[{kind}]] and its keys below")
    return tuple(value)


def _section(kind: type[_Section], section: str, table: Mapping[str, object]) -> _Section:
    """One section as its dataclass, every key known, typed and in range."""
    hints = typing.get_type_hints(kind)
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in hints:
            raise SettingsInvalid(f"unknown key {key!r:.40} in [{section}]: known are {', '.join(hints)}")
        values[key] = _value(f"{section}.{key}", hints[key], value)
    return kind(**values)


def _value(name: str, kind: object, value: object) -> object:
    """``value`` as the type that the dataclass declares."""
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return int(_in_range(name, value, _COUNT))
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return _in_range(name, float(value), _SECONDS)
    if kind is str and isinstance(value, str):
        return value
    if kind is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    if isinstance(kind, types.GenericAlias) and isinstance(value, list):
        of = typing.get_args(kind)[0]
        if all(isinstance(item, of) and not isinstance(item, bool) for item in value):
            return tuple(value)
    raise SettingsInvalid(f"{name} must be {_in_words(kind)}, not {value!r:.40}")


def _in_words(kind: object) -> str:
    words = {int: "a whole number", float: "a number of seconds", str: "a text in quotes", Path: "a path in quotes"}
    if isinstance(kind, type) and kind in words:
        return words[kind]
    return "a list of texts in quotes" if kind == tuple[str, ...] else "a list of whole numbers"


def _in_range(name: str, value: float, default: tuple[float, float]) -> float:
    low, high = _RANGES.get(name, default)
    if not low <= value <= high:  # a NaN is refused here too
        raise SettingsInvalid(f"{name} is {value}: it must be from {low} to {high}")
    return value


def _check(settings: Settings) -> None:
    """What types and ranges cannot say."""
    if not is_ae_title(settings.archive.ae_title):
        raise SettingsInvalid("archive.ae_title must be 1 to 16 printable ASCII characters without a backslash")
    if _HOST.fullmatch(settings.listen.host) is None:
        raise SettingsInvalid("listen.host must be a host name or an IP address")
    for name, word in (
        ("listen.plain", settings.listen.plain),
        ("identity.without_tls", settings.identity.without_tls),
    ):
        if word not in ("", INSECURE):
            raise SettingsInvalid(f'{name} must be "" or the word "{INSECURE}"')
    if settings.listen.plain and settings.listen.plain_port == settings.listen.port != 0:
        raise SettingsInvalid("listen.plain_port must differ from listen.port")
    if not set(settings.identity.types) <= _IDENTITY_TYPES:
        raise SettingsInvalid("identity.types may hold 1 to 5, the user identity types of PS3.7 Table D.3-14")
    url = settings.trail.timestamp_url
    if url and _AUTHORITY.fullmatch(url) is None:
        raise SettingsInvalid("trail.timestamp_url must be an https URL, or an http one on this machine")
    if url and not settings.trail.timestamp_ca:
        raise SettingsInvalid("trail.timestamp_ca must name the certificates that trail.timestamp_url is trusted by")
    if _ROLE.fullmatch(settings.tls.facility_role) is None:
        raise SettingsInvalid("tls.facility_role must be the name of a role")
    if settings.tls.ocsp_url and _RESPONDER.fullmatch(settings.tls.ocsp_url) is None:
        raise SettingsInvalid("tls.ocsp_url must be an http URL: what comes back is signed")
    if settings.tls.ocsp_url and not settings.tls.facility_ca:
        raise SettingsInvalid("tls.facility_ca must name the authorities that tls.ocsp_url speaks for")
    for name in ("invalid", "unknown", "indeterminate", "weak", "missing"):
        if getattr(settings.signatures, name) not in ACTIONS:
            raise SettingsInvalid(f"signatures.{name} must be one of {', '.join(ACTIONS)}")
    if settings.deletion.quality_notes not in (HIDE, SHOW):
        raise SettingsInvalid(f'deletion.quality_notes must be "{HIDE}" or "{SHOW}"')
    if settings.log.level not in _LEVELS:
        raise SettingsInvalid(f"log.level must be one of {', '.join(_LEVELS)}")
