"""One table from what went wrong to what the peer is told (PS3.7 C, PS3.4 B.2.3, C.4.1.1.4, C.4.3.1.4).

A peer learns a status and a fixed sentence, never a name, a path, a reason of policy or whether something exists.
Errors that end the association (`archive.errors.ProtocolViolation`, `PeerGone`) are not here: they are no answers.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from archive.errors import ArchiveError, AuditUnavailable, CommandRefused, DestinationUnknown, RejectionImpossible
from auth.errors import AccessDenied, AuthError, HiddenKeyRefused, QueryTooBroad, TooManyResults, VolumeExceeded
from storage import errors as kept

SUCCESS: Final = 0x0000
PENDING: Final = 0xFF00
PENDING_KEYS_MISSING: Final = 0xFF01
"""Matches are continuing, but an optional key was not supported (PS3.4 Table C.4-1)."""
CANCELLED: Final = 0xFE00
SUB_OPERATIONS_FAILED_SOME: Final = 0xB000
SUB_OPERATIONS_FAILED_ALL: Final = 0xA702
PROCESSING_FAILURE: Final = 0x0110
INVALID_ARGUMENT: Final = 0x0115
INVALID_INSTANCE: Final = 0x0117
SOP_CLASS_NOT_SUPPORTED: Final = 0x0122
NOT_AUTHORIZED: Final = 0x0124
UNRECOGNIZED_OPERATION: Final = 0x0211
MISTYPED_ARGUMENT: Final = 0x0212
RESOURCE_LIMITATION: Final = 0x0213
MOVE_DESTINATION_UNKNOWN: Final = 0xA801
DATA_SET_MISMATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
HIDDEN_KEY: Final = 0xC011
"""The query matches on an attribute that the person may not see. Says nothing of whether anything would match."""

QUERY_TOO_BROAD: Final = 0xC012
"""The query gives a value to none of the keys that the policy asks for."""
VOLUME_EXCEEDED: Final = 0xC013
"""The person has retrieved as many objects today as the policy allows."""

ANSWERED: Final = (
    CommandRefused,
    RejectionImpossible,
    AuditUnavailable,
    DestinationUnknown,
    kept.StorageError,
    AuthError,
)
"""What is answered with a status; after anything else a peer cannot go on."""

MAX_COMMENT: Final = 64
"""Error Comment (0000,0902) is LO (PS3.7 C.4)."""


class Service(Enum):
    """The DIMSE services with a status table of their own."""

    ECHO = "C-ECHO"
    STORE = "C-STORE"
    FIND = "C-FIND"
    GET = "C-GET"
    MOVE = "C-MOVE"
    ACTION = "N-ACTION"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A failure status and its Error Comment."""

    status: int
    comment: str


# The nearest class in an error's ancestry decides. Comments are fixed text: nothing of the error itself goes out.
_TABLE: Final[dict[type[Exception], Refusal]] = {
    kept.InvalidIdentifier: Refusal(INVALID_INSTANCE, "not a UID"),
    kept.MalformedDataSet: Refusal(CANNOT_UNDERSTAND, "the data set cannot be read in its transfer syntax"),
    kept.DataSetLimitExceeded: Refusal(0xA700, "the data set is beyond what is accepted"),
    kept.DataSetMismatch: Refusal(DATA_SET_MISMATCH, "the data set is not what the command announced"),
    kept.InstanceConflict: Refusal(0x0111, "duplicate SOP Instance UID"),
    kept.InstanceRemoved: Refusal(0x0111, "an object was taken away under this SOP Instance UID"),
    kept.StudyHeld: Refusal(NOT_AUTHORIZED, "the study is on hold"),
    kept.UnsupportedTransferSyntax: Refusal(CANNOT_UNDERSTAND, "the transfer syntax is not stored here"),
    kept.IdentifierInvalid: Refusal(DATA_SET_MISMATCH, "the identifier does not match the information model"),
    kept.SignatureRefused: Refusal(DATA_SET_MISMATCH, "its signatures are not as this archive wants them"),
    kept.OutOfSpace: Refusal(0xA700, "out of space"),
    kept.StoreReadOnly: Refusal(0xA700, "nothing is stored at present"),
    kept.StoreNotReady: Refusal(0xA700, "not ready, try again later"),
    kept.StorageError: Refusal(PROCESSING_FAILURE, "processing failure"),
    HiddenKeyRefused: Refusal(HIDDEN_KEY, "a key of the identifier may not be matched on"),
    QueryTooBroad: Refusal(QUERY_TOO_BROAD, "the query must give another key a value"),
    TooManyResults: Refusal(0xA700, "too many matches, ask for fewer"),
    VolumeExceeded: Refusal(VOLUME_EXCEEDED, "more objects than are allowed in a day"),
    AccessDenied: Refusal(NOT_AUTHORIZED, "not authorized"),
    AuthError: Refusal(NOT_AUTHORIZED, "not authorized"),
    AuditUnavailable: Refusal(0xA700, "nothing is moved at present"),
    DestinationUnknown: Refusal(MOVE_DESTINATION_UNKNOWN, "move destination unknown"),
    RejectionImpossible: Refusal(DATA_SET_MISMATCH, "the note names an object that is not kept as it says"),
    ArchiveError: Refusal(PROCESSING_FAILURE, "processing failure"),
}

# What PS3.4 names otherwise for a service: refusals for want of resources are A700 for storing and finding, but A702
# where a retrieval cannot perform its sub-operations (Table C.4-3), and 0110 where there is nothing but general codes.
_OTHERWISE: Final[dict[tuple[Service, int], int]] = {
    (Service.GET, 0xA700): SUB_OPERATIONS_FAILED_ALL,
    (Service.GET, PROCESSING_FAILURE): 0xC001,
    (Service.ACTION, 0xA700): RESOURCE_LIMITATION,
    (Service.ACTION, DATA_SET_MISMATCH): INVALID_ARGUMENT,
    (Service.ACTION, CANNOT_UNDERSTAND): INVALID_ARGUMENT,
    (Service.MOVE, 0xA700): SUB_OPERATIONS_FAILED_ALL,
    (Service.MOVE, PROCESSING_FAILURE): 0xC001,
    (Service.FIND, PROCESSING_FAILURE): 0xC001,
    (Service.ECHO, 0xA700): PROCESSING_FAILURE,
}


def refusal(error: Exception, service: Service) -> Refusal:
    """The answer to a request that failed with this error."""
    if isinstance(error, CommandRefused):
        return Refusal(error.status, str(error)[:MAX_COMMENT])
    for ancestor in type(error).__mro__:
        found = _TABLE.get(ancestor)
        if found is not None:
            return Refusal(_OTHERWISE.get((service, found.status), found.status), found.comment)
    return Refusal(_OTHERWISE.get((service, PROCESSING_FAILURE), PROCESSING_FAILURE), "processing failure")


def refusals(service: Service) -> dict[int, list[str]]:
    """Every failure status of a service with its Error Comments, for the conformance statement."""
    found: dict[int, list[str]] = {}
    for told in _TABLE.values():
        comments = found.setdefault(_OTHERWISE.get((service, told.status), told.status), [])
        if told.comment not in comments:
            comments.append(told.comment)
    return found


def is_warning(status: int) -> bool:
    """Whether a C-STORE response tells of a kept object all the same (PS3.7 C.3)."""
    return status >> 12 == 0xB or status in (0x0001, 0x0107, 0x0116)
