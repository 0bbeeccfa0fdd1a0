"""D15: guessing passcodes is slow, takes no memory, and shuts nobody out. The clock is ours, the throttle is real."""

import random
import tracemalloc
from contextlib import suppress

import pytest

from auth.errors import TooManyAttempts
from auth.identity.throttle import Limits, Throttle

DAY = 86_400


class Attack:
    """Guesses against a throttle, on a clock of its own."""

    def __init__(self):
        self.now = 0.0
        self.throttle = Throttle(lambda: self.now)
        self.guessed = 0

    def guess(self, name, source):
        try:
            self.throttle.admit(name, source)
        except TooManyAttempts:
            return
        self.guessed += 1
        self.throttle.failed(name, source)

    def is_let_in(self, name, source):
        try:
            self.throttle.admit(name, source)
        except TooManyAttempts:
            return False
        self.throttle.succeeded(name, source)
        return True


@pytest.fixture
def attack():
    return Attack()


def test_ten_thousand_guesses_at_one_name_in_a_day_are_at_most_a_thousand_and_a_half(attack):
    for _ in range(10_000):
        attack.now += DAY / 10_000
        attack.guess("anna", "192.0.2.66")
    assert attack.guessed <= 1_450


@pytest.mark.parametrize("pause", [64, 300, 901])
def test_no_rhythm_of_bursts_gets_more_guesses_than_a_patient_attacker(attack, pause):
    while attack.now < DAY:
        for _ in range(50):
            attack.guess("anna", "192.0.2.66")
            attack.now += 0.01
        attack.now += pause
    assert attack.guessed <= 1_450


def test_guesses_begun_at_once_are_bounded_too(attack):
    name, source = "anna", "192.0.2.66"
    while attack.now < DAY:
        begun = 0
        with suppress(TooManyAttempts):
            while True:
                attack.throttle.admit(name, source)
                begun += 1
        for _ in range(begun):
            attack.throttle.failed(name, source)
        attack.guessed += begun
        attack.now += 901
    assert attack.guessed <= 32 * (DAY / 901 + 1)


def test_a_flood_of_names_from_one_source_is_held_to_its_budget(attack):
    for number in range(100_000):
        attack.guess(f"name {number}", "192.0.2.66")
        attack.now += 0.01
    # 100 at once, and one in two seconds.
    assert attack.guessed <= 100 + 1_000 / 2 + 1


def test_a_flood_of_names_does_not_make_its_own_failures_forgotten(attack):
    for _ in range(5):
        attack.guess("anna", "192.0.2.66")
    assert attack.guessed == 5
    for number in range(100_000):
        attack.guess(f"name {number}", "192.0.2.66")
    attack.guessed = 0
    attack.guess("anna", "192.0.2.66")
    assert attack.guessed == 0


def test_a_flood_of_addresses_in_one_network_of_ipv6_is_one_source(attack):
    chance = random.Random(1)
    for _ in range(10_000):
        attack.guess("anna", f"2001:db8:1:2:{chance.getrandbits(16):x}::{chance.getrandbits(16):x}")
    assert attack.guessed == 5


def test_a_flood_of_sources_for_one_name_locks_its_owner_out_nowhere(attack):
    for number in range(6_000):
        source = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        for _ in range(6):
            attack.guess("anna", source)
    assert attack.is_let_in("anna", "192.0.2.1")
    assert attack.is_let_in("anna", "2001:db8::1")


def test_an_attacker_beside_a_person_shuts_out_neither_them_nor_those_who_were_here_before(attack):
    """One address translator for a whole ward, and in it one machine that guesses all day."""
    ward = "192.0.2.1"
    assert all(attack.is_let_in(f"person {number}", ward) for number in range(200))
    for second in range(3_600):
        attack.now += 1
        for number in range(20):
            attack.guess(f"name {second * 20 + number}", ward)
        assert attack.is_let_in(f"person {second % 200}", ward)
    assert attack.guessed <= 100 + 3_600 / 2 + 1


def test_memory_is_bounded_whatever_the_names_and_the_sources(attack):
    limits = Limits()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20_000):
            attack.guess(f"{number:0250}", f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}")
            attack.throttle.succeeded(f"{number:0250}", f"regular {number}")
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert attack.throttle.kept == (limits.names, limits.sources, limits.regulars)
    assert grown < 16 * 1024 * 1024
