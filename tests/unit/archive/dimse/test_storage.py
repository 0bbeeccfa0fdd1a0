"""C-STORE on the wire: statuses of PS3.4 B.2.3 and PS3.7 9.1.1.1.9, data sets drained, one audit event per refusal."""

import pytest

from archive.dimse.channel import AcceptedContext
from archive.dimse.storage import StorageProvider
from archive.errors import LimitExceeded, PeerGone
from archive.services.store import StoreService
from archive.upper_layer.commands import Field
from archive.upper_layer.limits import Limits
from storage.errors import (
    DataSetLimitExceeded,
    InstanceConflict,
    KeyUnavailable,
    OutOfSpace,
    StoreNotReady,
    StoreReadOnly,
)
from storage.transfer_syntax import EXPLICIT_LITTLE
from tests.simulators.memory_archive import CT, NoNotes, World, encoded, image
from tests.simulators.memory_channel import MemoryChannel, MemoryData, request
from tests.simulators.subjects import node

MR = "1.2.840.10008.5.1.4.1.1.4"
CONTEXT = AcceptedContext(1, CT, EXPLICIT_LITTLE)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def provider(world):
    return StorageProvider(StoreService(world.repository, world.pep, world.trail, world.masked, NoNotes()), Limits())


@pytest.fixture
def channel(world):
    return MemoryChannel(world.admit(node("modality", name="CT1")), CONTEXT)


def store(provider, channel, data=None, sop_class=CT, uid="1.2.1.1.1"):
    incoming = MemoryData(encoded(image()) if data is None else data)
    more = {} if uid is None else {"affected_sop_instance_uid": uid}
    provider.handle(channel, CONTEXT, request(Field.C_STORE_RQ, sop_class, **more), incoming)
    assert incoming.drained
    return channel.last


def told_once_and_nothing_left(world):
    assert len(world.trail.events) == 1 and not world.repository.objects and world.repository.open_intakes == 0


def test_success_is_0000_and_echoes_class_and_instance(world, provider, channel):
    response = store(provider, channel)
    assert (response.status, response.command.field) == (0x0000, Field.C_STORE_RSP)
    assert response.command.message_id_being_responded_to == 7
    assert response.command.affected_sop_class_uid == CT
    assert response.command.affected_sop_instance_uid == "1.2.1.1.1"
    assert response.command.error_comment == "" and len(world.repository.objects) == 1


@pytest.mark.parametrize("sop_class", [MR, "", "not a uid"])
def test_another_sop_class_than_the_contexts_is_0122(world, provider, channel, sop_class):
    assert store(provider, channel, sop_class=sop_class).status == 0x0122
    told_once_and_nothing_left(world)


@pytest.mark.parametrize("uid", [None, "", "../../etc/passwd", "1.02", "1." * 33])
def test_an_instance_uid_that_is_none_is_0117(world, provider, channel, uid):
    response = store(provider, channel, uid=uid)
    assert response.status == 0x0117 and "passwd" not in response.command.error_comment
    told_once_and_nothing_left(world)


def test_a_store_without_a_data_set_is_c000(world, provider, channel):
    command = request(Field.C_STORE_RQ, CT, data_set=False, affected_sop_instance_uid="1.2.1.1.1")
    provider.handle(channel, CONTEXT, command, None)
    assert channel.last.status == 0xC000
    told_once_and_nothing_left(world)


def test_a_data_set_of_another_object_is_a900(world, provider, channel):
    assert store(provider, channel, uid="1.2.1.1.2").status == 0xA900
    told_once_and_nothing_left(world)


def test_a_data_set_that_is_none_is_c000(world, provider, channel):
    assert store(provider, channel, data=b"\x08\x00\x16\x00??\xff\xff\x00\x00" * 50).status == 0xC000
    told_once_and_nothing_left(world)


def test_a_denied_object_is_0124_and_the_association_goes_on(world, provider):
    channel = MemoryChannel(world.admit(node("service", name="ECHO")), CONTEXT)
    assert store(provider, channel).status == 0x0124
    told_once_and_nothing_left(world)
    world.nodes.nodes.clear()
    channel.session = world.admit(node("modality", name="CT1"))
    assert store(provider, channel).status == 0x0000


@pytest.mark.parametrize("step", ["begin", "write", "finish", "seal", "commit"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OutOfSpace("/var/lib has no room"), 0xA700),
        (StoreReadOnly("fsync of /var/lib failed"), 0xA700),
        (StoreNotReady("rebuilding"), 0xA700),
        (DataSetLimitExceeded("too deep"), 0xA700),
        (InstanceConflict("another under 1.2.3"), 0x0111),
        (KeyUnavailable("key 7"), 0x0110),
    ],
)
def test_a_failure_of_the_store_is_coded_drained_and_says_no_more(world, provider, channel, step, error, status):
    world.repository.fails[step] = error
    response = store(provider, channel)
    assert response.status == status
    assert str(error) not in response.command.error_comment
    told_once_and_nothing_left(world)


def test_an_audit_that_cannot_be_written_is_a700_never_success(world, provider, channel):
    store(provider, channel)
    world.trail.broken = True
    assert store(provider, channel).status == 0xA700


def test_a_peer_that_vanishes_leaves_nothing_and_is_told_once(world, provider, channel):
    incoming = MemoryData(encoded(image()), vanishes=1)
    command = request(Field.C_STORE_RQ, CT, affected_sop_instance_uid="1.2.1.1.1")
    with pytest.raises(PeerGone):
        provider.handle(channel, CONTEXT, command, incoming)
    told_once_and_nothing_left(world)
    assert channel.sent == []


def test_a_data_set_over_the_budget_ends_the_association_and_leaves_nothing(world, channel):
    service = StoreService(world.repository, world.pep, world.trail, world.masked, NoNotes())
    provider = StorageProvider(service, Limits(data_set_bytes=100))
    with pytest.raises(LimitExceeded):
        store(provider, channel)
    told_once_and_nothing_left(world)


def test_a_peer_that_vanishes_while_its_refused_object_is_drained_is_told_once(world, provider, channel):
    world.repository.fails["write"] = OutOfSpace("no room")
    incoming = MemoryData(encoded(image()), vanishes=2)
    command = request(Field.C_STORE_RQ, CT, affected_sop_instance_uid="1.2.1.1.1")
    with pytest.raises(PeerGone):
        provider.handle(channel, CONTEXT, command, incoming)
    told_once_and_nothing_left(world)
