"""What the policy takes of a query's time: the same queries on an index of a million studies, filtered and not.

Five policies, of which permits by label, by physician and for a role, and forbids by label and by department are left
in the condition. The first page of each query is read, in turn with and without it; medians and their difference.

    PYTHONPATH=scripts:. .venv/bin/python -m benchmarks.policy_filter [--studies N] [--rounds N] [--database D]
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import text

from archive.enforcement.attributes import resource_of
from archive.enforcement.reach import reach_of
from auth.policy.engine import PolicyEngine
from auth.policy.model import AccessRequest, Action
from auth.principal import Assurance, IdentityDemand, NodeIdentity, NodeTrust, Principal
from benchmarks.big_index import SEAL, _below, _copy, _name, _study, query, questions
from storage.index.engine import IndexEngine
from storage.index.facts import facts_of, facts_text, labels_text
from storage.index.postgresql import open_postgresql
from storage.index.predicate import EVERYTHING
from storage.index.prepared import Prepared
from storage.index.reader import IndexReader
from storage.index.schema import STUDY
from tests.simulators.postgresql import PostgreSql

SCHEMA = Path(__file__).parents[2] / "config" / "policies" / "schema.cedarschema"
POLICIES = """
@id("radiologist") permit (principal in Role::"radiologist", action == Action::"Query", resource)
unless { resource.labels.contains("restricted") };
@id("physician") permit (principal in Role::"radiologist", action == Action::"Query", resource)
when { resource has referring_physician && context has person && context.person.attributes has physician_name &&
       resource.referring_physician == context.person.attributes.physician_name };
@id("research") permit (principal in Role::"radiologist", action == Action::"Query", resource)
when { resource.labels.contains("research") };
@id("quarantine") forbid (principal, action, resource is Study) when { resource.labels.contains("quarantine") };
@id("sealed") forbid (principal, action, resource is Study)
when { resource.labels.contains("sealed") }
unless { context has person && context.person.attributes has department && resource has department &&
         resource.department == context.person.attributes.department };
"""
LABELS = {"restricted": 20, "research": 10, "sealed": 100, "quarantine": 1000}
"""One study in so many carries each."""
ALLOWED_MS = {"sqlite": 1.0, "postgresql": 2.0}
"""By which a query may become slower, or by a fifth if that is more."""
_BATCH = 2_000


def fill(engine: IndexEngine, studies: int) -> None:
    """The studies of `benchmarks.big_index`, with departments, physicians and labels, and nothing below them."""
    random_ = random.Random(1)  # noqa: S311
    families = [_name(random_, 4 + at % 7) for at in range(40_000)]
    given = [_name(random_, 3 + at % 5) for at in range(2_000)]
    insert = Prepared(STUDY.insert(), [column.name for column in STUDY.c])
    for first in range(0, studies, _BATCH):
        rows = [_study(random_, families, given, number, studies) for number in range(first, first + _BATCH)]
        rows = [row | _told(row) for row in rows]
        with engine.writing() as connection:
            if engine.dialect.name == "sqlite":
                insert.run(connection, rows)
            else:
                _copy(connection, rows)
    beside = [one for one in _below(engine.dialect.name) if "INTO study_" in one]
    for first in range(0, studies, _BATCH * 5):
        with engine.writing() as connection:
            for statement in beside:
                connection.execute(text(statement), {"first": first, "last": first + _BATCH * 5})
    with engine.writing() as connection:
        connection.execute(text("ANALYZE"))


def _told(row: dict[str, Any]) -> dict[str, object]:
    """What policy reads of a study."""
    number = row["id"]
    labels = frozenset(label for label, share in LABELS.items() if number % share == 3)
    own = {"department": f"D{number % 20}", "referring_physician": f"DR{number % 2000}"}
    facts = facts_text(replace(facts_of(row["facts"]), labels=labels, **own))
    text = labels_text(labels)
    return {**own, "labels": text, "facts": facts, "facts_seal": SEAL.of(facts, text)}


def request() -> AccessRequest:
    """A radiologist who is named in some studies."""
    roles = frozenset({"radiologist"})
    node = NodeIdentity(
        "WS1", frozenset({"WS1"}), roles, IdentityDemand.REQUIRED, None, frozenset(), NodeTrust.ISSUED, "5e" * 32
    )
    person = Principal("alice", roles, {"physician_name": "DR7", "department": "D3"})
    return AccessRequest(Action.QUERY, node, person, Assurance(2, tls=True, verified_by="local"))


def run(
    reader: IndexReader, engine: PolicyEngine, database: str, studies: int, rounds: int
) -> Iterator[dict[str, object]]:
    """Each query, with and without the filter in turn."""
    asked = request()
    scopes = {"without": EVERYTHING, "with": reach_of(engine, asked).scope}
    taken: dict[str, dict[str, list[float]]] = {}
    for at in range(rounds + 1):
        for name, wanted in questions(studies, at).items():
            for which in sorted(scopes, reverse=bool(at % 2)):
                began = time.perf_counter()
                next(reader.find(wanted, scopes[which]), [])
                if at:  # the first one writes the statement
                    times = taken.setdefault(name, {"without": [], "with": []})
                    times[which].append((time.perf_counter() - began) * 1000)
    for name, times in taken.items():
        plain, filtered = statistics.median(times["without"]), statistics.median(times["with"])
        yield {
            "database": database,
            "query": name,
            "without_ms": round(plain, 2),
            "with_ms": round(filtered, 2),
            "overhead_ms": round(filtered - plain, 2),
            "overhead": f"{(filtered - plain) / plain:+.0%}",
            "within": filtered - plain <= max(0.2 * plain, ALLOWED_MS[database]),
        }
    page = next(reader.find(query(), scopes["with"]))
    again = []
    for _ in range(rounds):
        began = time.perf_counter()
        decisions = engine.decide_all(asked, [(match.facts.study_uid, resource_of(match.facts)) for match in page])
        again.append((time.perf_counter() - began) * 1000)
        assert len(decisions) == len(page)
    name = f"deciding {len(page)} rows of a first page again"
    yield {"database": database, "query": name, "with_ms": round(statistics.median(again), 2)}


def main() -> None:
    """Fill an index, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--database", choices=tuple(ALLOWED_MS), default="sqlite")
    arguments = parser.parse_args()
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="strongroom-policy-")))
        if arguments.database == "sqlite":
            index = IndexEngine.open(folder / "index.sqlite", durable=False, seal=SEAL)
        else:
            server = PostgreSql()
            held.callback(server.stop)
            index = open_postgresql(server.database(), durable=False, seal=SEAL)
        held.callback(index.close)
        fill(index, arguments.studies)
        (folder / SCHEMA.name).write_bytes(SCHEMA.read_bytes())
        (folder / "five.cedar").write_text(POLICIES)
        engine = PolicyEngine.load(folder)
        for line in run(IndexReader(index), engine, arguments.database, arguments.studies, arguments.rounds):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
