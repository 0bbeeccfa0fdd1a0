"""D38, D39: crowds of attackers, and an honest modality that is measured beside them. Each has a small share in every
suite, and its full size among the long tests, where the figures are printed.
"""

import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psutil
import pytest

from tests.simulators.crowd import (
    EXPLICIT,
    IMPLICIT,
    Crowd,
    a_deflate_bomb,
    a_slow_reader,
    an_endless_data_set,
    an_oversize_length,
    at_once,
    garbage_in_an_association,
    ten_thousand_sequences,
)
from tests.simulators.honest import Honest
from tests.simulators.memory_archive import encoded, image
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import CT, STUDY_FIND, identifier

ELSEWHERE = [f"127.{40 + number // 200}.{number % 200}.{1 + number % 50}" for number in range(40)]
STUDY = "1.2.77"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    archive = RunningArchive(tmp_path_factory.mktemp("crowds")).init()
    for title in ("CT1", "EVIL"):
        archive.node(title, "modality")
    archive.node("READER", "radiologist")
    archive.user = archive.person("alice", "radiologist")
    with archive.serving():
        with archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
            for number in range(4):
                made = image(77, 1, number + 1)
                made.Rows, made.Columns, made.BitsAllocated = 1024, 1024, 16
                made.add_new(0x7FE00010, "OW", bytes(2 * 1024 * 1024))
                assert modality.store(CT, made.SOPInstanceUID, encoded(made)).status == 0
        yield archive


def memory(archive):
    """Bytes resident of the process that listens."""
    return psutil.Process(archive.process.pid).memory_info().rss


