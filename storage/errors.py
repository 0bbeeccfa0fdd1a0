"""What can go wrong while keeping objects.

Every class carries a unique ``number`` (2xx: storage). The wire status that answers each of them is chosen in one
table, `archive.dimse.status`; nothing here knows DIMSE.
"""

from typing import ClassVar


class StorageError(Exception):
    """Base of everything this package raises on purpose."""

    number: ClassVar[int] = 200


class InvalidIdentifier(StorageError):
    """A UID that is not one (PS3.5 9.1): wrong characters, a leading zero, or more than 64 of them."""

    number = 201


class MalformedDataSet(StorageError):
    """The sender's bytes are not a data set in the negotiated transfer syntax (PS3.5 7)."""

    number = 202


class DataSetLimitExceeded(StorageError):
    """The sender's data set crosses a named bound: elements, nesting, size or inflation ratio."""

    number = 203


class DataSetMismatch(StorageError):
    """The data set is not the object that the command announced, or lacks a UID that files it (PS3.4 B.2.3)."""

    number = 204


class InstanceConflict(StorageError):
    """Another object is already kept under this SOP Instance UID; it is never overwritten."""

    number = 205


class UnsupportedTransferSyntax(StorageError):
    """The transfer syntax does not encode a data set that this archive stores."""

    number = 206


class IdentifierInvalid(StorageError):
    """The identifier of a query or retrieval breaks the information model's hierarchy, or a key its VR (PS3.4 C.4)."""

    number = 207


class InstanceRemoved(InstanceConflict):
    """The object was taken away for a reason that does not let it, or another under its UID, come again."""

    number = 209


class StudyHeld(StorageError):
    """The study is on hold; nothing of it is taken away."""

    number = 216


class OutOfSpace(StorageError):
    """The file system has no room above the reserve."""

    number = 210


class StoreReadOnly(StorageError):
    """A sync or a step after the commit point failed; nothing is accepted until an operator has looked."""

    number = 211


class CommitUnfinished(StoreReadOnly):
    """A step from the commit point on failed: whether the object is kept is known after the next start."""

    number = 214


class StoreNotReady(StorageError):
    """The index is being rebuilt; what it would answer is not complete yet."""

    number = 212


class IndexFault(StorageError):
    """The index could not be opened, read or written; it can be rebuilt from the objects and the ledger."""

    number = 213


class IngestFailed(StorageError):
    """The process that took an object in ended or fell silent; nothing of it is kept, and it may be sent again."""

    number = 215


class IntegrityFault(StorageError):
    """Stored bytes are not what was written: a failed authentication tag, digest, chain or signature."""

    number = 220


class ObjectMissing(StorageError):
    """The index names an object whose bytes are not there."""

    number = 221


class KeyUnavailable(StorageError):
    """The key that wrapped this object's data key is not in the keyring."""

    number = 222


class KeyringInvalid(StorageError):
    """The keyring cannot be read, or is not a keyring."""

    number = 223


class KeyringExposed(StorageError):
    """The keyring can be read or written by others than its owner."""

    number = 224


class CannotBeMasked(StorageError):
    """The object holds what no mask reaches: burned-in text, a document, structured content."""

    number = 230


class MaskedCopyRefused(InstanceConflict):
    """A masked copy of an object that is kept here came back; the original is kept already, and is not replaced."""

    number = 231


class LedgerDamaged(IntegrityFault):
    """The ledger is not what was written, or ends before the trail or the index say it does."""

    number = 225


class SignatureNotPossible(StorageError):
    """What was asked to be signed is not there, may not be signed, or is not what the profile has signed (PS3.15 C)."""

    number = 240


class TokenUnusable(StorageError):
    """The token that holds the signer's key cannot be opened, or does not sign (PKCS #11)."""

    number = 241


class SignatureRefused(StorageError):
    """The object's digital signatures are not as the archive's settings want them."""

    number = 242
