"""The compiled scope, once it is SQL, selects exactly the studies that Cedar permits one by one: for policies, people,
queries and studies at random, on SQLite and on PostgreSQL.

A trial is one policy set, one person at one node, one action and one query, on every study. The suite runs 1,000, and
``--long`` 100,000; of the sets at least 70 % are compared, and what is not compared is refused when it is loaded.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, Text, select

from archive.enforcement.attributes import resource_of
from archive.enforcement.scope import scope_of
from archive.enforcement.truth import NotCompilable
from auth.errors import PolicyInvalid
from auth.policy import lint
from auth.policy.engine import PolicyEngine
from auth.policy.model import AccessRequest, Action
from storage.index.columns import SCALAR_FACTS, Level
from storage.index.compiler import compile_predicate
from storage.index.engine import IndexEngine
from storage.index.facts import labels_text
from storage.index.postgresql import open_postgresql
from storage.index.predicate import EVERYTHING, Compare, Holds, OneOf, Pattern, Predicate, Present, Wild, all_of, any_of
from storage.index.schema import (
    STUDY,
    STUDY_BODY_PART,
    STUDY_MODALITY,
    STUDY_PHYSICIAN,
)
from storage.instance import StudyFacts
from tests.simulators.postgresql import PostgreSql
from tests.simulators.predicate_oracle import selects
from tests.simulators.random_policies import PERSON, TEXTS, engine_of, policy_text, studies
from tests.simulators.subjects import assurance, node, person

STUDIES = studies(Random(7), 24)
ROWS = [(facts.study_uid, resource_of(facts)) for facts in STUDIES]
ORACLE = [{**row, "study_uid": uid} for uid, row in ROWS]
SETS = {
    "modalities": STUDY_MODALITY,
    "performing_physicians": STUDY_PHYSICIAN,
    "body_parts": STUDY_BODY_PART,
}
QUESTIONS = 10
"""Asked of each policy set."""
QUERIES = 2
"""Each in so many queries: policies, a person at a node, their action and a query are one trial."""


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Connection]]:
    """The same studies in each database."""
    with ExitStack() as held:
        server = PostgreSql()
        held.callback(server.stop)
        engines = {
            "sqlite": IndexEngine.open(tmp_path_factory.mktemp("scope") / "index.sqlite"),
            "postgresql": open_postgresql(server.database()),
        }
        connections = {}
        for name, engine in engines.items():
            held.callback(engine.close)
            with engine.writing() as connection:
                for number, facts in enumerate(STUDIES, start=1):
                    insert(connection, number, facts)
            connections[name] = held.enter_context(engine.reading())
        yield connections


def insert(connection: Connection, number: int, facts: StudyFacts) -> None:
    """A row as far as predicates read it; whatever else a row must have is empty."""
    needed = {column.name: "" if isinstance(column.type, Text) else 0 for column in STUDY.c if not column.nullable}
    row = {name: getattr(facts, name) for name in SCALAR_FACTS} | {"labels": labels_text(facts.labels)}
    connection.execute(STUDY.insert().values({**needed, **row, "id": number}))
    sets = {name: getattr(facts, name) for name in SETS}
    for name, table in SETS.items():
        flags = {flag: True for flag in ("fixed", "current") if flag in table.c}
        for value in sets[name]:
            connection.execute(table.insert().values(study_fk=number, value=value, **flags))


def question(random: Random) -> AccessRequest:
    """Who asks for what."""
    who = person(*random.choice((("r",), ())), **random.choice((PERSON, {"physician_name": "A"}, {})))
    at = node(*random.choice((("r",), ("r",), ())))
    action = random.choice((Action.QUERY, Action.RETRIEVE, Action.MOVE))
    context = random.choice(({}, {"sop_class": "1.2.840"}))
    asked = AccessRequest(action, at, who, assurance(who), context=context)
    return replace(asked, break_glass=random.random() < 0.2)


def query(random: Random, depth: int = 0) -> Predicate:
    """Which studies a query matches."""
    text = random.choice(TEXTS)
    attribute = random.choice(("patient_id", "institution", "department", "referring_physician"))
    leaves: list[Predicate] = [
        EVERYTHING,
        Compare(attribute, "==", text),
        OneOf(attribute, tuple(random.sample(TEXTS, 3))),
        Pattern(attribute, (text, Wild.ANY)),
        any_of(Pattern(attribute, (Wild.ONE, Wild.ANY, text)), Present(attribute, present=False)),
        all_of(Compare("study_date", ">=", random.randint(0, 4)), Compare("study_date", "<=", random.randint(0, 4))),
        Holds("modalities", (text,)),
        OneOf("study_uid", ("1.1", "1.3", "1.7", "1.99")),
    ]
    if depth < 2 and random.random() < 0.3:
        return random.choice((all_of, any_of))(query(random, depth + 1), query(random, depth + 1))
    return random.choice(leaves)


def compare(
    indexes: dict[str, Connection], engine: PolicyEngine, random: Random, text: str, counts: Counter[str]
) -> None:
    """One policy set, some questions: each database selects what Cedar permits and the query matches."""
    for _ in range(QUESTIONS):
        asked = question(random)
        try:
            scope = scope_of(engine.residuals(asked))
        except NotCompilable:
            counts["denied at request"] += 1
            continue
        decisions = engine.decide_all(asked, ROWS)
        permitted = [decision.permitted for decision in decisions]
        for _ in range(QUERIES):
            wanted = query(random)
            expected = {
                row["study_uid"] for may, row in zip(permitted, ORACLE, strict=True) if may and selects(wanted, row)
            }
            for name, connection in indexes.items():
                condition = compile_predicate(all_of(wanted, scope), Level.STUDY, name)
                found: set[Any] = set(connection.execute(select(STUDY.c.study_uid).where(condition)).scalars())
                assert found == expected, f"{name}: {text}\n{asked}\n{wanted}"
            counts["trials"] += 1
            counts["telling"] += 0 < len(expected) < len(STUDIES)


def run(indexes: dict[str, Connection], folder: Path, trials: int, first_seed: int = 0) -> Counter[str]:
    counts: Counter[str] = Counter()
    seed = first_seed
    while counts["trials"] < trials:
        seed += 1
        random = Random(seed)
        reckless = seed % 2 == 0
        text = policy_text(random, reckless=reckless)
        counts["sets"] += 1
        try:
            engine = engine_of(folder, text, validated=not reckless)
        except PolicyInvalid:
            counts["refused at load"] += 1
            _check_refused(folder, text, random)
            continue
        compare(indexes, engine, random, text, counts)
        counts["compared"] += 1
    return counts


def _check_refused(folder: Path, text: str, random: Random) -> None:
    """What the lint refuses would be denied at the request, or be right: it is never compiled to something else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lint, "check", lambda condition: None)
        try:
            engine = engine_of(folder, text, validated=False)
        except PolicyInvalid:
            return
        asked = question(random)
        try:
            scope = scope_of(engine.residuals(asked))
        except NotCompilable:
            return
        permitted = [decision.permitted for decision in engine.decide_all(asked, ROWS)]
        assert [selects(scope, row) for row in ORACLE] == permitted, text


def told(counts: Counter[str], indexes: dict[str, Connection]) -> str:
    share = counts["compared"] / counts["sets"]
    return f"{dict(counts)} on {', '.join(indexes)}; share of sets compared: {share:.1%}"


@pytest.mark.timeout(600)
def test_rows_selected_are_the_studies_permitted(indexes: dict[str, Connection], tmp_path: Path) -> None:
    counts = run(indexes, tmp_path, 3_000)
    print(told(counts, indexes))
    assert counts["compared"] / counts["sets"] >= 0.7
    assert counts["refused at load"] and counts["telling"] > 300


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_rows_selected_are_the_studies_permitted_100000_times(indexes: dict[str, Connection], tmp_path: Path) -> None:
    counts = run(indexes, tmp_path, 100_000, first_seed=1_000_000)
    print(told(counts, indexes))
    assert counts["compared"] / counts["sets"] >= 0.7
