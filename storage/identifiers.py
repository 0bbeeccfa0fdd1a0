"""DICOM identifiers as values that were checked once. An identifier never becomes a path, SQL text or a log line."""

import re
import uuid
from typing import NewType

from storage.errors import InvalidIdentifier

Uid = NewType("Uid", str)
"""A UID whose syntax was checked (PS3.5 9.1)."""

ObjectId = NewType("ObjectId", str)
"""The archive's own name of one stored object: 32 lower-case hexadecimal digits, never reused."""

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*", re.ASCII)
MAX_UID_LENGTH = 64


def uid(text: str) -> Uid:
    """Check a UID (PS3.5 9.1: digits and dots, no leading zero in a component, at most 64 characters).

    Raises:
        InvalidIdentifier: the text is not a UID.
    """
    if len(text) > MAX_UID_LENGTH or _UID.fullmatch(text) is None:
        raise InvalidIdentifier("not a UID of at most 64 digits and dots")
    return Uid(text)


def uid_from_value(value: bytes) -> Uid:
    """Check a UID as it stands in a data set or command: padded with one NUL to even length (PS3.5 9.1).

    Raises:
        InvalidIdentifier: the value is not a UID; padding with spaces is not accepted.
    """
    unpadded = value[:-1] if value.endswith(b"\0") else value
    try:
        return uid(unpadded.decode("ascii"))
    except UnicodeDecodeError:
        raise InvalidIdentifier("a UID holds ASCII characters only") from None


def new_object_id() -> ObjectId:
    """A fresh random object id (122 bits)."""
    return ObjectId(uuid.uuid4().hex)


def new_uid() -> Uid:
    """A fresh UID derived from a random UUID (PS3.5 B.2)."""
    return Uid(f"2.25.{uuid.uuid4().int}")
