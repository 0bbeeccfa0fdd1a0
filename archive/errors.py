"""What can go wrong in the server itself. Every class carries a unique ``number``: 1xx operator, 4xx peer.

`storage.errors` (2xx) and `auth.errors` (3xx) have their own; `archive.dimse.status` turns any of them into a wire
status, `archive.cli` into one line and an exit code.
"""

from typing import ClassVar


class ArchiveError(Exception):
    """Base of everything this package raises on purpose."""

    number: ClassVar[int] = 100
    exit_code: ClassVar[int] = 2


class SettingsInvalid(ArchiveError):
    """``strongroom.toml`` has an unknown key, a wrong type or a value out of range."""

    number = 101


class SecretExposed(ArchiveError):
    """A secret file can be read by others than its owner."""

    number = 102


class HomeInvalid(ArchiveError):
    """The home is missing, incomplete, or (for ``init``) not empty."""

    number = 103


class HomeInUse(ArchiveError):
    """Another server holds this home."""

    number = 104


class ListenFailed(ArchiveError):
    """The port cannot be listened on."""

    number = 105


class ServerUnreachable(ArchiveError):
    """A server holds this home but does not answer on its control socket."""

    number = 106


class UsageInvalid(ArchiveError):
    """The command line or the request on the control socket makes no sense."""

    number = 107


class AuditUnavailable(ArchiveError):
    """The audit trail cannot be written; protected data does not move."""

    number = 110


class TrailDamaged(ArchiveError):
    """The audit trail is not what was written."""

    number = 111
    exit_code = 1


class EvidenceMismatch(ArchiveError):
    """The ledger does not go on from an earlier checkpoint of it."""

    number = 113
    exit_code = 1


class RecordsDamaged(ArchiveError):
    """The records of users, nodes or overrides are not what this archive wrote; nothing is decided by them."""

    number = 118
    exit_code = 1


class ProtocolViolation(ArchiveError):
    """The peer broke PS3.8 or PS3.7; the association is aborted.

    ``abort_source`` and ``abort_reason`` are those of PS3.8 Table 9-26: source 2 (service provider) with its reason
    where the PDUs are wrong, source 0 (service user, reason not significant) where the messages in them are.
    """

    number = 401

    def __init__(self, message: str, *, abort_source: int = 2, abort_reason: int = 0, limit: str = "") -> None:
        super().__init__(message)
        self.abort_source = abort_source
        self.abort_reason = abort_reason
        self.limit = limit
        """The bound of `archive.upper_layer.limits` that was crossed; empty where none was."""


class LimitExceeded(ProtocolViolation):
    """The peer crossed a named bound of `archive.upper_layer.limits`."""

    number = 402


class PeerTooSlow(ProtocolViolation):
    """A deadline passed: handshake, association request, PDU or idle."""

    number = 403


class PeerGone(ArchiveError):
    """The connection ended without a release."""

    number = 404


class CommandRefused(ArchiveError):
    """A DIMSE request that is answered with a failure status and nothing more."""

    number = 410

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class DestinationUnknown(ArchiveError):
    """The move destination is not a registered node that can be reached (PS3.4 C.4.2.1.5)."""

    number = 413


class NodeUnreachable(ArchiveError):
    """A node that we connect to cannot be reached, is not the one registered, or does not take what we offer."""

    number = 412


class RejectionImpossible(ArchiveError):
    """A rejection note names no object, or one that is not kept as it says."""

    number = 414


class TransferBroken(ArchiveError):
    """An object could not be sent to its end; nothing that makes sense can follow, the association is aborted."""

    number = 411
