"""What is taken away from the index and comes back into it, and what outlasts both: holds, tombstones, erasures.

A tombstone takes an object's row, and what the rows above it said because of it: counts, SOP classes, modalities that
nothing else has. What the first instance of a study fixed stays as long as anything of the study is kept; its labels
and holds stay for good. Each function works inside a transaction that the caller opened.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from storage.errors import IndexFault, ObjectMissing, StudyHeld
from storage.events import ERASED, HELD, RELEASED, RESTORED, TOMBSTONED, NamedInstance, named_in
from storage.identifiers import ObjectId
from storage.index import absent
from storage.index.engine import seal_of
from storage.index.facts import facts_of
from storage.index.prepared import Prepared
from storage.index.schema import (
    ERASURE,
    INSTANCE,
    NAME_COLUMNS,
    SERIES,
    STUDY,
    STUDY_BODY_PART,
    STUDY_HOLD,
    STUDY_MODALITY,
    STUDY_NAME_PART,
    STUDY_PHYSICIAN,
    STUDY_SOP_CLASS,
    TOMBSTONE,
)
from storage.index.text import name_parts
from storage.index.values import join_values, split_values
from storage.index.writer import said_for_policy
from storage.ports import LedgerEntry

_SETS: Final = (STUDY_PHYSICIAN, STUDY_BODY_PART, STUDY_MODALITY, STUDY_SOP_CLASS)

_HELD: Final = Prepared(select(STUDY_HOLD.c.study_uid).where(STUDY_HOLD.c.study_uid == bindparam("uid")))
_ANY_TOMBSTONE: Final = Prepared(select(exists(select(TOMBSTONE.c.removed))))
_TOMBSTONE: Final = Prepared(select(*TOMBSTONE.c).where(TOMBSTONE.c.sop_instance_uid == bindparam("uid")))
_KEPT: Final = Prepared(select(INSTANCE.c.object_id).where(INSTANCE.c.sop_instance_uid == bindparam("uid")))


@dataclass(frozen=True, slots=True)
class Tombstone:
    """What is known of an object that was taken away."""

    sop_instance_uid: str
    study_uid: str
    object_id: ObjectId
    address: bytes
    reason: str
    note: str
    comes_back: bool
    time: str
    removed: int
    erased: int | None

    @property
    def named(self) -> NamedInstance:
        """The object, as an event names it."""
        return NamedInstance(self.sop_instance_uid, self.object_id, self.address)


def tombstones(connection: Connection, sop_instance_uids: Iterable[str]) -> dict[str, Tombstone]:
    """What was taken away under these UIDs, by UID."""
    if not _is_any(connection):
        return {}
    found = [row for uid in sop_instance_uids for row in _TOMBSTONE.rows(connection, uid=uid)]
    return {row[0]: tombstone_of(row) for row in found}


def tombstone_of(row: Sequence[Any]) -> Tombstone:
    """A row of the table, as the driver gives it."""
    uid, study, object_id, address, reason, note, comes_back, *rest = row
    return Tombstone(uid, study, object_id, bytes(address), reason, note, bool(comes_back), *rest)


def is_held(connection: Connection, study_uid: str) -> bool:
    """Whether a study is on hold."""
    return bool(_HELD.rows(connection, uid=study_uid))


# -- what is decided before the ledger is told -------------------------------------------------------------------------


def check(connection: Connection, event: str, facts: Mapping[str, Any]) -> dict[str, object]:
    """Whether an event can happen to what is kept now; what storage itself has to say in its provenance.

    Raises:
        ObjectMissing: nothing of the study is known, or an object is not where the event wants it.
        StudyHeld: the study is on hold.
        IndexFault: what would be said of the study is not what this archive wrote.
    """
    study_uid = str(facts["study_uid"])
    if event in (HELD, RELEASED):
        if not is_known(connection, study_uid):
            raise ObjectMissing("nothing of that study is kept")
        return {}
    if event in (TOMBSTONED, ERASED) and is_held(connection, study_uid):
        raise StudyHeld("the study is on hold")
    instances = named_in(facts)
    gone = tombstones(connection, [it.sop_instance_uid for it in instances])
    for it in instances:
        tombstone = gone.get(it.sop_instance_uid)
        waiting = tombstone is not None and tombstone.erased is None and tombstone.object_id == it.object_id
        kept = event == TOMBSTONED and (it.object_id,) in map(tuple, _KEPT.rows(connection, uid=it.sop_instance_uid))
        if not (waiting or kept):
            raise ObjectMissing("an object is not kept, or not as the event has it")
    return {"index": snapshot(connection, study_uid)} if event == ERASED else {}


def is_known(connection: Connection, study_uid: str) -> bool:
    """Whether anything of a study is kept, or was taken away and not erased."""
    kept = select(STUDY.c.id).where(STUDY.c.study_uid == study_uid)
    gone = select(TOMBSTONE.c.removed).where(TOMBSTONE.c.study_uid == study_uid, TOMBSTONE.c.erased.is_(None)).limit(1)
    return any(connection.execute(statement).first() is not None for statement in (kept, gone))


def snapshot(connection: Connection, study_uid: str) -> dict[str, Any] | None:
    """What the rows above a study's instances say; None if there is none.

    Objects that are erased cannot say again what they fixed: a rebuild takes it from here.

    Raises:
        IndexFault: it is not what this archive wrote.
    """
    found = connection.execute(select(STUDY).where(STUDY.c.study_uid == study_uid)).mappings().one_or_none()
    if found is None:
        return None
    study = dict(found)
    key = study.pop("id")
    # Both are made anew where the rest is said again: labels are those of that time, a seal is no part of the ledger.
    labels, mac, seal = study.pop("labels"), study.pop("facts_seal"), seal_of(connection)
    if seal is not None and not seal.holds(study["facts"], labels, mac):
        raise IndexFault("what the index says of a study is not what this archive wrote: run `strongroom rebuild`")
    series = {}
    for row in connection.execute(select(SERIES).where(SERIES.c.study_fk == key)).mappings():
        values = {name: value for name, value in row.items() if name not in ("id", "study_fk")}
        series[str(row["series_uid"])] = values
    sets = {
        table.name: [list(row[1:]) for row in connection.execute(select(table).where(table.c.study_fk == key))]
        for table in _SETS
    }
    return {"study": study, "series": series, "sets": sets}


# -- what happens once it is in the ledger -----------------------------------------------------------------------------


def hold(connection: Connection, entry: LedgerEntry) -> None:
    """A study is on hold from now on; idempotent."""
    study_uid = str(entry.facts["study_uid"])
    if not is_held(connection, study_uid):
        connection.execute(insert(STUDY_HOLD).values(study_uid=study_uid))


def release(connection: Connection, entry: LedgerEntry) -> None:
    """And no longer; idempotent."""
    connection.execute(delete(STUDY_HOLD).where(STUDY_HOLD.c.study_uid == str(entry.facts["study_uid"])))


def tombstone(connection: Connection, entry: LedgerEntry) -> None:
    """Objects are taken away. One that is not there, since it was erased later, leaves its tombstone all the same."""
    study_uid, instances = str(entry.facts["study_uid"]), named_in(entry.facts)
    _forget(connection, [it.sop_instance_uid for it in instances])
    said = {name: entry.facts.get(name, "") for name in ("reason", "note")}
    rows = [
        {
            "sop_instance_uid": it.sop_instance_uid,
            "study_uid": study_uid,
            "object_id": it.object_id,
            "address": it.address,
            **said,
            "comes_back": entry.facts.get("comes_back") is True,
            "time": entry.time,
            "removed": entry.sequence,
            "erased": None,
        }
        for it in instances
    ]
    connection.execute(insert(TOMBSTONE), rows)
    for it in instances:
        named = (INSTANCE.c.sop_instance_uid == it.sop_instance_uid, INSTANCE.c.object_id == it.object_id)
        connection.execute(delete(INSTANCE).where(*named))
    _count_again(connection, study_uid)


def come_back(connection: Connection, sop_instance_uids: Iterable[str], addresses: Iterable[bytes]) -> None:
    """Objects are kept under these UIDs and addresses: whatever was said of what lay there before is over."""
    if not _is_any(connection):
        return
    _forget(connection, sop_instance_uids)
    for address in addresses:
        connection.execute(delete(ERASURE).where(ERASURE.c.address == address))


def restored(connection: Connection, entry: LedgerEntry) -> None:
    """As `come_back`, by the ledger's word alone."""
    instances = named_in(entry.facts)
    come_back(connection, [it.sop_instance_uid for it in instances], [it.address for it in instances])


