"""Both ways of taking objects in, over a real folder: in place, and in processes of their own."""

import warnings
from pathlib import Path

import psutil

from storage.blobs.filesystem import FilesystemBlobs
from storage.crypto.keyring import Keyring
from storage.health import Health
from storage.ingest.intake import IntakesHere, IntakeTools
from storage.ingest.nursery import Nursery
from storage.ingest.pool import IntakePool
from storage.ports import Intakes
from tests.simulators.object_store import signer


class IntakeWorld:
    """One folder of objects and the intakes that stage into it."""

    def __init__(self, folder: Path, *, reserve: int = 0) -> None:
        self.folder = folder / "blobs"
        self.keyring = Keyring.create(folder / "keyring.json")
        self.blobs = FilesystemBlobs(self.folder, reserve_bytes=reserve)
        self.health = Health()
        self.intakes = self.make()

    def tools(self) -> IntakeTools:
        return IntakeTools(self.blobs, self.keyring, signer())

    def make(self) -> Intakes:
        raise NotImplementedError

    def staged(self) -> list[str]:
        return [path.name for path in (self.folder / "staging").iterdir()]

    def close(self) -> None:
        self.intakes.close()


class InPlace(IntakeWorld):
    """By the thread that asks."""

    def make(self) -> IntakesHere:
        return IntakesHere(self.tools())


class InProcesses(IntakeWorld):
    """By two workers."""

    def make(self) -> IntakePool:
        signer()
        with warnings.catch_warnings():
            # Unlike the archive when it forks, a test process has threads; they hold nothing that a worker needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.nursery = Nursery(self.tools)
        return IntakePool(self.nursery, self.blobs, processes=2)

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.nursery.process).children()
