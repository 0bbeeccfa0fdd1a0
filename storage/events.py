"""What the ledger's events are called, and what those say that are no object (docs/on-disk-format.md).

`stored` and `authority` are described where they are made. Every other event names a study by ``study_uid``; those that
take objects away or bring them back name each of them, so that the ledger alone tells what became of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from storage.errors import LedgerDamaged
from storage.identifiers import ObjectId

STORED: Final = "stored"
LABELLED: Final = "labelled"
UNLABELLED: Final = "unlabelled"
HELD: Final = "held"
RELEASED: Final = "released"
TOMBSTONED: Final = "tombstoned"
RESTORED: Final = "restored"
ERASED: Final = "erased"
AUTHORITY: Final = "authority"

LABELS: Final = frozenset({LABELLED, UNLABELLED})
DELIBERATE: Final = frozenset({HELD, RELEASED, TOMBSTONED, RESTORED, ERASED})
"""Decided on all that is kept, so each is committed by itself."""
RECORDABLE: Final = LABELS | DELIBERATE | {AUTHORITY}
"""Events that are no object."""
KNOWN_EVENTS: Final = RECORDABLE | {STORED}

MAX_INSTANCES: Final = 500
"""Named by one event: some 80 KiB of one line."""


@dataclass(frozen=True, slots=True)
class NamedInstance:
    """One object, as an event names it."""

    sop_instance_uid: str
    object_id: ObjectId
    address: bytes


def labels_in(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The labels that an event about objects gives their study besides."""
    return tuple(map(str, facts.get("labels", ())))


def facts_naming(study_uid: str, instances: Iterable[NamedInstance], **more: object) -> dict[str, object]:
    """The facts of an event about objects of one study."""
    named = [[it.sop_instance_uid, it.object_id, it.address.hex()] for it in instances]
    return {"study_uid": study_uid, "instances": named, **more}


def named_in(facts: Mapping[str, Any]) -> tuple[NamedInstance, ...]:
    """The objects that such facts name. Raises `LedgerDamaged` where they are none."""
    try:
        return tuple(
            NamedInstance(str(instance), ObjectId(object_id), bytes.fromhex(address))
            for instance, object_id, address in facts["instances"]
        )
    except (KeyError, TypeError, ValueError):
        raise LedgerDamaged("an event of the ledger does not name its objects") from None
