"""What was taken away long enough ago is erased, by whoever looks after the archive, and nothing on hold."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from archive import serving
from archive.audit.events import Actor
from archive.services.removal import EXPIRED, RemovalService
from archive.settings import DeletionSettings, Settings
from storage.index.predicate import EVERYTHING
from tests.simulators.object_store import ObjectStore, data_set, store


@pytest.fixture
def world(tmp_path):
    made = ObjectStore(tmp_path)
    yield made
    made.stop()


@pytest.fixture
def repository(world):
    """Two studies that were taken away, the second of them on hold since, and one that is kept."""
    repository = world.start()
    for study in ("1.1", "1.2", "1.3"):
        store(repository, data_set(f"{study}.9", study=study, series=f"{study}.1"), f"{study}.9")
    service = RemovalService(repository)
    taken = [one for one in service.kept(EVERYTHING) if one.key.study_uid != "1.3"]
    service.take_away(Actor(), taken, EXPIRED)
    service.hold(Actor(), "1.2", "a court")
    return repository


def after(days):
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_what_is_due_is_erased_but_for_studies_on_hold(world, repository):
    service = RemovalService(repository)
    assert service.erase_due(Actor(), after(-1)) == 0 and len(world.published()) == 3
    assert service.erase_due(Actor(), after(1)) == 1 and len(world.published()) == 2
    assert service.erase_due(Actor(), after(1)) == 0
    service.release(Actor(), "1.2", "settled")
    assert service.erase_due(Actor(), after(1)) == 1
    erased = [entry for entry in world.journal.told if entry.event == "erased"]
    assert [(entry.facts["study_uid"], entry.provenance["actor"]) for entry in erased] == [("1.1", {}), ("1.2", {})]


@pytest.mark.parametrize(("days", "later", "erased"), [(0, 400, 0), (30, 29, 0), (30, 31, 1)])
def test_a_serving_archive_erases_after_as_many_days_as_the_settings_say(monkeypatch, repository, days, later, erased):
    archive = SimpleNamespace(
        settings=Settings(deletion=DeletionSettings(erase_after_days=days)), repository=repository
    )
    monkeypatch.setattr(serving, "now", lambda: datetime.now(UTC) + timedelta(days=later))
    assert serving._erase_due(archive) == erased
