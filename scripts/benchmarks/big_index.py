"""A big index of generated studies, and how fast it answers: ``scripts/bench index-sqlite index-postgresql``.

Rows are written past the committer, in large transactions, into the product's own tables; what is measured is
`storage.index.reader` on them, with what a radiologist may see as its scope.
"""

import random
import resource
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import dictionary_VR, tag_for_keyword
from sqlalchemy import Connection, text

from storage.index.elements import document_text, element_text
from storage.index.engine import IndexEngine
from storage.index.facts import FactsSeal, facts_text, labels_text
from storage.index.finding import Match
from storage.index.matching import QUERY_RETRIEVE_LEVEL, FindQuery, QueryModel, plan_find
from storage.index.postgresql import open_postgresql
from storage.index.predicate import Holds, NotTrue, Predicate
from storage.index.prepared import Prepared
from storage.index.reader import IndexReader
from storage.index.schema import STUDY
from storage.index.sequences import QueryKey
from storage.index.text import folded
from storage.instance import StudyFacts
from tests.simulators.postgresql import PostgreSql

SQLITE, POSTGRESQL = "index-sqlite", "index-postgresql"
SLOW_SECONDS = 0.02
"""What a slow reader takes for a page of 500: 25,000 matches a second."""
INSTANCES_PER_STUDY = 5
SCOPE: Predicate = NotTrue(Holds("labels", ("restricted",)))
"""What a radiologist may see."""
SEAL = FactsSeal(b"benchmark")
_CT = "1.2.840.10008.5.1.4.1.1.2"
_MODALITIES = ("CT",) * 400 + ("MR",) * 300 + ("CR",) * 150 + ("US",) * 100 + ("DX",) * 49 + ("XA",)
_FAMILIES = 40_000
_BATCH = 2_000


def fill(engine: IndexEngine, studies: int) -> None:
    """Generate so many studies of one series and five instances each; the same every time.

    Studies are made here, and everything below them by the database from their rows.
    """
    random_ = random.Random(1)
    families = [_name(random_, 4 + at % 7) for at in range(_FAMILIES)]
    given = [_name(random_, 3 + at % 5) for at in range(2_000)]
    insert = Prepared(STUDY.insert(), [column.name for column in STUDY.c])
    for first in range(0, studies, _BATCH):
        numbers = range(first, min(first + _BATCH, studies))
        with engine.writing() as connection:
            rows = [_study(random_, families, given, number, studies) for number in numbers]
            if engine.dialect.name == "sqlite":
                insert.run(connection, rows)
            else:
                _copy(connection, rows)
    for first in range(0, studies, _BATCH * 5):
        with engine.writing() as connection:
            for statement in _below(engine.dialect.name):
                connection.execute(text(statement), {"first": first, "last": first + _BATCH * 5})
    if engine.dialect.name == "postgresql":
        with engine.writing() as connection:
            connection.execute(text("ANALYZE"))


