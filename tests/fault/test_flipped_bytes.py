"""One flipped byte in a blob, an indexed column, the ledger or the trail is found by `verify --full`."""

import sqlite3

import pytest

from archive.home import Home
from archive.keys import load_keyring
from archive.settings import load_settings
from archive.signing_keys import fingerprints, own_signers
from storage.integrity import fsck
from tests.simulators.dicom_files import packaged, read, valid
from tests.simulators.running_archive import RunningArchive
from tests.simulators.scu import CT, EXPLICIT


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """An archive that holds one object, stopped."""
    archive = RunningArchive(tmp_path_factory.mktemp("archive")).init()
    archive.node("CT1", "modality")
    (path,) = [path for path in packaged() if path.name == "CT_small.dcm"]
    file = valid(read(path))
    with archive.serving(), archive.requestor("CT1", contexts=[(CT, [EXPLICIT])]) as modality:
        assert modality.store(CT, file.instance, file.data).status == 0
    assert archive.strongroom("verify", "--full").returncode == 0
    return archive


def files_of(path):
    return [path] if path.is_file() else sorted(found for found in path.rglob("*") if found.is_file())


@pytest.mark.parametrize("what", ["blobs", "ledger", "trail"])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.999])
def test_a_flipped_byte_is_found(stopped, what, where):
    found = max(files_of(stopped.paths()[what]), key=lambda path: path.stat().st_size)
    good = found.read_bytes()
    offset = int(len(good) * where)
    found.write_bytes(good[:offset] + bytes([good[offset] ^ 1]) + good[offset + 1 :])
    try:
        done = stopped.strongroom("verify", "--full")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
    finally:
        found.write_bytes(good)


def columns(index):
    with sqlite3.connect(index) as connection:
        for (table,) in connection.execute("select name from sqlite_master where type = 'table'").fetchall():
            if table in {"study", "series", "instance"}:
                for _, column, kind, *_, key in connection.execute(f"pragma table_info({table})").fetchall():
                    if not key:
                        yield table, column, kind
    connection.close()


def test_a_changed_value_in_any_column_of_the_index_is_found(stopped):
    index = stopped.paths()["index"]
    # What `verify --full` asks of it, a hundred times without a process for each.
    place = Home.at(stopped.home)
    settings = load_settings(place.settings)
    keyring, signers = load_keyring(place, settings), fingerprints(own_signers(place, settings))
    good = index.read_bytes()
    missed = []
    for table, column, _ in columns(index):
        connection = sqlite3.connect(index)
        (value,) = connection.execute(f"select {column} from {table} limit 1").fetchone()
        if value is None:
            changed = "X"
        elif isinstance(value, int):
            changed = value + 1
        elif isinstance(value, bytes):
            changed = bytes([value[0] ^ 1]) + value[1:] if value else b"X"
        else:
            changed = value[:-1] + chr(ord(value[-1]) ^ 1) if value else "X"
        try:
            connection.execute("pragma foreign_keys = off")
            connection.execute(f"update {table} set {column} = ?", (changed,))
            connection.commit()
        except sqlite3.IntegrityError:
            continue
        finally:
            connection.close()
        if not fsck.check(place, keyring, signers, full=True, being_written=False).faults:
            missed.append(f"{table}.{column}")
        index.write_bytes(good)
    assert missed == []
