"""How long an answer takes does not tell hidden from absent (THREATS D06): 2,000 interleaved pairs on each database.

A study that is hidden is asked for, and one that is not there, in turn; Mann-Whitney and the medians must not tell
which is which. Long, and measured: the suite only sees that it can be run.
"""

import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.dimse.channel import AcceptedContext
from archive.dimse.query import QueryProvider
from archive.services.query import QueryService
from archive.upper_layer.commands import Field
from archive.upper_layer.limits import Limits
from storage.index.postgresql import open_postgresql
from storage.transfer_syntax import EXPLICIT_LITTLE
from tests.simulators.memory_archive import CT, World, encoded, image
from tests.simulators.memory_channel import MemoryChannel, MemoryData, request
from tests.simulators.postgresql import PostgreSql
from tests.simulators.retrieving import get_provider
from tests.simulators.subjects import node, person

FIND, GET = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.3"
TAKES_CT = AcceptedContext(5, CT, EXPLICIT_LITTLE, scu_role=False, scp_role=True)
STUDIES = 400
KEPT, HIDDEN, ABSENT = range(1001, 1001 + STUDIES), range(1002, 1001 + STUDIES, 2), range(5002, 5001 + STUDIES, 2)
"""Numbers of studies, all as long; every second one that is kept is restricted."""


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Studies of which a radiologist may see every second one."""
    if request.param == "postgresql":
        server = PostgreSql()
        request.addfinalizer(server.stop)
        world = World(tmp_path, index=open_postgresql(server.database()))
    else:
        world = World(tmp_path)
    world.keep(*(image(number, PatientID="P", StudyDate="20260101") for number in KEPT))
    for number in HIDDEN:
        world.label(f"1.2.{number}", "restricted")
    yield world
    world.close()


def asked(world: World, operation: Field, number: int) -> float:
    """Seconds for one request about one study, which finds nothing."""
    identifier = image()
    identifier.clear()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", f"1.2.{number}"
    sop_class = FIND if operation == Field.C_FIND_RQ else GET
    if operation == Field.C_FIND_RQ:
        identifier.PatientName = identifier.NumberOfStudyRelatedInstances = ""
    context = AcceptedContext(1, sop_class, EXPLICIT_LITTLE)
    channel = MemoryChannel(world.admit(node("radiologist"), person("radiologist")), context, TAKES_CT)
    data = MemoryData(encoded(identifier, EXPLICIT_LITTLE))
    if operation == Field.C_FIND_RQ:
        provider = QueryProvider(
            QueryService(world.reader, world.pep, world.trail, world.repository), "STRONGROOM", Limits()
        )
    else:
        provider = get_provider(world)
    began = time.perf_counter()
    provider.handle(channel, context, request(operation, sop_class), data)
    took = time.perf_counter() - began
    assert [message.status for message in channel.sent] == [0]
    return took


def pairs(world: World, operation: Field, count: int) -> tuple[list[float], list[float]]:
    """Times for hidden and for absent studies, asked in turn, each first in every other pair."""
    for number in (*HIDDEN[:30], *ABSENT[:30]):
        asked(world, operation, number)
    hidden, absent = [], []
    for at in range(count):
        turns = [(hidden, HIDDEN[at % len(HIDDEN)]), (absent, ABSENT[at % len(ABSENT)])]
        for times, number in turns if at % 2 else turns[::-1]:
            times.append(asked(world, operation, number))
    return hidden, absent


def mann_whitney(some: list[float], others: list[float]) -> float:
    """The two-sided p of both being alike, by the normal approximation; ties share their rank."""
    ranked = sorted([(value, True) for value in some] + [(value, False) for value in others])
    total, at = 0.0, 0
    while at < len(ranked):
        end = at
        while end < len(ranked) and ranked[end][0] == ranked[at][0]:
            end += 1
        total += sum(mine for _, mine in ranked[at:end]) * (at + 1 + end) / 2
        at = end
    n, m = len(some), len(others)
    z = (total - n * (n + 1) / 2 - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


def test_the_judge_tells_times_that_differ_from_times_that_do_not() -> None:
    same = [float(number % 97) for number in range(2000)]
    assert mann_whitney(same, same[::-1]) > 0.99
    assert mann_whitney(same, [value + 5 for value in same]) < 0.001


def test_hidden_and_absent_studies_can_be_asked_for_in_turn(world: World) -> None:
    hidden, absent = pairs(world, Field.C_FIND_RQ, 5)
    assert len(hidden) == len(absent) == 5


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("operation", [Field.C_FIND_RQ, Field.C_GET_RQ], ids=["C-FIND", "C-GET"])
def test_time_does_not_tell_hidden_from_absent(world: World, operation: Field) -> None:
    hidden, absent = pairs(world, operation, 2000)
    p = mann_whitney(hidden, absent)
    medians = statistics.median(hidden), statistics.median(absent)
    apart = abs(medians[0] - medians[1]) / medians[1]
    shown = ", ".join(f"{median * 1e3:.3f} ms" for median in medians)
    print(f"{operation.name}: medians {shown}: {apart:.1%} apart, p = {p:.3f}")
    assert p > 0.01 and apart <= 0.05
