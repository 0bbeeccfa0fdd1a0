"""What the policy takes of a query's time: the same queries on an index of a million studies, filtered and not.

Five policies, of which permits by label, by physician and for a role, and forbids by label and by department are left
in the condition. The first page of each query is read, in turn with and without it; medians and their difference.

    PYTHONPATH=scripts:. .venv/bin/python -m benchmarks.policy_filter [--studies N] [--rounds N] [--folder DIR]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from archive.enforcement.attributes import resource_of
from archive.enforcement.reach import reach_of
from auth.policy.engine import PolicyEngine
from auth.policy.model import AccessRequest, Action
from auth.principal import Assurance, IdentityDemand, NodeIdentity, NodeTrust, Principal
from storage.index.engine import IndexEngine
from storage.index.facts import facts_text
from storage.index.matching import QueryKey, QueryModel, plan_find
from storage.index.predicate import EVERYTHING, Predicate
from storage.index.reader import IndexReader
from storage.index.schema import STUDY
from storage.index.text import name_groups
from storage.instance import StudyFacts

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
QUERIES = {
    "patient ID": {0x00100020: "P4711"},
    "accession number": {0x00080050: "A4711"},
    "name prefix": {0x00100010: "NAME0047*"},
    "7 days and modality": {0x00080020: "20250601-20250607", 0x00080061: "CT"},
    "rare modality": {0x00080061: "XA"},
    "universal": {},
}
_PAGE = 10_000


def fill(engine: IndexEngine, studies: int) -> None:
    """Studies of a third as many patients; series and instances play no part in queries for studies."""
    random = Random(1)  # noqa: S311
    needed = [column.name for column in STUDY.c if not column.nullable and column.name != "id"]
    for first in range(1, studies + 1, _PAGE):
        numbers = range(first, min(first + _PAGE, studies + 1))
        rows = [_row(random, number, needed) for number in numbers]
        with engine.writing() as connection:
            columns = list(rows[0][0])
            marks = ", ".join("?" * len(columns))
            statement = f"INSERT INTO study ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608
            connection.exec_driver_sql(statement, [tuple(row.values()) for row, _, _ in rows])
            modalities = [(row["id"], value, True) for row, held, _ in rows for value in held]
            connection.exec_driver_sql(
                "INSERT INTO study_modality (study_fk, value, fixed) VALUES (?, ?, ?)", modalities
            )
            labels = [(row["id"], value) for row, _, held in rows for value in held]
            connection.exec_driver_sql("INSERT INTO study_label (study_fk, value) VALUES (?, ?)", labels)
    with engine.writing() as connection:
        connection.exec_driver_sql("ANALYZE")


def _row(random: Random, number: int, needed: list[str]) -> tuple[dict[str, object], frozenset[str], frozenset[str]]:
    patient, day = number % 333_333, random.randrange(3650)
    date = int(time.strftime("%Y%m%d", time.gmtime(1_450_000_000 + day * 86_400)))
    shares = {"restricted": 0.05, "research": 0.1, "quarantine": 0.001, "sealed": 0.01}
    labels = frozenset(label for label, share in shares.items() if random.random() < share)
    modality = "XA" if random.random() < 0.0005 else random.choice(("CT", "MR", "CR", "US"))
    name = f"NAME{patient:06d}^JANE"
    facts = StudyFacts(
        study_uid=f"1.2.{number}",
        patient_id=f"P{patient}",
        study_date=date,
        department=f"D{random.randrange(20)}",
        referring_physician=f"DR{random.randrange(2000)}",
        modalities=frozenset({modality}),
        labels=labels,
    )
    row: dict[str, object] = dict.fromkeys(needed, "{}")
    row |= {"id": number, "study_uid": facts.study_uid, "patient_id": facts.patient_id, "patient_name": name}
    row |= {"patient_name_norm": name_groups(name)[0], "study_date": date, "study_date_text": str(date)}
    row |= {"sort_date": date, "accession_number": f"A{number}", "department": facts.department}
    row |= {"referring_physician": facts.referring_physician, "facts": facts_text(facts)}
    row |= {"modalities_in_study_text": modality, "series_count": 1, "instance_count": 5}
    return row, facts.modalities, labels


def request() -> AccessRequest:
    """A radiologist who is named in some studies."""
    roles = frozenset({"radiologist"})
    node = NodeIdentity(
        "WS1", frozenset({"WS1"}), roles, IdentityDemand.REQUIRED, None, frozenset(), NodeTrust.ISSUED, "5e" * 32
    )
    person = Principal("alice", roles, {"physician_name": "DR7", "department": "D3"})
    return AccessRequest(Action.QUERY, node, person, Assurance(2, tls=True, verified_by="local"))


def measured(reader: IndexReader, keys: dict[int, str], scope: Predicate) -> tuple[float, int]:
    """Milliseconds for the first page of one query, and its rows."""
    asked = [QueryKey(0x00080052, "CS", "STUDY"), QueryKey(0x0020000D, "UI", ""), QueryKey(0x00100010, "PN", "")]
    asked = [key for key in asked if key.tag not in keys] + [
        QueryKey(tag, {0x00100010: "PN", 0x00080020: "DA", 0x00080061: "CS"}.get(tag, "LO"), text)
        for tag, text in keys.items()
    ]
    began = time.perf_counter()
    page = next(reader.find(plan_find(QueryModel.STUDY_ROOT, asked), scope), [])
    return (time.perf_counter() - began) * 1000, len(page)


def run(reader: IndexReader, engine: PolicyEngine, rounds: int) -> Iterator[dict[str, object]]:
    """Each query, with and without the filter in turn."""
    asked = request()
    scope = reach_of(engine, asked).scope
    for name, keys in QUERIES.items():
        taken: dict[str, list[float]] = {"without": [], "with": []}
        rows = 0
        for _ in range(rounds):
            for which, condition in (("without", EVERYTHING), ("with", scope)):
                milliseconds, rows = measured(reader, keys, condition)
                taken[which].append(milliseconds)
        plain, filtered = (statistics.median(times[1:]) for times in taken.values())
        yield {
            "query": name,
            "rows": rows,
            "without_ms": round(plain, 2),
            "with_ms": round(filtered, 2),
            "overhead_ms": round(filtered - plain, 2),
            "overhead": f"{(filtered - plain) / plain:+.0%}",
            "within": filtered - plain <= max(0.2 * plain, 1.0),
        }
    page = next(reader.find(plan_find(QueryModel.STUDY_ROOT, [QueryKey(0x00080052, "CS", "STUDY")]), scope))
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        engine.decide_all(asked, [(match.facts.study_uid, resource_of(match.facts)) for match in page])
        times.append((time.perf_counter() - began) * 1000)
    yield {"query": f"re-decision of a page of {len(page)}", "with_ms": round(statistics.median(times), 2)}


def main() -> None:
    """Fill an index where there is none, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--folder", type=Path, help="where the index is kept, and found again; default: thrown away")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="strongroom-policy-") as temporary:
        folder = arguments.folder or Path(temporary)
        path = folder / f"index-{arguments.studies}.sqlite"
        new = not path.exists()
        index = IndexEngine.open(path, durable=False)
        if new:
            fill(index, arguments.studies)
        policies = Path(temporary)
        (policies / SCHEMA.name).write_bytes(SCHEMA.read_bytes())
        (policies / "five.cedar").write_text(POLICIES)
        for line in run(IndexReader(index), PolicyEngine.load(policies), arguments.rounds):
            print(json.dumps(line), flush=True)
        index.close()


if __name__ == "__main__":
    main()
