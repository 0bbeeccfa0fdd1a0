"""What a serving archive looks after: each look on its own, at its time, whatever becomes of the others."""

from datetime import UTC, datetime, timedelta

import pytest

from archive.audit.events import SecurityAlert
from archive.certificates import Held, Lasting
from archive.errors import AuditUnavailable
from archive.metrics import Metrics
from archive.tending import Files, Tending
from auth.errors import AuthorityError
from storage.errors import StoreReadOnly
from tests.simulators.acceptor import wait_until
from tests.simulators.certificates import make
from tests.simulators.memory_archive import Trail


class Tended:
    """A tending whose every look is counted."""

    def __init__(self, folder, held=(), *, fails=False):
        self.file = folder / "server.pem"
        self.file.write_bytes(b"one")
        self.reloads, self.withdrawals, self.generation, self.erasures = 0, 0, 1, 0
        self.fails, self.held = fails, list(held)
        self.trail, self.metrics = Trail(), Metrics()
        self.tending = Tending(
            files=Files([self.file, folder / "revoked"]),
            reload=self.reload,
            reload_seconds=0.0,
            generation=lambda: self.generation,
            withdraw=self.withdraw,
            held=lambda: self.held,
            warn=timedelta(days=30),
            audit=self.trail,
            metrics=self.metrics,
            clock=lambda: datetime.now(UTC),
            erase=self.erase,
        )

    def reload(self):
        self.reloads += 1
        if self.fails:
            raise AuthorityError("not usable")

    def withdraw(self):
        self.withdrawals += 1

    def erase(self):
        self.erasures += 1
        raise StoreReadOnly("a disk has failed")


@pytest.fixture
def tended(tmp_path):
    made = Tended(tmp_path)
    made.tending.begin()
    yield made
    made.tending.close()


def test_a_file_that_changes_is_read_again_and_one_that_does_not_is_not(tended):
    wait_until(lambda: tended.withdrawals > 0, "a look")
    assert tended.reloads == 0
    tended.file.write_bytes(b"another")
    wait_until(lambda: tended.reloads == 1, "read again")
    assert tended.metrics.samples()['strongroom_tls_reloads_total{result="good"}'] == 1


def test_a_file_that_comes_into_a_folder_is_a_change(tmp_path):
    files = Files([tmp_path / "revoked"])
    assert not files.changed()
    (tmp_path / "revoked").mkdir()
    (tmp_path / "revoked" / "a.crl").write_bytes(b"x")
    assert files.changed()
    assert not files.changed()


def test_what_cannot_be_used_is_counted_and_stops_nothing(tmp_path):
    made = Tended(tmp_path, fails=True)
    with pytest.raises(AuthorityError):
        made.tending.reload()
    made.tending.begin()
    made.file.write_bytes(b"another")
    wait_until(lambda: made.reloads == 2, "tried")
    wait_until(lambda: made.withdrawals > 1, "and went on")
    made.tending.close()
    assert made.metrics.samples()['strongroom_tls_reloads_total{result="failed"}'] == 2


def held(days, *, of_node=True, until=None):
    return Held("CT1", make("CT1", ends=timedelta(days=days)).certificate, of_node, until)


def test_a_certificate_that_ends_soon_is_told_once_and_one_that_lasts_is_not(tmp_path):
    made = Tended(
        tmp_path, [held(10), Held("server", make("s", ends=timedelta(hours=-1)).certificate, False), held(90)]
    )
    made.tending.begin()
    wait_until(lambda: made.withdrawals > 1, "two looks")
    made.tending.close()
    assert all(isinstance(event, SecurityAlert) for event in made.trail.events)
    told = [event.description for event in made.trail.events]
    assert len(told) == 2
    assert "node CT1 expires soon" in told[0] and "server expired" in told[1]
    assert made.metrics.samples()['strongroom_certificate_expiry_timestamp_seconds{certificate="server"}'] > 0


def test_an_audit_that_fails_does_not_stop_the_looking(tmp_path):
    made = Tended(tmp_path, [held(10)])
    made.trail.broken = True
    made.tending.begin()
    wait_until(lambda: made.withdrawals > 1, "two looks")
    made.tending.close()
    with pytest.raises(AuditUnavailable):
        made.trail.record()


def test_what_was_deleted_is_looked_at_once_an_hour_and_a_store_that_is_read_only_stops_nothing(tended):
    wait_until(lambda: tended.withdrawals > 2, "three looks")
    assert tended.erasures == 1


def test_a_former_certificate_ends_when_it_was_meant_to_and_is_not_warned_of():
    now = datetime.now(UTC)
    former = held(90, until=now + timedelta(days=3))
    assert former.state(now) is Lasting.GOOD
    assert former.state(now + timedelta(days=4)) is Lasting.OVER
    assert held(90).state(now - timedelta(days=9)) is Lasting.NOT_YET
