"""Operations on studies: the labels that policy reads, holds, and what is taken away, brought back and destroyed."""

import re
from collections.abc import Callable
from itertools import islice
from typing import Final

from archive.audit.events import Actor, Alert
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.errors import UsageInvalid
from archive.services.removal import REASONS, Reason, RemovalService
from storage.errors import ObjectMissing
from storage.identifiers import uid
from storage.index.matching import QUERY_RETRIEVE_LEVEL, QueryModel, plan_find
from storage.index.predicate import EVERYTHING, Compare, Holds, Predicate, all_of
from storage.index.sequences import QueryKey
from storage.instance import StudyFacts

DEFAULT_LIMIT: Final = 1_000
MAX_LIMIT: Final = 100_000
_PAGE: Final = 500
_STUDY_KEYS: Final = (
    QueryKey(QUERY_RETRIEVE_LEVEL, "CS", "STUDY"),
    QueryKey(0x0020000D, "UI", ""),
)
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


@operation("study.label")
def label(call: Call) -> Json:
    """Put labels on a study or take them off; each is an event of its own, and one that changes nothing is none."""
    study_uid = uid(call.arguments.text("study_uid"))
    labels = call.arguments.texts("labels")
    present = not call.arguments.flag("remove")
    call.arguments.finish()
    for text in labels:
        if _LABEL.fullmatch(text) is None:
            raise UsageInvalid("a label is a word of at most 64 letters, digits, `.`, `_` and `-`")
    reader = call.archive.repository.reader
    facts = reader.study_facts(study_uid)
    if facts is None:
        raise _unknown()
    for text in dict.fromkeys(labels):
        if (text in facts.labels) == present:
            continue
        event, words = ("labelled", "labelled") if present else ("unlabelled", "no longer labelled")
        call.tell(
            event,
            {"study_uid": study_uid, "label": text},
            f"study {study_uid} {words} {text}",
            Alert.OBJECT_SECURITY_ATTRIBUTES_CHANGED,
        )
    after = reader.study_facts(study_uid)
    return {"study_uid": study_uid, "labels": sorted(after.labels) if after else []}


@operation("study.list")
def listed(call: Call) -> Json:
    """The newest studies, all or those that carry any of some labels: what policy reads of them, and no names."""
    labels = tuple(call.arguments.texts("labels"))
    limit = call.arguments.optional_number("limit") or DEFAULT_LIMIT
    call.arguments.finish()
    if not 0 < limit <= MAX_LIMIT:
        raise UsageInvalid(f"the limit must be from 1 to {MAX_LIMIT}")
    query = plan_find(QueryModel.STUDY_ROOT, _STUDY_KEYS)
    scope = Holds("labels", labels) if labels else EVERYTHING
    pages = call.archive.repository.reader.find(query, scope, min(limit, _PAGE))
    matches = islice((match for page in pages for match in page), limit)
    held = frozenset(call.archive.repository.removed.holds())
    return [_described(match.facts, held) for match in matches]


@operation("study.hold")
def hold(call: Call) -> Json:
    """Let nothing of a study be taken away or erased, or let it again; saying so twice is one event."""
    study_uid = uid(call.arguments.text("study_uid"))
    why = call.arguments.text("why").strip()
    release = call.arguments.flag("release")
    call.arguments.finish()
    if not why:
        raise UsageInvalid("--reason must say why")
    removed, service = call.archive.repository.removed, RemovalService(call.archive.repository)
    if not removed.knows(study_uid):
        raise _unknown()
    if removed.held(study_uid) == release:
        change = service.release if release else service.hold
        change(call.operator.actor, study_uid, why)
    return {"study_uid": study_uid, "held": removed.held(study_uid)}


@operation("study.delete")
def delete(call: Call) -> Json:
    """Take objects of a study away: all, those of a series, or one."""
    study_uid = uid(call.arguments.text("study_uid"))
    where: list[Predicate] = [Compare("study_uid", "==", study_uid)]
    for name in ("series_uid", "sop_instance_uid"):
        wanted = call.arguments.optional_text(name)
        if wanted is not None:
            where.append(Compare(name, "==", uid(wanted)))
    reason = _reason(call.arguments.text("reason"))
    call.arguments.finish()
    service = RemovalService(call.archive.repository)
    instances = service.kept(all_of(*where))
    if not instances:
        raise _unknown()
    return {"study_uid": study_uid, "objects": service.take_away(call.operator.actor, instances, reason)}


@operation("study.restore")
def restore(call: Call) -> Json:
    """Bring back whatever was taken away of a study and is not erased."""
    return _ended(call, RemovalService(call.archive.repository).restore)


@operation("study.erase")
def erase(call: Call) -> Json:
    """Destroy whatever was taken away of a study."""
    return _ended(call, RemovalService(call.archive.repository).erase)


def _ended(call: Call, end: Callable[[Actor, str], int]) -> Json:
    study_uid = uid(call.arguments.text("study_uid"))
    call.arguments.finish()
    try:
        return {"study_uid": study_uid, "objects": end(call.operator.actor, study_uid)}
    except ObjectMissing as error:
        raise UsageInvalid(f"{error}: check the Study Instance UID") from None


def _reason(word: str) -> Reason:
    for reason in REASONS.values():
        if word in (reason.word, reason.code):
            return reason
    words = ", ".join(reason.word for reason in REASONS.values())
    raise UsageInvalid(f"{word!r:.40} is no reason: known are {words}")


def _unknown() -> UsageInvalid:
    return UsageInvalid("no object of that study is kept: check the Study Instance UID")


def _described(facts: StudyFacts, held: frozenset[str]) -> dict[str, Json]:
    return {
        "study_uid": facts.study_uid,
        "held": facts.study_uid in held,
        "study_date": facts.study_date,
        "modalities": sorted(facts.modalities),
        "labels": sorted(facts.labels),
    }
