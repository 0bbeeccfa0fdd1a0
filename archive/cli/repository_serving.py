"""The receiving process of ``strongroom repository serve``."""

import signal
import sys
from contextlib import ExitStack

from archive.control.lock import HomeLock
from archive.logs import configure_log
from archive.repository.folder import RepositoryFolder
from archive.repository.limits import Limits
from archive.repository.listening import TlsDoor, UdpDoor
from archive.repository.receiving import Receiver
from archive.repository.store import MessageStore
from archive.repository.tls import Material

_TERMINATE = frozenset({signal.SIGTERM, signal.SIGINT})
_SLICE_SECONDS = 1


def run(
    folder: RepositoryFolder, material: Material, tls: tuple[str, int], insecure_udp: tuple[str, int] | None
) -> None:
    """Receive until SIGTERM.

    Raises:
        HomeInUse: another repository writes this folder.
        HomeInvalid, SecretExposed, AuthorityError, ListenFailed: something is not in order.
        TrailDamaged, AuditUnavailable: what was kept is not what was written, or nothing can be kept any more.
    """
    # Blocked before any thread begins, so that every thread inherits it and only this one ever takes a signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINATE)
    configure_log("info")
    limits = Limits()
    context = material.context()
    folder.create()
    with ExitStack() as held:
        held.enter_context(HomeLock(folder.lock))
        folder.create_key()
        store = MessageStore(folder.messages, folder.key())
        held.callback(store.close)
        receiver = Receiver(store, limits)
        doors: list[TlsDoor | UdpDoor] = [TlsDoor(*tls, context, receiver, limits)]
        held.callback(doors[0].close)
        if insecure_udp is not None:
            doors.append(UdpDoor(*insecure_udp, receiver))
            held.callback(doors[1].close)
        for door in doors:
            door.start()
        names = ("syslog-tls", "syslog-udp")
        ready = " ".join(f"{name} {door.address}" for name, door in zip(names, doors, strict=False))
        sys.stdout.write(f"ready {ready}\n")
        sys.stdout.flush()
        while signal.sigtimedwait(_TERMINATE, _SLICE_SECONDS) is None:
            if receiver.failure is not None:
                raise receiver.failure
