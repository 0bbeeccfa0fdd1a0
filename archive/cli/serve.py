"""``strongroom serve``: the archive itself, until SIGTERM."""

import signal
import sys
from collections.abc import Callable

from archive.cli.frame import HomeOption, home_of
from archive.control.lock import HomeLock
from archive.errors import ArchiveError
from archive.home import Home
from auth.errors import AuthError
from storage.errors import StorageError

_TERMINATE = frozenset({signal.SIGTERM, signal.SIGINT})
_SIGNALS = _TERMINATE | {signal.SIGHUP}


def serve(home: HomeOption = None) -> None:
    """Serve until SIGTERM. Open associations may finish then; SIGHUP reads policies and certificates again.

    Once it listens, one line goes to standard output: ready dicom-tls HOST:PORT AE_TITLE. The log is on standard error.
    """
    place = home_of(home)
    # Blocked before any thread begins, so that every thread inherits it and only this one ever takes a signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with HomeLock(place.lock):
        _serve(place)


def _serve(home: Home) -> None:
    from archive.control.operator import Operator
    from archive.control.protocol import Json, Request
    from archive.control.server import ControlServer
    from archive.control.table import perform
    from archive.logs import configure_log
    from archive.serving import Serving
    from archive.settings import load_settings

    configure_log(load_settings(home.settings).log.level)
    with Serving(home) as serving:
        archive = serving.archive

        def handle(request: Request, operator: Operator) -> Json:
            return perform(archive, request, operator)

        def reload() -> None:
            perform(archive, Request("policy.reload", {}), Operator.this())
            serving.reload()

        control = ControlServer(home.control_socket, handle)
        serving.listen()
        control.start()
        try:
            sys.stdout.write(f"ready dicom-tls {serving.address} {archive.settings.archive.ae_title}\n")
            sys.stdout.flush()
            _until_told(reload)
        finally:
            control.close()


def _until_told(reload: Callable[[], None]) -> None:
    """Wait for SIGTERM; do what SIGHUP asks for meanwhile."""
    import structlog

    log = structlog.get_logger("strongroom.serve")
    while True:
        received = signal.Signals(signal.sigwait(_SIGNALS))
        if received in _TERMINATE:
            log.info("stopping", signal=received.name)
            return
        try:
            reload()
            log.info("policies and certificates read again")
        except (ArchiveError, StorageError, AuthError) as error:
            log.warning("nothing was changed", error=f"E{error.number} {error}")