def under_attack(archive, sockets, tried, half_closed, source="127.0.0.1", sources=ELSEWHERE):
    """Every attack at once, an honest modality beside them; what came of it."""
    with Honest(archive, source) as honest, Crowd(archive.port, sources) as crowd:
        honest.once()
        before = memory(archive)
        crowd.hold(sockets)
        time.sleep(1)
        held, each = crowd.open, (memory(archive) - before) / max(1, crowd.open)
        with honest.working(), ThreadPoolExecutor(3) as pool:
            running = [
                pool.submit(crowd.half_close, half_closed),
                pool.submit(crowd.talk_nonsense, sockets // 5),
                pool.submit(crowd.keep_trying, tried),
            ]
            outcomes = at_once(
                partial(an_oversize_length, archive, sources[0]),
                partial(an_endless_data_set, archive, sources[1 % len(sources)]),
                partial(a_deflate_bomb, archive, sources[2 % len(sources)]),
                partial(ten_thousand_sequences, archive, sources[3 % len(sources)]),
                partial(garbage_in_an_association, archive, sources[4 % len(sources)]),
                partial(a_slow_reader, archive, sources[5 % len(sources)], archive.user, STUDY),
            )
            for each_running in running:
                each_running.result()
        tried_in_all = crowd.tried
    figures = {
        "open": held,
        "tried": tried_in_all,
        "KiB for each open socket": round(each / 1024, 1),
        "honest associations": len(honest.times),
        "refused": honest.failures,
        "set-up ms p50/p99/max": "/".join(f"{1000 * honest.percentile(share):.0f}" for share in (0.5, 0.99, 1)),
        "outcomes": outcomes,
    }
    print(figures)
    return honest, held, each, outcomes


def quiet_again(archive):
    """Nothing is left of it: no connection, no thread of one, no descriptor.

    Lanes to the processes that take objects in, which are sockets of this machine, are kept for the next objects.
    """
    deadline = time.monotonic() + 90
    process = psutil.Process(archive.process.pid)
    while sum(archive.counted()[f'strongroom_connections{{stage="{stage}"}}'] for stage in STAGES):
        assert time.monotonic() < deadline, "connections are left"
        time.sleep(0.5)
    archive.let_threads_go()
    return process.num_threads(), process.num_fds() - len(process.net_connections("unix"))


STAGES = ("half-open", "associating", "established")
REFUSED = {"A700"}


def judge(outcomes):
    oversize, endless, bomb, nested, garbage, slow = outcomes
    assert oversize.startswith("PDU type 7") or "closed" in oversize
    assert garbage.startswith("PDU type 7") or "closed" in garbage
    assert (endless, slow) == ("closed", "closed")
    assert {bomb, nested} <= REFUSED


def test_an_honest_modality_is_served_beside_every_attack_at_once(archive):
    threads, files = quiet_again(archive)
    honest, held, each, outcomes = under_attack(archive, 60, 150, 20)
    assert not honest.failures
    assert held >= 50
    assert each <= 256 * 1024
    judge(outcomes)
    after = quiet_again(archive)
    assert after[0] <= threads + 2 and after[1] <= files + 4, "no thread and no descriptor is left"


def test_attackers_on_the_honest_modalitys_own_address_do_not_keep_it_out(archive):
    with Honest(archive) as honest, Crowd(archive.port, [honest.source]) as crowd:
        crowd.hold(60)
        honest.once()
    assert honest.times and not honest.failures


def open_and_query(archive, count, objects):
    """So many associations at once, half of them storing and half querying; what failed."""
    failed = []

    def store(number):
        with archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
            for instance in range(objects):
                made = image(1_000 + number, 1, instance + 1, StudyDate="20260101")
                if modality.store(CT, made.SOPInstanceUID, encoded(made)).status:
                    failed.append("store")

    def query(number):
        with archive.requestor("READER", contexts=[(STUDY_FIND, [IMPLICIT])], user=archive.user) as reader:
            for _ in range(objects):
                found, final = reader.find(STUDY_FIND, identifier("STUDY", {0x00100020: "P77", 0x0020000D: ""}))
                if final.status or len(found) != 1:
                    failed.append(f"query {final.status:04X}")

    with ThreadPoolExecutor(count) as pool:
        running = [pool.submit(store if number % 2 else query, number) for number in range(count)]
        for each in running:
            try:
                each.result()
            except Exception as error:
                failed.append(repr(error))
    return failed


def test_associations_that_store_and_query_at_once_all_succeed(archive):
    assert not open_and_query(archive, 24, 2)


def come_and_go(archive, associations, connects):
    """Associations and bare connects one after another; memory, threads and descriptors before and after."""

    def associate(_):
        with archive.requestor("CT1") as modality:
            assert modality.echo() == 0

    def knock(_):
        with socket.create_connection(("127.0.0.1", archive.port), 20, ("127.0.0.9", 0)) as peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def take(work, count):
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(work, range(count)):
                pass

    # What a first tenth leaves in caches and in the allocator is not growth.
    take(associate, associations // 10)
    take(knock, connects // 10)
    before = (*quiet_again(archive), memory(archive))
    take(associate, associations)
    take(knock, connects)
    after = (*quiet_again(archive), memory(archive))
    print(f"{associations} associations, {connects} connects: threads, files, bytes {before} -> {after}")
    return before, after


def test_associations_and_bare_connects_leave_nothing(archive):
    before, after = come_and_go(archive, 100, 200)
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1] + 4


# -- the full size ------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(900)
def test_five_hundred_open_and_two_thousand_tried_sockets_of_elsewhere(archive):
    honest, held, each, outcomes = under_attack(archive, 500, 2_000, 123)
    assert not honest.failures
    assert held == 500
    assert each <= 256 * 1024
    judge(outcomes)
    assert honest.percentile(0.99) < 1


@pytest.mark.long
@pytest.mark.timeout(900)
def test_five_hundred_sockets_of_the_honest_modalitys_own_address(archive):
    with Honest(archive) as honest, Crowd(archive.port, [honest.source]) as crowd:
        crowd.hold(500)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(crowd.keep_trying, 2_000)
            while not running.done() or not honest.times:
                honest.once()
        print(f"{crowd.tried} tried; set-up ms: {[round(1000 * each) for each in honest.times]}; {honest.failures}")
    assert not honest.failures
    assert max(honest.times) < 5


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_hundred_associations_that_store_and_query_at_once(archive):
    begun = time.monotonic()
    failed = open_and_query(archive, 200, 5)
    print(f"200 associations, {len(failed)} failed, {time.monotonic() - begun:.0f} s")
    assert not failed


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_ten_thousand_associations_and_twenty_thousand_connects_leave_nothing(archive):
    before, after = come_and_go(archive, 10_000, 20_000)
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1] + 4
    assert after[2] - before[2] < 16 * 1024 * 1024
