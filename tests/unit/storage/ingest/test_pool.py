"""What can happen to the processes that take objects in, and what an archive makes of it."""

import signal
import threading
import time

import psutil
import pytest

from storage.errors import IngestFailed
from storage.ingest import lane as lanes
from storage.ingest.messages import LANE_BYTES
from tests.simulators.intakes import InProcesses
from tests.simulators.object_store import PROVENANCE, data_set, declared


@pytest.fixture
def world(tmp_path):
    made = InProcesses(tmp_path)
    yield made
    made.close()


def taken_in(world):
    intake = world.intakes.begin(declared(), world.health)
    intake.write(data_set())
    sealed = intake.seal(intake.finish(), PROVENANCE)
    intake.discard()
    return sealed


def gone(processes):
    _, alive = psutil.wait_procs(processes, timeout=20)
    return not alive


def test_no_process_is_made_before_there_is_an_object(world):
    assert world.workers() == []


def test_processes_that_were_made_ready_are_those_that_take_objects_in(world):
    world.intakes.warm()
    ready = {worker.pid for worker in world.workers()}
    assert len(ready) == 2
    intakes = [world.intakes.begin(declared(), world.health) for _ in range(2)]
    for intake in intakes:
        intake.discard()
    assert {worker.pid for worker in world.workers()} == ready


def test_making_ready_what_is_closed_or_cannot_be_made_is_no_failure(world):
    world.nursery.close()
    world.intakes.warm()
    world.intakes.close()
    world.intakes.warm()


def test_objects_one_after_another_need_one_process_and_one_lane(world):
    for _ in range(3):
        taken_in(world)
    (worker,) = world.workers()
    assert worker.num_threads() == 2


def test_objects_at_the_same_time_are_spread_over_the_processes(world):
    intakes = [world.intakes.begin(declared(), world.health) for _ in range(4)]
    for intake in intakes:
        intake.write(data_set(pixels=b"\0" * LANE_BYTES))
    assert sorted(worker.num_threads() for worker in world.workers()) == [3, 3]
    for intake in intakes:
        intake.discard()


@pytest.mark.parametrize("at", ["writing", "received"])
def test_a_killed_process_fails_its_object_and_leaves_nothing_and_the_next_one_is_taken(world, at):
    intake = world.intakes.begin(declared(), world.health)
    intake.write(data_set(pixels=b"\0" * LANE_BYTES)[:LANE_BYTES])
    if at == "received":
        intake.discard()
        intake = world.intakes.begin(declared(), world.health)
        intake.write(data_set())
        received = intake.finish()
    (worker,) = world.workers()
    worker.kill()
    assert gone([worker])
    with pytest.raises(IngestFailed):
        if at == "received":
            intake.seal(received, PROVENANCE)
        intake.write(b"\0" * 2 * LANE_BYTES)
    assert world.staged() == []
    assert world.health.reason is None
    taken_in(world)


def test_a_process_that_dies_while_it_is_idle_is_replaced_before_anybody_notices(world):
    taken_in(world)
    (worker,) = world.workers()
    worker.kill()
    assert gone([worker])
    taken_in(world)


def test_a_process_that_falls_silent_is_given_up(world, monkeypatch):
    monkeypatch.setattr(lanes, "ANSWER_SECONDS", 0.3)
    intake = world.intakes.begin(declared(), world.health)
    intake.write(data_set(pixels=b"\0" * LANE_BYTES)[:LANE_BYTES])
    (worker,) = world.workers()
    worker.send_signal(signal.SIGSTOP)
    with pytest.raises(IngestFailed):
        intake.write(b"\0" * 8 * LANE_BYTES)
    assert world.staged() == []
    worker.kill()


def test_the_processes_end_with_the_pool(tmp_path):
    world = InProcesses(tmp_path)
    taken_in(world)
    processes = [psutil.Process(world.nursery.process), *world.workers()]
    world.close()
    world.close()
    assert gone(processes)


def test_an_object_that_is_on_its_way_when_the_pool_closes_is_let_go_and_leaves_nothing(tmp_path):
    world = InProcesses(tmp_path)
    intake = world.intakes.begin(declared(), world.health)
    intake.write(data_set(pixels=b"\0" * LANE_BYTES)[:LANE_BYTES])
    world.close()
    intake.discard()
    assert world.staged() == []


def test_nobody_waits_for_a_process_that_comes_up_slowly_where_there_is_another(world, monkeypatch):
    taken_in(world)
    begun = world.intakes.begin(declared(), world.health)
    comes_up, may_go_on = threading.Event(), threading.Event()
    ready = world.intakes._ready

    def slowly(control):
        comes_up.set()
        assert may_go_on.wait(20)
        return ready(control)

    monkeypatch.setattr(world.intakes, "_ready", slowly)
    waiting = []
    second = threading.Thread(target=lambda: waiting.append(world.intakes.begin(declared(), world.health)))
    second.start()
    assert comes_up.wait(20)
    beside = world.intakes.begin(declared(), world.health)
    assert waiting == []
    may_go_on.set()
    second.join(20)
    assert len(world.workers()) == 2
    for intake in (begun, beside, *waiting):
        intake.discard()


def test_a_closed_pool_takes_nothing(tmp_path):
    world = InProcesses(tmp_path)
    world.close()
    with pytest.raises(IngestFailed):
        world.intakes.begin(declared(), world.health)


def test_a_renewed_pool_takes_the_next_object_in_by_a_process_that_read_its_keys_anew(world):
    taken_in(world)
    before = world.workers()
    world.intakes.renew()
    taken_in(world)
    assert gone(before)
    assert len(world.workers()) == 1


def test_an_object_that_is_on_its_way_is_finished_by_the_process_that_began_it(world):
    intake = world.intakes.begin(declared(), world.health)
    intake.write(data_set())
    received = intake.finish()
    before = world.workers()
    world.intakes.renew()
    taken_in(world)
    assert all(worker.is_running() for worker in before)
    intake.seal(received, PROVENANCE)
    intake.discard()
    assert gone(before)


def test_a_process_is_not_told_to_keep_more_memory_than_its_lanes(world):
    taken_in(world)
    (worker,) = world.workers()
    before = worker.memory_info().rss
    for _ in range(5):
        intake = world.intakes.begin(declared(), world.health)
        intake.write(data_set(pixels=bytes(40 * LANE_BYTES)))
        intake.seal(intake.finish(), PROVENANCE)
        intake.discard()
        time.sleep(0)
    assert worker.memory_info().rss - before < 8 * 1024 * 1024
