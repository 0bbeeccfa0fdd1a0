"""Operations on studies: the labels that policy reads."""

import re
from itertools import islice
from typing import Final

from archive.audit.events import Alert
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.errors import UsageInvalid
from storage.identifiers import uid
from storage.index.matching import QUERY_RETRIEVE_LEVEL, QueryModel, plan_find
from storage.index.predicate import EVERYTHING, Holds
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
        raise UsageInvalid("no object of that study is kept: check the Study Instance UID")
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
    return [_described(match.facts) for match in matches]


def _described(facts: StudyFacts) -> dict[str, Json]:
    return {
        "study_uid": facts.study_uid,
        "study_date": facts.study_date,
        "modalities": sorted(facts.modalities),
        "labels": sorted(facts.labels),
    }
