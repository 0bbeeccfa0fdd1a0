"""One writer, many readers, and nothing left behind."""

import sqlite3
import threading
from contextlib import closing

import pytest
from sqlalchemy import text

from storage.errors import IndexFault
from storage.index.engine import IndexEngine
from storage.index.schema import STATE
from storage.index.state import advance, begin_rebuild, end_rebuild, position, rebuilding


@pytest.fixture
def path(tmp_path):
    return tmp_path / "in dex#1?.sqlite"


@pytest.fixture
def engine(path):
    engine = IndexEngine.open(path)
    yield engine
    engine.close()


def test_closing_leaves_one_file_readable_by_its_owner_alone(path):
    engine = IndexEngine.open(path)
    with engine.writing() as connection:
        advance(connection, 7)
    with engine.reading() as connection:
        assert position(connection) == 7
    assert {found.stat().st_mode & 0o777 for found in path.parent.iterdir()} == {0o600}
    engine.close()
    engine.close()
    assert list(path.parent.iterdir()) == [path]


def test_a_writing_block_that_raises_changes_nothing(engine):
    with pytest.raises(ZeroDivisionError), engine.writing() as connection:
        advance(connection, 7)
        raise ZeroDivisionError
    with engine.reading() as connection:
        assert position(connection) == 0


def test_what_one_thread_wrote_another_reads_at_once(engine):
    with engine.writing() as connection:
        advance(connection, 7)
    seen = []

    def read():
        with engine.reading() as connection:
            seen.append(position(connection))

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert seen == [7]


def test_an_unfinished_transaction_is_not_seen(engine):
    with engine.writing() as connection:
        advance(connection, 7)
        with engine.reading() as reader:
            assert position(reader) == 0


def test_transactions_follow_one_another(engine):
    def write():
        for _ in range(20):
            with engine.writing() as connection:
                advance(connection, position(connection) + 1)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.reading() as connection:
        assert position(connection) == 80


def test_a_transaction_inside_another_is_refused_and_not_a_deadlock(engine):
    with engine.writing(), pytest.raises(IndexFault), engine.writing():
        pytest.fail("entered")


def test_a_reading_connection_cannot_write(engine):
    with pytest.raises(IndexFault), engine.reading() as connection:
        connection.execute(STATE.insert().values(key="x", value="y"))


def test_it_is_durable_at_every_commit(engine):
    with engine.writing() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_a_read_only_opener_works_beside_a_live_writer_and_follows_it(path, engine):
    beside = IndexEngine.open_read_only(path)
    for sequence in (1, 2):
        with engine.writing() as connection:
            advance(connection, sequence)
        with beside.reading() as connection:
            assert position(connection) == sequence
    with pytest.raises(IndexFault), beside.writing():
        pytest.fail("entered")
    engine.close()
    with beside.reading() as connection:
        assert position(connection) == 2
    beside.close()
    assert list(path.parent.iterdir()) == [path]


def test_a_read_only_opener_of_a_closed_database_leaves_nothing(path):
    IndexEngine.open(path).close()
    before = path.read_bytes()
    beside = IndexEngine.open_read_only(path)
    with beside.reading() as connection:
        assert position(connection) == 0
    beside.close()
    assert list(path.parent.iterdir()) == [path]
    assert path.read_bytes() == before


def test_a_writer_that_died_leaves_its_commits_to_reader_and_successor(path, tmp_path):
    engine = IndexEngine.open(path)
    with engine.writing() as connection:
        advance(connection, 7)
    copies = tmp_path / "crashed"
    copies.mkdir()
    for found in (path, path.with_name(path.name + "-wal")):
        (copies / found.name).write_bytes(found.read_bytes())
    engine.close()
    beside = IndexEngine.open_read_only(copies / path.name)
    with beside.reading() as connection:
        assert position(connection) == 7
    beside.close()
    successor = IndexEngine.open(copies / path.name)
    with successor.reading() as connection:
        assert position(connection) == 7
    successor.close()
    assert [found.name for found in copies.iterdir()] == [path.name]


def test_what_is_no_database_is_refused(path):
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(IndexFault):
        IndexEngine.open(path)
    with pytest.raises(IndexFault):
        IndexEngine.open_read_only(path)


def test_a_missing_database_is_made_by_the_writer_only(path):
    with pytest.raises(IndexFault):
        IndexEngine.open_read_only(path)
    assert not path.exists()


def test_a_database_of_another_version_is_refused(path):
    IndexEngine.open(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE index_state SET value = '999' WHERE key = 'schema'")
        connection.commit()
    with pytest.raises(IndexFault, match="999"):
        IndexEngine.open(path)


def test_after_closing_nothing_is_written(path):
    engine = IndexEngine.open(path)
    engine.close()
    with pytest.raises(IndexFault), engine.writing():
        pytest.fail("entered")


def test_a_failure_names_no_value(engine):
    with pytest.raises(IndexFault) as failed, engine.writing() as connection:
        connection.execute(STATE.insert().values(key="schema", value="DOE^JOHN"))
    assert "DOE" not in str(failed.value)


def test_the_position_never_goes_back_but_by_a_rebuild(engine):
    with engine.writing() as connection:
        advance(connection, 7)
        advance(connection, 5)
        assert position(connection) == 7
        assert not rebuilding(connection)
        begin_rebuild(connection)
        assert (position(connection), rebuilding(connection)) == (0, True)
        end_rebuild(connection)
        assert not rebuilding(connection)
