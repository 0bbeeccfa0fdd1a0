"""The words between an archive and the processes that take its objects in.

    message = kind (1) ‖ length (4, big-endian) ‖ that many bytes of JSON, empty where the kind says it all

Bytes of the data set never travel in messages: they lie in memory that both sides map, `SLOTS` slots used in turn, and
`DATA` says how many of the next one are filled, as `FINISH` does of the last one. What a worker answers is taken apart
field by field, like anything from outside: it has read what a stranger sent.

    to a worker    BEGIN  DATA*  FINISH  SEAL        and in place of any but the first DISCARD
    from it        TAKEN* RECEIVED SEALED            and in place of any FAILED, which ends the object
"""

import json
import socket
from collections.abc import Mapping
from enum import IntEnum
from struct import Struct
from typing import Any, Final

from storage import errors
from storage.errors import StorageError
from storage.identifiers import ObjectId, Uid
from storage.instance import (
    DeclaredInstance,
    InstanceKey,
    InstanceRows,
    ReceivedInstance,
    SealedContent,
    StagedBytes,
    StudyFacts,
)

SLOT_BYTES: Final = 128 * 1024
SLOTS: Final = 4
LANE_BYTES: Final = SLOT_BYTES * SLOTS
_HEAD: Final = Struct(">BI")
_MAX_BYTES: Final = 16 * 1024 * 1024
_READ_BYTES: Final = 64 * 1024

Fields = Mapping[str, Any]


class Kind(IntEnum):
    """What a message is."""

    BEGIN = 1
    DATA = 2
    FINISH = 3
    SEAL = 4
    DISCARD = 5
    TAKEN = 6
    RECEIVED = 7
    SEALED = 8
    FAILED = 9


class LaneBroken(Exception):
    """The other side is gone, or says what nobody of its kind says."""


def encoded(kind: Kind, fields: Fields | None = None) -> bytes:
    """One message."""
    body = b"" if fields is None else json.dumps(fields, separators=(",", ":")).encode("ascii")
    return _HEAD.pack(kind, len(body)) + body


class Inbox:
    """Messages as they come out of a stream socket."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._held = bytearray()

    def next(self) -> tuple[Kind, Fields]:
        """The next message.

        Raises:
            LaneBroken: the stream ended or broke, or what it holds is no message.
        """
        kind, length = _HEAD.unpack(self._take(_HEAD.size))
        if length > _MAX_BYTES:
            raise LaneBroken("a message is longer than any is")
        body = self._take(length)
        try:
            fields = json.loads(body) if body else {}
            if isinstance(fields, dict):
                return Kind(kind), fields
        except ValueError:
            pass
        raise LaneBroken("what came is no message")

    def _take(self, length: int) -> bytes:
        held = self._held
        while len(held) < length:
            try:
                more = self._stream.recv(max(_READ_BYTES, length - len(held)))
            except OSError as error:
                raise LaneBroken(f"the stream broke: {error.strerror or type(error).__name__}") from error
            if not more:
                raise LaneBroken("the stream ended")
            held += more
        taken = bytes(held[:length])
        del held[:length]
        return taken


def declared_fields(declared: DeclaredInstance, object_id: ObjectId) -> Fields:
    """`BEGIN`."""
    return {
        "object_id": object_id,
        "class": declared.sop_class_uid,
        "instance": declared.sop_instance_uid,
        "syntax": declared.transfer_syntax,
    }


def declared_of(fields: Fields) -> tuple[DeclaredInstance, ObjectId]:
    """The inverse of `declared_fields`."""
    declared = DeclaredInstance(Uid(fields["class"]), Uid(fields["instance"]), fields["syntax"])
    return declared, ObjectId(fields["object_id"])


_FACT_SETS: Final = ("performing_physicians", "modalities", "body_parts", "labels")


def received_fields(received: ReceivedInstance) -> Fields:
    """`RECEIVED`."""
    rows, key = received.rows, received.key
    facts = {name: getattr(rows.facts, name) for name in StudyFacts.__dataclass_fields__}
    return {
        "key": [key.study_uid, key.series_uid, key.sop_instance_uid, key.sop_class_uid],
        "rows": [dict(rows.study), dict(rows.series), dict(rows.instance)],
        "facts": facts | {name: sorted(facts[name]) for name in _FACT_SETS},
        "address": received.address.hex(),
        "size": received.size,
        "signed": received.signed,
    }


def received_of(
    fields: Fields, declared: DeclaredInstance, object_id: ObjectId, staged: StagedBytes
) -> ReceivedInstance:
    """The inverse of `received_fields`. Raises `LaneBroken`."""
    try:
        facts = dict(fields["facts"])
        study, series, instance = fields["rows"]
        return ReceivedInstance(
            key=InstanceKey(*(Uid(text) for text in fields["key"])),
            declared=declared,
            rows=InstanceRows(
                study, series, instance, StudyFacts(**facts | {name: frozenset(facts[name]) for name in _FACT_SETS})
            ),
            object_id=object_id,
            address=bytes.fromhex(fields["address"]),
            size=fields["size"],
            staged=staged,
            signed=bool(fields["signed"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LaneBroken("what was received is not told as it should be") from error


def sealed_fields(content: SealedContent) -> Fields:
    """`SEALED`."""
    return {
        "canonical": content.canonical_digest.hex(),
        "foreign": sorted(digest.hex() for digest in content.foreign_signatures),
        "own": content.own_signature.hex(),
        "commitment": content.commitment,
    }


def sealed_of(fields: Fields) -> SealedContent:
    """The inverse of `sealed_fields`. Raises `LaneBroken`."""
    try:
        return SealedContent(
            canonical_digest=bytes.fromhex(fields["canonical"]),
            foreign_signatures=frozenset(bytes.fromhex(text) for text in fields["foreign"]),
            own_signature=bytes.fromhex(fields["own"]),
            commitment=str(fields["commitment"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LaneBroken("what was sealed is not told as it should be") from error


def failure_fields(error: StorageError) -> Fields:
    """`FAILED`."""
    return {"error": type(error).__name__, "text": str(error)}


def failure_of(fields: Fields) -> StorageError:
    """The inverse of `failure_fields`; of an unknown kind it is a `StorageError` all the same."""
    kind = getattr(errors, str(fields.get("error")), StorageError)
    if not (isinstance(kind, type) and issubclass(kind, StorageError)):
        kind = StorageError
    return kind(str(fields.get("text", "")))
