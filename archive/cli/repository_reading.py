"""Who looked at the repository's messages, and for what, recorded before they see any (PS3.15 A.5.3.2)."""

import time

from archive.audit.events import AuditLogUsed
from archive.audit.log import AuditLog
from archive.audit.trail import AuditTrail
from archive.control.lock import HomeLock
from archive.control.operator import Operator
from archive.errors import HomeInUse
from archive.repository.folder import RepositoryFolder

_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.05


def tell_of_reading(folder: RepositoryFolder, searched: str) -> None:
    """Put on stable storage that somebody reads.

    Raises:
        HomeInvalid, SecretExposed: the folder is no repository's, or its key is not in order.
        AuditUnavailable: it could not be recorded, and nothing may be shown.
    """
    key = folder.key()
    with _alone(folder):
        trail = AuditTrail(folder.readings, key)
        try:
            AuditLog(trail).record(AuditLogUsed(Operator.this().actor, reason=searched))
        finally:
            trail.close()


def _alone(folder: RepositoryFolder) -> HomeLock:
    """The right to write, once those who read at the same moment have said so."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        lock = HomeLock(folder.readings_lock)
        try:
            lock.acquire()
        except HomeInUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return lock
