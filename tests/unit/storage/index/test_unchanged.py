"""What was read of the index is read again once something was written, and not before."""

import pytest

from storage.errors import IndexFault
from storage.index.engine import IndexEngine
from storage.index.unchanged import MOST, Unchanged


class Counted:
    """A reading that says how often it was done."""

    def __init__(self):
        self.times = 0

    def __call__(self, connection):
        self.times += 1
        return self.times


@pytest.fixture
def engine(tmp_path):
    opened = IndexEngine.open(tmp_path / "index.sqlite")
    yield opened
    opened.close()


def test_what_nobody_wrote_to_is_read_once(engine):
    unchanged, reading = Unchanged(engine), Counted()
    assert [unchanged.read(("a",), reading) for _ in range(3)] == [1, 1, 1]


def test_each_question_has_its_own_answer(engine):
    unchanged, reading = Unchanged(engine), Counted()
    assert [unchanged.read(what, reading) for what in (("a",), ("b",), ("a",))] == [1, 2, 1]


def test_after_a_transaction_everything_is_read_again(engine):
    unchanged, reading = Unchanged(engine), Counted()
    unchanged.read(("a",), reading)
    with engine.writing():
        pass
    assert unchanged.read(("a",), reading) == 2


def test_after_one_that_failed_too(engine):
    unchanged, reading = Unchanged(engine), Counted()
    unchanged.read(("a",), reading)
    with pytest.raises(RuntimeError), engine.writing():
        raise RuntimeError
    assert unchanged.read(("a",), reading) == 2


def test_what_was_written_while_it_was_read_is_read_again(engine):
    unchanged = Unchanged(engine)

    def overtaken(connection):
        with engine.writing():
            pass
        return "old"

    assert unchanged.read(("a",), overtaken) == "old"
    assert unchanged.read(("a",), lambda connection: "new") == "new"


def test_a_reading_that_fails_is_no_answer(engine):
    unchanged, reading = Unchanged(engine), Counted()
    with pytest.raises(IndexFault):
        unchanged.read(("a",), lambda connection: connection.exec_driver_sql("SELECT nothing"))
    assert unchanged.read(("a",), reading) == 1


def test_beside_somebody_who_may_write_everything_is_read_each_time(engine, tmp_path):
    beside, reading = IndexEngine.open_read_only(tmp_path / "index.sqlite"), Counted()
    unchanged = Unchanged(beside)
    assert [unchanged.read(("a",), reading) for _ in range(3)] == [1, 2, 3]
    beside.close()


def test_so_many_answers_are_remembered_and_no_more(engine):
    unchanged, reading = Unchanged(engine), Counted()
    for number in range(MOST + 1):
        unchanged.read((str(number),), reading)
    assert unchanged.read(("0",), reading) == 1
    assert unchanged.read((str(MOST),), reading) == MOST + 2
