"""What a serving archive looks after by itself, in one thread: files of TLS that change, nodes that are good no more,
certificates that end, and objects whose time to be erased has come.

Each look is cheap, and none of them stops the others: what fails is told, and looked at again.
"""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

import structlog

from archive.audit.events import Actor, Alert, AuditEvent, Outcome, SecurityAlert
from archive.certificates import Held, Lasting
from archive.errors import ArchiveError, AuditUnavailable
from archive.metrics import Metrics
from auth.errors import AuthError
from storage.errors import StorageError

_log = structlog.get_logger("strongroom.tending")
_TICK_SECONDS: Final = 1.0
_ERASED_EACH_SECONDS: Final = 3_600.0
_WARNED_AGAIN: Final = timedelta(days=1)


class AuditRecorder(Protocol):
    """Where warnings are told (`archive.audit.log.AuditLog`)."""

    def record(self, *events: AuditEvent) -> None:
        """Raises `AuditUnavailable`."""


class Files:
    """What a set of files looked like; folders by what is in them."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._seen = self._look()

    def changed(self) -> bool:
        """Whether they look otherwise than when this was last asked."""
        before, self._seen = self._seen, self._look()
        return self._seen != before

    def _look(self) -> tuple[object, ...]:
        return tuple(stamp for path in self._paths for stamp in _stamps(path))


class Tending:
    """The thread. `begin` it once something listens, `close` it before that ends."""

    def __init__(
        self,
        *,
        files: Files,
        reload: Callable[[], None],
        reload_seconds: float,
        generation: Callable[[], int],
        withdraw: Callable[[], None],
        held: Callable[[], Iterable[Held]],
        warn: timedelta,
        audit: AuditRecorder,
        metrics: Metrics,
        clock: Callable[[], datetime],
        erase: Callable[[], int],
    ) -> None:
        """Prepare.

        Args:
            files: what `reload` reads.
            reload: reads certificates, keys, authorities and revocation lists again, or raises and changes nothing.
            reload_seconds: between two looks at the files.
            generation: a number that grows with every change to the nodes.
            withdraw: ends the associations of nodes that are good no more.
            held: every certificate in use.
            warn: so long before its end a certificate is warned of.
            audit: where that is told.
            metrics: where it is counted.
            clock: aware times.
            erase: destroys what was taken away long enough ago; how many objects.
        """
        self._files, self._reload, self._reload_seconds = files, reload, reload_seconds
        self._generation, self._withdraw = generation, withdraw
        self._held, self._warn = held, warn
        self._audit, self._metrics, self._clock = audit, metrics, clock
        self._looked = time.monotonic()
        self._known_generation = generation()
        self._swept = time.monotonic()
        self._warned: datetime | None = None
        self._erase = erase
        self._erased: float | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tending", daemon=True)

    def begin(self) -> None:
        """Look from now on; certificates that end soon are warned of at once."""
        self._thread.start()

    def close(self) -> None:
        """Look no more; idempotent."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def reload(self) -> None:
        """Read everything again, now.

        Raises:
            AuthError: it is not usable, and what was read before still counts.
        """
        try:
            self._reload()
        except AuthError:
            self._metrics.reloads.labels("failed").inc()
            raise
        self._metrics.reloads.labels("good").inc()
        self._withdraw()

    def _run(self) -> None:
        while True:
            for look in (self._look_at_files, self._look_at_nodes, self._look_at_ends, self._look_at_removed):
                try:
                    look()
                except (ArchiveError, AuthError, StorageError, OSError) as error:
                    _log.warning("not looked after", what=look.__name__.strip("_"), error=str(error))
                except Exception:  # noqa: BLE001 -- the next second may go better, and the thread is needed
                    _log.exception("not looked after", what=look.__name__.strip("_"))
            if self._stop.wait(_TICK_SECONDS):
                return

    def _look_at_files(self) -> None:
        if time.monotonic() - self._looked < self._reload_seconds:
            return
        self._looked = time.monotonic()
        if self._files.changed():
            self.reload()
            _log.info("certificates, keys and revocations have changed and were read again")

    def _look_at_nodes(self) -> None:
        """After every change to the nodes; and now and then, since certificates and lists run out by themselves."""
        generation = self._generation()
        if generation != self._known_generation or time.monotonic() - self._swept >= self._reload_seconds:
            self._known_generation, self._swept = generation, time.monotonic()
            self._withdraw()

    def _look_at_ends(self) -> None:
        now = self._clock()
        if self._warned is not None and now - self._warned < _WARNED_AGAIN:
            return
        self._warned = now
        for one in self._held():
            self._metrics.certificate_expiry.labels(one.name).set(one.ends.timestamp())
            state = one.state(now, self._warn)
            if state in (Lasting.SOON, Lasting.OVER) and (one.until is None or state is not Lasting.OVER):
                self._tell(one, state)

    def _look_at_removed(self) -> None:
        if self._erased is not None and time.monotonic() - self._erased < _ERASED_EACH_SECONDS:
            return
        self._erased = time.monotonic()
        count = self._erase()
        if count:
            _log.info("objects that were taken away long enough ago are erased", objects=count)

    def _tell(self, one: Held, state: Lasting) -> None:
        whose = f"of node {one.name}" if one.of_node else one.name
        words = f"the certificate {whose} {state.value}: it ends {one.ends.isoformat(timespec='minutes')}"
        _log.warning("certificate", words=words)
        try:
            alert = Alert.SECURITY_CONFIGURATION.value
            self._audit.record(SecurityAlert(Actor(), Outcome.MINOR_FAILURE, alert=alert, description=words))
        except AuditUnavailable as error:
            _log.warning("not audited", words=words, error=str(error))


def _stamps(path: Path) -> Iterable[object]:
    """Name, size, time and place of a file, or of each file in a folder; nothing where there is none."""
    try:
        entries = sorted(path.iterdir()) if path.is_dir() else [path]
        for entry in entries:
            found = entry.stat()
            yield (str(entry), found.st_mtime_ns, found.st_size, found.st_ino)
    except OSError:
        yield str(path)
