"""Predicates as SQL that a person can read: for explanations, never for execution."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from storage.index.columns import Level
from storage.index.compiler import compile_predicate
from storage.index.predicate import Predicate
from storage.index.schema import STUDY

_DIALECTS: Final = {"sqlite": sqlite.dialect, "postgresql": postgresql.dialect}


def sql_text(predicate: Predicate, dialect: str) -> str:
    """The studies that a predicate selects, values in their places. Raises `IndexFault` as `compile_predicate`."""
    chosen = select(STUDY.c.study_uid).where(compile_predicate(predicate, Level.STUDY, dialect))
    return str(chosen.compile(dialect=_DIALECTS[dialect](), compile_kwargs={"literal_binds": True}))
