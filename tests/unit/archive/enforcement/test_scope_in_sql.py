"""The compiled scope, once it is SQL, selects exactly the studies that Cedar permits one by one."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Connection, Text, create_engine, select

from archive.enforcement.attributes import resource_of
from archive.enforcement.scope import scope_of
from archive.enforcement.truth import NotCompilable
from auth.errors import PolicyInvalid
from auth.policy.model import AccessRequest, Action
from storage.index.columns import SCALAR_FACTS, Level
from storage.index.compiler import compile_predicate
from storage.index.schema import (
    METADATA,
    STUDY,
    STUDY_BODY_PART,
    STUDY_LABEL,
    STUDY_MODALITY,
    STUDY_PHYSICIAN,
)
from storage.instance import StudyFacts
from tests.simulators.random_policies import PERSON, engine_of, policy_text, studies
from tests.simulators.subjects import assurance, node, person

STUDIES = studies(Random(7), 40)
SETS = {
    "labels": STUDY_LABEL,
    "modalities": STUDY_MODALITY,
    "performing_physicians": STUDY_PHYSICIAN,
    "body_parts": STUDY_BODY_PART,
}


@pytest.fixture(scope="module")
def index() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        METADATA.create_all(connection)
        for number, facts in enumerate(STUDIES, start=1):
            insert(connection, number, facts)
        yield connection
    engine.dispose()


def insert(connection: Connection, number: int, facts: StudyFacts) -> None:
    """A row as far as predicates read it; whatever else a row must have is empty."""
    needed = {column.name: "" if isinstance(column.type, Text) else 0 for column in STUDY.c if not column.nullable}
    row = {name: getattr(facts, name) for name in SCALAR_FACTS}
    connection.execute(STUDY.insert().values({**needed, **row, "id": number}))
    sets = {name: getattr(facts, name) for name in SETS}
    for name, table in SETS.items():
        fixed = {"fixed": True} if "fixed" in table.c else {}
        for value in sets[name]:
            connection.execute(table.insert().values(study_fk=number, value=value, **fixed))


@pytest.mark.parametrize("reckless", [False, True], ids=["validated", "failing"])
def test_rows_selected_are_the_studies_permitted(index: Connection, tmp_path: Path, reckless: bool) -> None:
    telling = 0
    for seed in range(150):
        random = Random(seed)
        text = policy_text(random, reckless=reckless)
        who = person("r", **random.choice((PERSON, {})))
        request = AccessRequest(Action.RETRIEVE, node("r"), who, assurance(who))
        with suppress(PolicyInvalid, NotCompilable):
            engine = engine_of(tmp_path, text, validated=not reckless)
            scope = scope_of(engine.residuals(request))
            decisions = engine.decide_all(request, [(facts.study_uid, resource_of(facts)) for facts in STUDIES])
            permitted = {
                facts.study_uid for facts, decision in zip(STUDIES, decisions, strict=True) if decision.permitted
            }
            statement = select(STUDY.c.study_uid).where(compile_predicate(scope, Level.STUDY))
            assert set(index.execute(statement).scalars()) == permitted, text
            telling += 0 < len(permitted) < len(STUDIES)
    assert telling > 15
