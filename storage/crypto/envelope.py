"""An object's header: what it is and the key of its bytes, wrapped under a key-encryption key.

    header  = "SRBLOB01" ‖ object id (16) ‖ key id (16) ‖ length of wrapped (2) ‖ wrapped
    wrapped = nonce (12) ‖ AES-256-GCM(KEK, secret), additional data: the header up to ``wrapped``
    secret  = data key (32) ‖ nonce prefix (7) ‖ names
    names   = SOP class UID ‖ SOP instance UID ‖ transfer syntax UID, each with its length (1) before it

Integers are big-endian. Whoever swaps two headers, or the bytes behind them, fails: `Envelope.binding` is associated
data of every chunk. Destroying ``wrapped`` destroys the object.
"""

import os
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from storage.crypto.keyring import KEY_BYTES, Keyring, wrapped_length
from storage.errors import IntegrityFault, InvalidIdentifier
from storage.identifiers import ObjectId, uid
from storage.instance import DeclaredInstance

MAGIC: Final = b"SRBLOB01"
PREFIX_BYTES: Final = 7
_FIXED: Final = Struct(">8s16s16sH")
FIXED_BYTES: Final = _FIXED.size
MAX_HEADER_BYTES: Final = 512
"""More than any header has; what a reader asks for first."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An opened header."""

    object_id: ObjectId
    key_id: bytes
    declared: DeclaredInstance
    data_key: bytes = field(repr=False)
    prefix: bytes = field(repr=False)
    """The first 7 bytes of every nonce under the data key."""

    @property
    def binding(self) -> bytes:
        """What every chunk of the object is bound to: object id ‖ key id ‖ names."""
        return bytes.fromhex(self.object_id) + self.key_id + _names(self.declared)


def seal_header(keyring: Keyring, object_id: ObjectId, declared: DeclaredInstance) -> tuple[bytes, Envelope]:
    """A fresh data key for an object, and the header that keeps it."""
    data_key, prefix = os.urandom(KEY_BYTES), os.urandom(PREFIX_BYTES)
    key_id = keyring.current_id
    envelope = Envelope(object_id, key_id, declared, data_key, prefix)
    secret = data_key + prefix + _names(declared)
    length = wrapped_length(len(secret))
    fixed = _FIXED.pack(MAGIC, bytes.fromhex(object_id), key_id, length)
    return fixed + keyring.wrap(key_id, secret, fixed), envelope


def open_header(keyring: Keyring, data: bytes) -> tuple[Envelope, int]:
    """The header at the beginning of ``data``, and its length.

    Raises:
        IntegrityFault: there is none, or it is not what was written.
        KeyUnavailable: the key that wrapped it is not in the keyring.
    """
    if len(data) < FIXED_BYTES:
        raise IntegrityFault("an object has no complete header")
    magic, object_id, key_id, length = _FIXED.unpack_from(data)
    end = FIXED_BYTES + length
    if magic != MAGIC or end > len(data):
        raise IntegrityFault("an object's header is not one")
    secret = keyring.unwrap(key_id, data[FIXED_BYTES:end], data[:FIXED_BYTES])
    names = KEY_BYTES + PREFIX_BYTES
    declared = _declared(secret[names:])
    envelope = Envelope(ObjectId(object_id.hex()), key_id, declared, secret[:KEY_BYTES], secret[KEY_BYTES:names])
    return envelope, end


def _names(declared: DeclaredInstance) -> bytes:
    names = (declared.sop_class_uid, declared.sop_instance_uid, declared.transfer_syntax)
    return b"".join(bytes([len(name)]) + name.encode("ascii") for name in names)


def _declared(names: bytes) -> DeclaredInstance:
    found: list[str] = []
    offset = 0
    while offset < len(names):
        end = offset + 1 + names[offset]
        found.append(names[offset + 1 : end].decode("ascii", "replace"))
        offset = end
    try:
        sop_class, instance, syntax = found
        return DeclaredInstance(uid(sop_class), uid(instance), syntax)
    except (ValueError, InvalidIdentifier):
        raise IntegrityFault("an object's header names no object") from None
