"""What `strongroom doctor` looks at. Reads only, and everything it finds is one finding with a state."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from cryptography import x509

from archive.certificates import Held, Lasting, ours
from archive.control.lock import held
from archive.enforcement.attributes import is_keyword
from archive.errors import ArchiveError
from archive.home import OTHERS, Home, check_secret
from archive.settings import Settings, load_settings
from auth.errors import AuthError
from auth.node.authority import AuthorityFiles
from auth.node.trust import load_trust
from auth.policy.loading import load
from storage.errors import StorageError

_SAFE_SQLITE: Final = (3, 51, 3)


class State(Enum):
    """How bad a finding is."""

    GOOD = "good"
    WARNING = "warning"
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: State
    words: str


def examine(home: Home) -> list[Finding]:
    """Look at everything that can be looked at without a key; never raises for what is wrong with the home."""
    findings = [_mode(home), _sqlite(), Finding("server", State.GOOD, "running" if held(home.lock) else "not running")]
    try:
        settings = load_settings(home.settings)
    except ArchiveError as error:
        return [*findings, Finding("settings", State.WRONG, str(error))]
    findings.append(Finding("settings", State.GOOD, str(home.settings)))
    checks: list[Callable[[Home, Settings], Iterator[Finding]]] = [_insecure, _secrets, _certificates, _policies, _room]
    for check in checks:
        try:
            findings += check(home, settings)
        except (ArchiveError, StorageError, AuthError, OSError) as error:
            findings.append(Finding(check.__name__.removeprefix("_"), State.WRONG, str(error)))
    return findings


def _mode(home: Home) -> Finding:
    mode = home.root.stat().st_mode & 0o777
    if mode & OTHERS:
        return Finding("home", State.WRONG, f"others may enter {home.root}: run `chmod 700 {home.root}`")
    return Finding("home", State.GOOD, str(home.root))


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < _SAFE_SQLITE:
        words = f"{version}: before 3.51.3, two writers at once can corrupt a database; Strongroom has one"
    else:
        words = version
    return Finding("sqlite", State.GOOD, words)


def _insecure(home: Home, settings: Settings) -> Iterator[Finding]:
    for key, word in (("listen.plain", settings.listen.plain), ("identity.without_tls", settings.identity.without_tls)):
        if word:
            yield Finding(key, State.WARNING, f'"{word}": patients\' data or passcodes may cross the network in clear')


def _secrets(home: Home, settings: Settings) -> Iterator[Finding]:
    keyring = home.inside(settings.keys.keyring)
    authority = AuthorityFiles(home.inside(settings.keys.authority))
    places = {"keyring": keyring}
    kept = ("root", "node-ca", "signing-ca", "server", *(() if settings.keys.signer else ("signer",)))
    places |= {f"{name} key": authority.key(name) for name in kept}
    for what, path in places.items():
        try:
            check_secret(path)
        except ArchiveError as error:
            yield Finding(what, State.WRONG, str(error))
        else:
            yield _beside(what, path, home.root)


def _beside(what: str, path: Path, root: Path) -> Finding:
    """Keys next to what they protect go away with it: who takes the home has both."""
    if what in ("keyring", "root key") and path.stat().st_dev == root.stat().st_dev:
        return Finding(what, State.WARNING, f"{path} lies on the same device as the data it protects")
    return Finding(what, State.GOOD, str(path))


def _certificates(home: Home, settings: Settings) -> Iterator[Finding]:
    """Ours by their files, those of nodes by the records, which are only read."""
    now, soon = datetime.now(UTC), timedelta(days=settings.tls.warn_days)
    files = AuthorityFiles(home.inside(settings.keys.authority))
    for one in (*ours(files), *_of_nodes(home)):
        state = one.state(now, soon)
        bad = State.WARNING if one.of_node else State.WRONG
        how = {Lasting.GOOD: State.GOOD, Lasting.SOON: State.WARNING}.get(state, bad)
        whose = f"certificate of node {one.name}" if one.of_node else f"{one.name} certificate"
        yield Finding(whose, how, f"valid until {one.ends.date().isoformat()}")
    trust = load_trust(
        home.inside(Path(settings.tls.facility_ca)) if settings.tls.facility_ca else None,
        home.inside(settings.tls.revoked),
        [one.certificate for one in ours(files)],
    )
    for crl in trust.lists.values():
        state_of_list = State.GOOD if crl.until is not None and now < crl.until else State.WRONG
        ends = crl.until.date().isoformat() if crl.until else "never"
        yield Finding("revocation list", state_of_list, f"{len(crl.serials)} revoked, good until {ends}")


def _of_nodes(home: Home) -> Iterator[Held]:
    if not home.records.is_file():
        return
    with closing(sqlite3.connect(f"{home.records.as_uri()}?mode=ro", uri=True)) as records:
        for name, data in records.execute("SELECT name, certificate FROM record_node WHERE certificate IS NOT NULL"):
            yield Held(name, x509.load_der_x509_certificate(data), True)


def _policies(home: Home, settings: Settings) -> Iterator[Finding]:
    directory = home.inside(settings.policy.directory)
    loaded = load(directory, is_keyword)
    yield Finding(
        "policies", State.GOOD, f"{len(loaded.effects)} in {directory}, fingerprint {loaded.fingerprint[:16]}"
    )


def _room(home: Home, settings: Settings) -> Iterator[Finding]:
    free = shutil.disk_usage(home.root).free
    above = free - settings.storage.reserve_bytes
    state = State.GOOD if above > 0 else State.WRONG
    yield Finding("room", state, f"{free // 2**20} MiB free, {max(above, 0) // 2**20} MiB above the reserve")
