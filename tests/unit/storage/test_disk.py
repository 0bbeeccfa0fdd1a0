"""The three ways in which a file comes to be, and what each leaves when it fails."""

import errno
import os
import stat

import pytest

from storage import disk


def failing(*_):
    raise OSError(errno.EIO, "Input/output error")


def test_an_exclusive_file_is_its_owners_alone(tmp_path):
    disk.create_exclusive(tmp_path / "file", b"data")
    assert (tmp_path / "file").read_bytes() == b"data"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_an_exclusive_file_never_replaces_another(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        disk.create_exclusive(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_idempotent_file_may_be_made_twice_but_not_otherwise(tmp_path):
    disk.create_idempotent(tmp_path / "file", b"data")
    disk.create_idempotent(tmp_path / "file", b"data")
    with pytest.raises(FileExistsError):
        disk.create_idempotent(tmp_path / "file", b"other")
    assert (tmp_path / "file").read_bytes() == b"data"
    assert os.listdir(tmp_path) == ["file"]


def test_overwriting_leaves_one_file(tmp_path):
    disk.overwrite(tmp_path / "file", b"old")
    disk.overwrite(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("verb", [disk.create_exclusive, disk.create_idempotent, disk.overwrite])
def test_a_failed_sync_leaves_nothing_new(tmp_path, monkeypatch, verb):
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        verb(tmp_path / "file", b"data")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("verb", [disk.create_exclusive, disk.create_idempotent, disk.overwrite])
def test_file_and_folder_are_synced_after_the_last_change(tmp_path, monkeypatch, verb):
    calls = []
    real = os.fsync

    def fsync(descriptor):
        calls.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    verb(tmp_path / "file", b"data")
    assert calls[0].startswith(str(tmp_path / ".file.")) and calls[-1] == str(tmp_path)


def test_a_short_write_is_carried_on(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, bytes(data[:3])))
    disk.create_exclusive(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FileExistsError):
        disk.make_folder(tmp_path / "file")
    disk.make_folder(tmp_path / "folder")
    disk.make_folder(tmp_path / "folder")
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