def erase(connection: Connection, entry: LedgerEntry) -> None:
    """Objects are to be destroyed; what is kept of their study says what it said before."""
    study_uid, instances = str(entry.facts["study_uid"]), named_in(entry.facts)
    for it in instances:
        named = (TOMBSTONE.c.sop_instance_uid == it.sop_instance_uid, TOMBSTONE.c.object_id == it.object_id)
        connection.execute(update(TOMBSTONE).where(*named).values(erased=entry.sequence))
        connection.execute(delete(ERASURE).where(ERASURE.c.address == it.address))
        connection.execute(insert(ERASURE).values(address=it.address))
    said = entry.provenance.get("index")
    study = connection.execute(select(STUDY.c.id).where(STUDY.c.study_uid == study_uid)).scalar_one_or_none()
    if study is None:
        return
    if isinstance(said, dict):
        _say_again(connection, study, said)
    else:
        _count_again(connection, study_uid)


def to_erase(connection: Connection) -> list[bytes]:
    """Addresses whose erasure is committed, and perhaps not carried out."""
    return [bytes(address) for (address,) in connection.execute(select(ERASURE.c.address))]


def carried_out(connection: Connection, addresses: Iterable[bytes]) -> None:
    """Nothing lies under these addresses any more."""
    for address in addresses:
        connection.execute(delete(ERASURE).where(ERASURE.c.address == address))


