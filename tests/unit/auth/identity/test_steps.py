"""Steps are told to whoever follows a verification, in whichever thread it runs; nobody else hears of them."""

import threading

from auth.credential import Username
from auth.identity.breaker import Breaker
from auth.identity.chain import Vouched
from auth.identity.guard import Guarded
from auth.identity.steps import checked, followed
from auth.principal import Principal


def test_steps_are_heard_in_order_inside_the_block_and_nowhere_else():
    checked("before")
    with followed() as steps:
        checked("one")
        checked("two")
    checked("after")
    assert steps == ["one", "two"]


def test_two_who_follow_at_a_time_do_not_hear_each_other():
    heard, both = {}, threading.Barrier(2)

    def follow(name):
        with followed() as steps:
            both.wait(5)
            checked(name)
            both.wait(5)
            heard[name] = list(steps)

    threads = [threading.Thread(target=follow, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {"a": ["a"], "b": ["b"]}


class Steps:
    """Vouches for anybody, in two steps."""

    name = "steps"
    identity_types = frozenset({1})

    def verify(self, credential, node):
        checked("one")
        checked("two")
        return Vouched(Principal(credential.name, frozenset()))

    def still(self, principal):
        return principal


def test_steps_behind_a_guard_are_heard_although_they_are_made_in_another_thread():
    guarded = Guarded(Steps(), deadline_seconds=5, concurrent=1, breaker=Breaker())
    with followed() as steps:
        guarded.verify(Username("alice"), None)
    guarded.verify(Username("alice"), None)
    guarded.close()
    assert steps == ["one", "two"]
