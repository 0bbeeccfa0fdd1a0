"""Threads that serve one connection after another: nobody who hands in a task waits, and no task is forgotten."""

import threading
import time

import pytest

from archive.dimse.threads import Threads


def alive(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def soon(said) -> None:
    deadline = time.monotonic() + 20
    while not said():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def threads(request):
    made = Threads(request.node.name, idle_seconds=0.05)
    made.start()
    yield made
    made.close()
    soon(lambda: not alive(request.node.name))


def test_tasks_that_take_long_are_all_under_way_at_once(threads):
    together = threading.Barrier(9)
    for _ in range(8):
        threads.run(together.wait)
    together.wait(20)


def test_tasks_that_come_at_once_wait_for_no_thread_that_is_busy(request):
    threads = Threads(request.node.name, idle_seconds=60)
    threads.start()
    for _ in range(200):
        together = threading.Barrier(4)
        for _ in range(3):
            threads.run(together.wait)
        together.wait(20)
    threads.close()
    soon(lambda: not alive(request.node.name))


def test_a_task_is_handed_in_without_a_wait_even_where_no_thread_can_be_had(threads, monkeypatch):
    done = threading.Semaphore(0)

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    for _ in range(20):
        threads.run(done.release)
    for _ in range(20):
        assert done.acquire(timeout=20), "the one thread that there is does one after another"


def test_threads_with_nothing_to_do_go_but_for_one(threads, request):
    together = threading.Barrier(6)
    for _ in range(5):
        threads.run(together.wait)
    together.wait(20)
    soon(lambda: alive(request.node.name) == 1)
    time.sleep(0.2)
    assert alive(request.node.name) == 1
    again = threading.Event()
    threads.run(again.set)
    assert again.wait(20)


def test_what_was_handed_in_is_done_after_the_close_and_then_all_threads_end(threads, request):
    held, done = threading.Event(), threading.Semaphore(0)
    threads.run(held.wait)
    threads.close()
    threads.close()
    for _ in range(5):
        threads.run(done.release)
    held.set()
    for _ in range(5):
        assert done.acquire(timeout=20)
    soon(lambda: not alive(request.node.name))


def test_hundreds_of_tasks_from_many_are_each_done_once(threads):
    count, lock = [0], threading.Lock()

    def one() -> None:
        with lock:
            count[0] += 1

    def hand_in() -> None:
        for _ in range(50):
            threads.run(one)

    senders = [threading.Thread(target=hand_in) for _ in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    soon(lambda: count[0] >= 400)
    time.sleep(0.05)
    assert count[0] == 400