def _is_any(connection: Connection) -> bool:
    """Whether there is any tombstone: one look for a batch, where there is none."""
    return bool(_ANY_TOMBSTONE.rows(connection)[0][0])


def _forget(connection: Connection, sop_instance_uids: Iterable[str]) -> None:
    for uid in sop_instance_uids:
        connection.execute(delete(TOMBSTONE).where(TOMBSTONE.c.sop_instance_uid == uid))


def _count_again(connection: Connection, study_uid: str) -> None:
    """Let what nothing is left of go, and make the rows above the instances say what is left."""
    study = connection.execute(select(STUDY.c.id).where(STUDY.c.study_uid == study_uid)).scalar_one_or_none()
    if study is None:
        return
    of_study = SERIES.c.study_fk == study
    instances = INSTANCE.join(SERIES, INSTANCE.c.series_fk == SERIES.c.id)
    counted = select(INSTANCE.c.series_fk, func.count()).select_from(instances).where(of_study)
    counts: dict[int, int] = {row[0]: row[1] for row in connection.execute(counted.group_by(INSTANCE.c.series_fk))}
    connection.execute(delete(SERIES).where(of_study, SERIES.c.id.not_in(counts)))
    if not counts:
        _end(connection, study_uid, study)
        return
    for key, count in counts.items():
        connection.execute(update(SERIES).where(SERIES.c.id == key).values(instance_count=count))
    kept = connection.scalars(select(SERIES.c.modality).where(of_study).distinct())
    modalities: set[str] = set().union(*map(split_values, kept))
    classes = select(INSTANCE.c.sop_class_uid).select_from(instances).where(of_study).distinct()
    sop_classes = set(connection.scalars(classes))
    _keep_modalities(connection, study, modalities)
    gone = STUDY_SOP_CLASS.c.value.not_in(sop_classes)
    connection.execute(delete(STUDY_SOP_CLASS).where(STUDY_SOP_CLASS.c.study_fk == study, gone))
    connection.execute(
        update(STUDY)
        .where(STUDY.c.id == study)
        .values(
            series_count=len(counts),
            instance_count=sum(counts.values()),
            modalities_in_study_text=join_values(modalities),
            sop_classes_in_study_text=join_values(sop_classes),
        )
    )


def _keep_modalities(connection: Connection, study: int, modalities: set[str]) -> None:
    """These are current; of the others those that the first instance fixed stay for policy to read."""
    others = (STUDY_MODALITY.c.study_fk == study, STUDY_MODALITY.c.value.not_in(modalities))
    connection.execute(delete(STUDY_MODALITY).where(*others, STUDY_MODALITY.c.fixed.is_(False)))
    connection.execute(update(STUDY_MODALITY).where(*others).values(current=False))


def _end(connection: Connection, study_uid: str, study: int) -> None:
    """Nothing of a study is left but what outlasts it."""
    facts = connection.execute(select(STUDY.c.facts).where(STUDY.c.id == study)).scalar_one()
    absent.put(connection, study_uid, facts_of(facts).labels)
    for table in (*_SETS, STUDY_NAME_PART):
        connection.execute(delete(table).where(table.c.study_fk == study))
    connection.execute(delete(STUDY).where(STUDY.c.id == study))


def _say_again(connection: Connection, study: int, said: Mapping[str, Any]) -> None:
    """The rows above a study's instances become what a snapshot says; columns that it does not know stay."""
    known = {name: value for name, value in said["study"].items() if name in STUDY.c}
    known |= said_for_policy(connection, facts_of(known["facts"]))
    connection.execute(update(STUDY).where(STUDY.c.id == study).values(known))
    _part_again(connection, study)
    for uid, row in said["series"].items():
        known = {name: value for name, value in row.items() if name in SERIES.c}
        place = (SERIES.c.study_fk == study, SERIES.c.series_uid == uid)
        connection.execute(update(SERIES).where(*place).values(known))
    for table in _SETS:
        connection.execute(delete(table).where(table.c.study_fk == study))
        names = [column.name for column in table.c][1:]
        rows = [{"study_fk": study, **dict(zip(names, row, strict=True))} for row in said["sets"][table.name]]
        if rows:
            connection.execute(insert(table), rows)


def _part_again(connection: Connection, study: int) -> None:
    """The parts of a study's name become those of the name in its row."""
    names = connection.execute(select(*(STUDY.c[it] for it in NAME_COLUMNS)).where(STUDY.c.id == study)).one()
    connection.execute(delete(STUDY_NAME_PART).where(STUDY_NAME_PART.c.study_fk == study))
    parts = [{"study_fk": study, "value": part} for part in name_parts(*names)]
    if parts:
        connection.execute(insert(STUDY_NAME_PART), parts)


EFFECTS: Final = {HELD: hold, RELEASED: release, TOMBSTONED: tombstone, RESTORED: restored, ERASED: erase}
"""By event."""
