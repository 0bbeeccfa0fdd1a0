"""Invariant: any bytes give valid PDUs or a coded status back, or a clean close, and nothing else.

The share of `tests.fuzz.endurance` that every suite runs; docs/front-door.md has the summary of the long one.
"""

import pytest

from tests.fuzz.endurance import Run, converse, quiet, read_data_sets, recorded
from tests.simulators.fuzzed_archive import FuzzedArchive
from tests.simulators.shared_material import shared

PDUS, DATA_SETS = 40_000, 10_000


@pytest.fixture
def archive(tmp_path):
    quiet()
    made = FuzzedArchive(tmp_path)
    yield made
    made.close()


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_forty_thousand_pdus_of_broken_conversations(archive):
    run = Run(seed=1)
    for _ in converse(archive, run, PDUS):
        pass
    assert run.responses > PDUS / 10, "past the association, into the services"
    assert set(run.endings) >= {"nothing", "released", "aborted", "lost", "violation"}


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_conversations_that_somebody_recorded(archive):
    run = Run(seed=2)
    for _ in converse(archive, run, 2_000, recorded(shared("vectors", "dicom-net-seeds"))):
        pass
    assert run.conversations


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_ten_thousand_broken_data_sets_are_read_the_same_whatever_pieces_they_come_in():
    run = Run(seed=1)
    for _ in read_data_sets(run, DATA_SETS):
        pass
    assert run.accepted > DATA_SETS / 20, "not all of them are refused at their first byte"
    assert len(run.refused) >= 3


@pytest.mark.long
@pytest.mark.timeout(14_400)
@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
def test_five_million_pdus_and_two_hundred_thousand_data_sets(archive):
    run = Run(seed=1_000)
    for _ in converse(archive, run, 5_000_000):
        pass
    for _ in read_data_sets(run, 200_000):
        pass
    print(vars(run))
