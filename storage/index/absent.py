"""Labels of studies of which nothing is kept: they wait for the next object, so that no study comes back unlabelled.

Each function works inside a transaction that the caller opened.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, delete, select

from storage.index.prepared import Prepared
from storage.index.schema import ABSENT_LABEL

_LABELS: Final = Prepared(select(ABSENT_LABEL.c.value).where(ABSENT_LABEL.c.study_uid == bindparam("uid")))


def put(connection: Connection, study_uid: str, labels: Iterable[str]) -> None:
    """The study is gone, and its labels stay; idempotent."""
    held = labels_of(connection, study_uid)
    rows = [{"study_uid": study_uid, "value": text} for text in sorted(set(labels) - held)]
    if rows:
        connection.execute(ABSENT_LABEL.insert(), rows)


def drop(connection: Connection, study_uid: str, text: str) -> None:
    """Take one label off a study that is gone; idempotent."""
    connection.execute(delete(ABSENT_LABEL).where(ABSENT_LABEL.c.study_uid == study_uid, ABSENT_LABEL.c.value == text))


def labels_of(connection: Connection, study_uid: str) -> frozenset[str]:
    """The labels that wait for a study."""
    return frozenset(value for (value,) in _LABELS.rows(connection, uid=study_uid))


def taken(connection: Connection, study_uid: str) -> frozenset[str]:
    """The labels that waited for a study, which begins now and carries them itself."""
    labels = labels_of(connection, study_uid)
    if labels:
        connection.execute(delete(ABSENT_LABEL).where(ABSENT_LABEL.c.study_uid == study_uid))
    return labels