def _copy(connection: Connection, rows: list[dict[str, object]]) -> None:
    """Studies by COPY: a round trip for each takes PostgreSQL minutes."""
    with connection.connection.cursor() as cursor, cursor.copy(f"COPY study ({', '.join(rows[0])}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(list(row.values()))


def _below(dialect: str) -> list[str]:
    """What fills the other tables for the studies from ``first`` to before ``last``."""
    numbers = "(VALUES " + ", ".join(f"({number})" for number in range(20)) + ")"
    n = f"(SELECT column1 AS n FROM {numbers} AS listed)"
    random_bytes = (
        "randomblob(32)" if dialect == "sqlite" else "decode(md5(s.id || '.' || n) || md5(n || '.' || s.id), 'hex')"
    )
    object_id = "lower(hex(randomblob(16)))" if dialect == "sqlite" else "md5(s.id || '.' || n)"
    these = "s.id > :first AND s.id <= :last"
    return [
        f"""INSERT INTO series (id, study_fk, series_uid, modality, series_number, instance_count, differs)
            SELECT s.id, s.id, s.study_uid || '.1', s.modalities_in_study_text, '1', {INSTANCES_PER_STUDY}, '{{}}'
            FROM study s WHERE {these}""",
        f"""INSERT INTO instance (id, series_fk, sop_instance_uid, sop_class_uid, instance_number, transfer_syntax,
            object_id, address, canonical_digest, signatures, size, ledger_sequence)
            SELECT (s.id - 1) * {INSTANCES_PER_STUDY} + n + 1, s.id, s.study_uid || '.1.' || n, '{_CT}',
            CAST(n + 1 AS TEXT), '1.2.840.10008.1.2.1', {object_id}, {random_bytes}, {random_bytes}, {random_bytes},
            526204, (s.id - 1) * {INSTANCES_PER_STUDY} + n + 1
            FROM study s CROSS JOIN {n} AS counted WHERE n < {INSTANCES_PER_STUDY} AND {these}""",
        f"""INSERT INTO study_modality (study_fk, value, fixed, current)
            SELECT s.id, s.modalities_in_study_text, TRUE, TRUE FROM study s WHERE {these}""",
        f"INSERT INTO study_sop_class (study_fk, value) SELECT s.id, '{_CT}' FROM study s WHERE {these}",
        f"""INSERT INTO study_name_part (study_fk, value)
            SELECT DISTINCT s.id, substr(s.patient_name_norm, n + 1, 3) FROM study s CROSS JOIN {n} AS counted
            WHERE n + 3 <= length(s.patient_name_norm) AND {these}""",
    ]


def _name(random_: random.Random, length: int) -> str:
    return "".join(random_.choice("aeiou" if at % 2 else "bdfgklmnprstvz") for at in range(length)).capitalize()


def _study(
    random_: random.Random, families: list[str], given: list[str], number: int, studies: int
) -> dict[str, object]:
    person = number * 7_919 % (studies // 3)
    patient = f"PAT{person:07d}"
    name = f"{families[person * 31 % len(families)]}^{given[person * 17 % len(given)]}"
    modality = random_.choice(_MODALITIES)
    date = 20000101 + random_.randrange(26) * 10_000 + random_.randrange(12) * 100 + random_.randrange(28)
    uid = f"1.2.826.0.1.3680043.10.1.{number}"
    row: dict[str, object] = dict.fromkeys(column.name for column in STUDY.c)
    labels = frozenset({"restricted"} if number % 1000 == 0 else ())
    facts = StudyFacts(uid, patient, date, modalities=frozenset({modality}), labels=labels)
    return row | {
        "id": number + 1,
        "study_uid": uid,
        "patient_id": patient,
        "patient_name": name,
        "patient_name_norm": folded(name),
        "study_date": date,
        "study_date_text": str(date),
        "sort_date": date,
        "accession_number": f"ACC{number:08d}",
        "labels": labels_text(labels),
        "facts": facts_text(facts),
        "facts_seal": SEAL.of(facts_text(facts), labels_text(labels)),
        "modalities_in_study_text": modality,
        "sop_classes_in_study_text": _CT,
        "series_count": 1,
        "instance_count": INSTANCES_PER_STUDY,
        "elements": document_text([element_text(0x00101020, (b"DS", b"1.80"), ("ascii",))]),
    }


RETURNED = (0x00080020, 0x00080050, 0x00080061, 0x00100010, 0x00100020, 0x0020000D)


def query(**keys: str) -> FindQuery:
    """A study query as a workstation asks it."""
    asked = {tag: QueryKey(tag, str(dictionary_VR(tag)), "") for tag in RETURNED}
    for keyword, value in keys.items():
        tag = int(tag_for_keyword(keyword) or 0)
        asked[tag] = QueryKey(tag, str(dictionary_VR(tag)), value)
    return plan_find(QueryModel.STUDY_ROOT, [*asked.values(), QueryKey(QUERY_RETRIEVE_LEVEL, "CS", "STUDY")])


def questions(studies: int, at: int) -> dict[str, FindQuery]:
    """One query of each kind; another one for each ``at``."""
    random_ = random.Random(at)
    number = random_.randrange(studies)
    names = random.Random(1)
    family = [_name(names, 4 + each % 7) for each in range(300)][at % 300]
    year = 2000 + at % 26
    return {
        "Patient ID": query(PatientID=f"PAT{number % (studies // 3):07d}"),
        "accession number": query(AccessionNumber=f"ACC{number:08d}"),
        "name, beginning": query(PatientName=f"{family}*"),
        "name, within": query(PatientName=f"*{family[1:5]}*"),
        "date range and modality": query(StudyDate=f"{year}0301-{year}0307", ModalitiesInStudy="CT"),
        "rare modality": query(ModalitiesInStudy="XA"),
        "everything": query(),
    }


@dataclass(frozen=True)
class Measured:
    """What was found of one kind of query; milliseconds."""

    name: str
    p50: float
    p95: float
    rows: int


def first_responses(reader: IndexReader, studies: int, rounds: int) -> Iterator[Measured]:
    """From the query to its first page."""
    times: dict[str, list[float]] = {}
    rows: dict[str, int] = {}
    for at in range(rounds + 1):
        for name, asked in questions(studies, at).items():
            begun = time.perf_counter()
            page = next(reader.find(asked, SCOPE), [])
            elapsed = (time.perf_counter() - begun) * 1000
            if at:  # the first one writes the statement
                times.setdefault(name, []).append(elapsed)
                rows[name] = len(page)
    for name, measured in times.items():
        measured.sort()
        yield Measured(name, statistics.median(measured), measured[int(len(measured) * 0.95)], rows[name])


@dataclass(frozen=True)
class Streamed:
    """A universal query taken by a slow reader, and what others had meanwhile."""

    matches: int
    seconds: float
    growth_kib: int
    """Of the process's peak of memory, from the first page to the last."""
    alone_ms: float
    beside_ms: float
    """Median of queries by Patient ID, alone and meanwhile."""


def stream(reader: IndexReader, studies: int, pause: float) -> Streamed:
    """Take every match, pausing after each page as a slow network does, while somebody else asks by Patient ID."""
    alone = _asked(reader, studies, 200)
    beside: list[float] = []
    done = threading.Event()

    def other() -> None:
        while not done.is_set():
            beside.append(_asked(reader, studies, 20))
            time.sleep(0.05)

    thread = threading.Thread(target=other)
    pages = reader.find(query(), SCOPE)
    matches = len(next(pages))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.perf_counter()
    thread.start()
    page: list[Match]
    for page in pages:
        matches += len(page)
        time.sleep(pause)
    seconds = time.perf_counter() - begun
    done.set()
    thread.join()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Streamed(matches, seconds, after - before, alone, statistics.median(beside))


def _asked(reader: IndexReader, studies: int, times: int) -> float:
    taken = []
    for at in range(times):
        asked = query(PatientID=f"PAT{at * 997 % (studies // 3):07d}")
        begun = time.perf_counter()
        next(reader.find(asked, SCOPE), [])
        taken.append((time.perf_counter() - begun) * 1000)
    return statistics.median(taken)


def run(name: str, studies: int, rounds: int, work: Path) -> list[dict[str, object]]:
    """Fill one index and measure it: milliseconds to the first page by kind of query, then a slow reader."""
    with ExitStack() as held:
        if name == SQLITE:
            engine = IndexEngine.open(work / "big.sqlite", durable=False, seal=SEAL)
        else:
            cluster = PostgreSql()
            held.callback(cluster.stop)
            engine = open_postgresql(cluster.database(), durable=False, seal=SEAL)
        held.callback(engine.close)
        fill(engine, studies)
        reader = IndexReader(engine)
        results = [
            _result(f"{name} {one.name}", "ms (p50)", one.p50, [one.p50, one.p95], rounds)
            for one in first_responses(reader, studies, rounds)
        ]
        streamed = stream(reader, studies, SLOW_SECONDS)
        return [
            *results,
            _result(f"{name} stream", "matches/s", streamed.matches / streamed.seconds, [streamed.growth_kib] * 2, 1),
            _result(f"{name} alone", "ms (p50)", streamed.alone_ms, [streamed.alone_ms] * 2, 1),
            _result(f"{name} beside a stream", "ms (p50)", streamed.beside_ms, [streamed.beside_ms] * 2, 1),
        ]


def _result(name: str, unit: str, ours: float, spread: list[float], rounds: int) -> dict[str, object]:
    low, high = (round(one, 2) for one in spread)
    return {
        "name": name,
        "unit": unit,
        "ours": round(ours, 2),
        "peers": {},
        "ratio": {},
        "spread": [low, high],
        "rounds": rounds,
    }
