"""Storage commitment from an archive in memory: what the result of a request says on the wire."""

from collections.abc import Sequence
from datetime import UTC, datetime

from archive.dimse.commitment_messages import encode_result
from archive.dimse.sop_classes import STORAGE, STORAGE_COMMITMENT
from archive.dimse.status import ANSWERED, Service, refusal
from archive.records.commitments import CommitmentRecords
from archive.services.commitment import CommitmentService, Reference
from archive.session import AssociationSession
from storage.instance import StoredInstance
from storage.transfer_syntax import EXPLICIT_LITTLE
from tests.simulators.memory_archive import MemoryOutgoing, World
from tests.simulators.records import MemoryDatabase

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


class _AsKept:
    """The world's objects, each in the syntax that it is kept in."""

    def __init__(self, world: World) -> None:
        self._world = world

    def open(self, instance: StoredInstance) -> MemoryOutgoing:
        return self._world.repository.open(instance, instance.transfer_syntax)


def commitment_told(world: World, session: AssociationSession, references: Sequence[Reference]) -> list[object]:
    """The answer to one request for commitment, and its result as it is told later."""
    queue = CommitmentRecords(MemoryDatabase())
    service = CommitmentService(
        world.reader, _AsKept(world), world.pep, world.trail, queue, supported=STORAGE, clock=lambda: _NOW
    )
    try:
        service.ask(session, STORAGE_COMMITMENT, "1.9", references)
    except ANSWERED as error:
        return [refusal(error, Service.ACTION)]
    (pending,) = queue.due(_NOW, 10)
    return [encode_result("1.9", service.settle(pending), "STRONGROOM", EXPLICIT_LITTLE)]
