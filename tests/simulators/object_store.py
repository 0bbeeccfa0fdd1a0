"""A whole object store in one folder, without a server: real disk, keys, ledger and index, and a journal in memory."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psycopg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from storage.blobs.filesystem import FilesystemBlobs
from storage.crypto.keyring import Keyring
from storage.identifiers import uid
from storage.index.engine import IndexEngine
from storage.index.facts import FactsSeal
from storage.index.postgresql import open_postgresql
from storage.ingest.intake import IntakesHere, IntakeTools
from storage.instance import DeclaredInstance, GivenLabels, SealedInstance, StoreReceipt
from storage.integrity.signature import Signer
from storage.ports import BlobStore, CommitJournal, LedgerEntry
from storage.repository import Parts, Repository
from storage.transfer_syntax import EXPLICIT_LITTLE
from tests.simulators.certificates import make
from tests.simulators.index_dump import Dump, index_dump, postgresql_dump

CT = "1.2.840.10008.5.1.4.1.1.2"
PROVENANCE = {"actor": {"node": "CT1"}, "study": {"patient_name": "Müller^Änne"}}
NO_LABELS = GivenLabels()


@cache
def _signer() -> tuple[Signer, bytes]:
    """One key for a test process: making it is slow."""
    made = make("Test archive", key=rsa.generate_private_key(public_exponent=65537, key_size=3072))
    assert isinstance(made.key, rsa.RSAPrivateKey)
    certificate = made.certificate.public_bytes(serialization.Encoding.DER)
    return Signer(made.key, certificate), certificate


def signer() -> Signer:
    """The archive's signer."""
    return _signer()[0]


def signer_certificate() -> bytes:
    """Its certificate, DER."""
    return _signer()[1]


def element(tag: int, vr: str, value: bytes) -> bytes:
    """One element, explicit VR little endian, padded to even length."""
    value += (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(value) & 1)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in ("OB", "OW", "UN", "SQ", "UT"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def data_set(
    instance: str = "1.2.3.1.1",
    *,
    study: str = "1.2.3",
    series: str = "1.2.3.1",
    patient: str = "P1",
    pixels: bytes = b"\x01\x02" * 64,
) -> bytes:
    """A small CT image, explicit VR little endian."""
    return b"".join(
        [
            element(0x00080016, "UI", CT.encode()),
            element(0x00080018, "UI", instance.encode()),
            element(0x00080020, "DA", b"20260102"),
            element(0x00080060, "CS", b"CT"),
            element(0x00100010, "PN", b"Doe^Jane"),
            element(0x00100020, "LO", patient.encode()),
            element(0x0020000D, "UI", study.encode()),
            element(0x0020000E, "UI", series.encode()),
            element(0x00280010, "US", struct.pack("<H", 8)),
            element(0x7FE00010, "OW", pixels),
        ]
    )


def declared(instance: str = "1.2.3.1.1", syntax: str = EXPLICIT_LITTLE) -> DeclaredInstance:
    """What the command says of `data_set`."""
    return DeclaredInstance(uid(CT), uid(instance), syntax)


@dataclass
class MemoryJournal:
    """An audit trail that forgets nothing until the test ends, and fails on order."""

    told: list[LedgerEntry] = field(default_factory=list)
    recovered_later: list[LedgerEntry] = field(default_factory=list)
    broken: bool = False
    reached: int = 0
    """A ledger sequence that it had been told of before."""

    def committed(self, entries: Sequence[LedgerEntry]) -> None:
        if self.broken:
            raise OSError(5, "Input/output error")
        self.told += entries

    def position(self) -> int:
        return max((entry.sequence for entry in [*self.told, *self.recovered_later]), default=self.reached)

    def recovered(self, entries: Sequence[LedgerEntry]) -> None:
        self.recovered_later += entries


class ObjectStore:
    """One folder and, once `start`ed, its repository. ``reserve`` is in bytes; ``database`` the URL of an index in
    PostgreSQL, which is a file of the folder otherwise."""

    def __init__(self, folder: Path, *, reserve: int = 0, database: str | None = None) -> None:
        self.folder = folder
        self.database = database
        folder.mkdir(exist_ok=True)
        self.keyring_path = folder / "keyring.json"
        self.keyring = Keyring.create(self.keyring_path)
        self.journal = MemoryJournal()
        self.reserve = reserve
        self.index = folder / "index.sqlite"
        self.ledger = folder / "ledger"
        self.blobs: FilesystemBlobs | None = None
        self._open: list[Repository | IndexEngine] = []

    def start(
        self,
        *,
        blobs: Callable[[BlobStore], BlobStore] = lambda real: real,
        journal: CommitJournal | None = None,
    ) -> Repository:
        """A repository as the composition root makes one; ``blobs`` may put something in front of the real store."""
        seal = FactsSeal(self.keyring.ledger_key)
        if self.database is None:
            engine = IndexEngine.open(self.index, seal=seal)
        else:
            engine = open_postgresql(self.database, seal=seal)
        self._open.append(engine)
        self.blobs = FilesystemBlobs(self.folder / "blobs", reserve_bytes=self.reserve)
        kept = blobs(self.blobs)
        intakes = IntakesHere(IntakeTools(kept, self.keyring, signer()))
        parts = Parts(kept, self.ledger, self.keyring, intakes, signer(), engine, journal or self.journal)
        repository = Repository.start(parts, clock=lambda: datetime.now(UTC))
        self._open.append(repository)
        return repository

    def dump(self) -> Dump:
        """The whole content of its index."""
        return index_dump(self.index) if self.database is None else postgresql_dump(self.database)

    def lose_index(self) -> None:
        """Have no index any more, while nothing is started."""
        if self.database is not None:
            with psycopg.connect(self.database) as connection:
                connection.execute("DROP SCHEMA public CASCADE")
                connection.execute("CREATE SCHEMA public")
        for path in self.folder.glob(f"{self.index.name}*"):
            path.unlink()

    def stop(self) -> None:
        """Close whatever was started, in the order of the composition root."""
        while self._open:
            self._open.pop().close()

    def published(self) -> list[Path]:
        """Files of published objects."""
        return sorted(path for path in (self.folder / "blobs" / "objects").rglob("*") if path.is_file())

    def staged(self) -> list[Path]:
        """Files under their staging names."""
        return sorted((self.folder / "blobs" / "staging").iterdir())


def sealed(repository: Repository, data: bytes, announced: DeclaredInstance) -> SealedInstance:
    """Everything before the commit."""
    intake = repository.begin(announced)
    intake.write(data)
    return repository.seal(intake.finish(), PROVENANCE)


def store(
    repository: Repository,
    data: bytes | None = None,
    instance: str = "1.2.3.1.1",
    labels: GivenLabels = NO_LABELS,
) -> StoreReceipt:
    """Store one object to the end."""
    made = data_set(instance) if data is None else data
    return repository.commit(sealed(repository, made, declared(instance)), PROVENANCE, labels)
