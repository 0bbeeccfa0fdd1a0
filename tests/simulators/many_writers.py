"""A process in which 64 writers store into one study, round after round, until it is done or killed.

    python -m tests.simulators.many_writers FOLDER ROUNDS

In each round every writer stores one object; every fourth stores what its neighbour stores, at the same moment. Rounds
that were acknowledged are appended to FOLDER/acknowledged. A start goes on where the last one was killed, and makes
FOLDER/ready when it does.
"""

import sys
import threading
from pathlib import Path

from storage.crypto.keyring import Keyring
from storage.index import state
from storage.index.engine import IndexEngine
from tests.simulators.object_store import MemoryJournal, ObjectStore, data_set, store

WRITERS = 64
STUDY = "1.2.3"


class Resumed(ObjectStore):
    """A store that is opened again, by another process, with a journal that has what the index has."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "keyring.json").exists():
            super().__init__(folder)
            return
        self.folder, self.reserve, self.database, self._open = folder, 0, None, []
        self.keyring_path = folder / "keyring.json"
        self.keyring = Keyring.load(self.keyring_path)
        self.index, self.ledger = folder / "index.sqlite", folder / "ledger"
        self.journal = MemoryJournal()
        if self.index.exists():
            engine = IndexEngine.open(self.index)
            with engine.reading() as connection:
                self.journal.reached = state.position(connection)
            engine.close()


def whose(writer: int) -> int:
    """The writer whose object it stores: every fourth its neighbour's, the others their own."""
    return writer - (writer % 4 == 3)


def instance_of(number: int, writer: int) -> str:
    """The UID that a writer stores in a round."""
    return f"1.2.3.{number}.{whose(writer)}"


def main(folder: Path, rounds: int) -> None:
    """Store until so many rounds are done."""
    world = Resumed(folder)
    repository = world.start()
    acknowledged = folder / "acknowledged"
    done = len(acknowledged.read_text().splitlines()) if acknowledged.exists() else 0
    barrier = threading.Barrier(WRITERS + 1)
    now = [0]

    def write(writer: int) -> None:
        while True:
            barrier.wait()
            if now[0] < 0:
                return
            uid = instance_of(now[0], writer)
            made = data_set(uid, study=STUDY, series=f"1.2.3.{whose(writer) % 8}")
            try:
                store(repository, made, uid)
            except BaseException:
                barrier.abort()
                raise
            barrier.wait()

    threads = [threading.Thread(target=write, args=(writer,), daemon=True) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    (folder / "ready").touch()
    with acknowledged.open("a") as told:
        for now[0] in range(done, rounds):
            barrier.wait()
            barrier.wait()
            told.write(f"{now[0]}\n")
            told.flush()
    now[0] = -1
    barrier.wait()
    for thread in threads:
        thread.join()
    world.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
