"""One writer for each home."""

import multiprocessing
import os

import pytest

from archive.control.lock import HomeLock, held
from archive.errors import HomeInUse, HomeInvalid


def test_a_second_holder_is_refused_and_told_who_has_it(tmp_path):
    path = tmp_path / "lock"
    with HomeLock(path):
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(HomeInUse, match=f"process {os.getpid()}"):
            HomeLock(path).acquire()
        assert held(path)
    assert not held(path)


def test_the_lock_is_free_again_after_release_which_may_be_repeated(tmp_path):
    lock = HomeLock(tmp_path / "lock")
    lock.acquire()
    lock.release()
    lock.release()
    with HomeLock(tmp_path / "lock"):
        pass


def _hold(path, ready, leave):
    HomeLock(path).acquire()
    ready.set()
    leave.wait()
    os._exit(9)


def test_the_lock_of_a_process_that_died_is_free(tmp_path):
    path = tmp_path / "lock"
    context = multiprocessing.get_context("spawn")
    ready, leave = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(path, ready, leave))
    process.start()
    assert ready.wait(60)
    assert held(path)
    process.kill()
    process.join()
    assert not held(path)


def test_what_a_stranger_wrote_into_the_lock_file_is_not_repeated(tmp_path):
    path = tmp_path / "lock"
    with HomeLock(path):
        path.write_text("\x1b[2J; rm -rf /")
        with pytest.raises(HomeInUse, match="process unknown"):
            HomeLock(path).acquire()


def test_a_symbolic_link_is_not_followed(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(HomeInvalid):
        HomeLock(tmp_path / "lock").acquire()
    assert (tmp_path / "victim").read_text() == "precious"
