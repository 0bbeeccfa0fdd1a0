"""D06: a search that finds nothing ends on a tick; one that finds anything does not wait."""

import pytest

from archive.services import even_time
from archive.services.even_time import TICK_SECONDS, EvenTime, evenly


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves by what is slept, and by what a test says."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            assert 0 < seconds <= TICK_SECONDS
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(even_time, "time", clock)
    return clock


@pytest.mark.parametrize(("ticks", "whole"), [(0, 1), (0.02, 1), (0.98, 1), (1.02, 2), (17.3, 18)])
def test_what_finds_nothing_ends_on_a_tick(clock, ticks, whole):
    search = EvenTime()
    clock.now += ticks * TICK_SECONDS
    search.found_nothing()
    assert clock.now - 100 == pytest.approx(whole * TICK_SECONDS)


@pytest.mark.parametrize("pages", [[], [[]], [[], []]])
def test_pages_that_hold_nothing_end_on_a_tick(clock, pages):
    def read():
        clock.now += 0.3 * TICK_SECONDS
        yield from pages

    assert list(evenly(read())) == pages
    assert clock.now - 100 == pytest.approx(TICK_SECONDS)


def test_pages_that_hold_anything_are_handed_on_at_once(clock):
    pages = [[1, 2], [], [3]]
    assert list(evenly(pages)) == pages
    assert clock.now == 100
