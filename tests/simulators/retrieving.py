"""Retrievals from an archive in memory: C-GET on the wire, and what a C-MOVE would send."""

from archive.dimse.identifier import decode_identifier
from archive.dimse.retrieve import GetProvider
from archive.dimse.sop_classes import MOVE
from archive.dimse.status import ANSWERED, Service, refusal
from archive.services.destinations import Destinations
from archive.services.query import Asked
from archive.services.retrieve import RetrieveService
from archive.session import AssociationSession
from archive.upper_layer.limits import Limits
from storage.transfer_syntax import EXPLICIT_LITTLE, transfer_syntax
from tests.simulators.memory_archive import World


def retrieve_service(world: World) -> RetrieveService:
    """Selects and gives out what the world keeps."""
    destinations = Destinations(world.nodes)
    return RetrieveService(world.reader, world.repository, world.pep, world.trail, world.kept, destinations)


def get_provider(world: World) -> GetProvider:
    """Answers C-GET requests from what the world keeps."""
    return GetProvider(retrieve_service(world), Limits())


def move_told(
    world: World, session: AssociationSession, sop_class: str, identifier: bytes, to: str, *, relational: bool = False
) -> list[object]:
    """Everything that a C-MOVE's counters, sub-operations and status are made from, in order."""
    asked = Asked(sop_class, EXPLICIT_LITTLE, identifier)
    try:
        keys = decode_identifier(identifier, transfer_syntax(EXPLICIT_LITTLE))
        service, model = retrieve_service(world), MOVE[sop_class]
        with service.select_for(session, asked, model, keys, to, relational=relational) as retrieval:
            instances = [(instance.key, instance.transfer_syntax) for instance in retrieval.instances]
            return [retrieval.total, sorted(retrieval.kinds), *instances]
    except ANSWERED as error:
        return [refusal(error, Service.MOVE)]
