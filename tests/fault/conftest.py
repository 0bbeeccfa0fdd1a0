"""Real archives for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulators.running_archive import RunningArchive


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[RunningArchive]:
    """A fresh archive, running."""
    with RunningArchive(tmp_path).init().serving() as running:
        yield running
