"""The C-GET provider on an archive in memory."""

from archive.dimse.retrieve import RetrieveProvider
from archive.services.retrieve import RetrieveService
from archive.upper_layer.limits import Limits
from tests.simulators.memory_archive import World


def get_provider(world: World) -> RetrieveProvider:
    """Answers C-GET requests from what the world keeps."""
    service = RetrieveService(world.reader, world.repository, world.pep, world.trail, world.kept)
    return RetrieveProvider(service, Limits())
