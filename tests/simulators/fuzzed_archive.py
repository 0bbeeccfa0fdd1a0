"""An acceptor with the real admission, services, policies, index and tokenizer, fed with bytes instead of a socket.

`FuzzedArchive.hear` runs one association on a stream and judges what came back by a reader of its own.
"""

import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from archive.dimse.admission import AssociationAdmission
from archive.dimse.association import Association
from archive.dimse.channel import Ending, Peer
from archive.dimse.commitment import CommitmentProvider
from archive.dimse.contexts import ContextNegotiation
from archive.dimse.dispatch import ServiceDispatcher
from archive.dimse.query import QueryProvider
from archive.dimse.requestor import Requestor
from archive.dimse.results import ResultDeliverer
from archive.dimse.retrieve import GetProvider, MoveProvider
from archive.dimse.sop_classes import STORAGE
from archive.dimse.storage import StorageProvider
from archive.dimse.verification import VerificationProvider
from archive.errors import PeerGone
from archive.records.commitments import CommitmentRecords
from archive.services.commitment import CommitmentService
from archive.services.destinations import Destinations
from archive.services.glass import GlassService
from archive.services.query import QueryService
from archive.services.retrieve import RetrieveService
from archive.services.store import StoreService
from archive.upper_layer.commands import CommandSet
from archive.upper_layer.framing import Framer
from archive.upper_layer.limits import Limits
from auth.errors import AuthenticationFailed, UnknownNode
from auth.identity.authenticator import Authenticated, OfferedIdentity
from auth.principal import Assurance, NodeIdentity
from storage.clock import now
from storage.errors import OutOfSpace
from storage.index.columns import WANTED
from storage.index.rows import key_of, rows_of
from storage.instance import DeclaredInstance, ReceivedInstance, StagedBytes, StoredInstance
from storage.integrity.inspection import DataSetInspector
from storage.transfer_syntax import transfer_syntax
from tests.simulators.memory_archive import MemoryIntake, MemoryOutgoing, MemoryRepository, NoNotes, World, image
from tests.simulators.records import MemoryDatabase
from tests.simulators.subjects import node, person

LIMITS = Limits(associate_pdu_bytes=65_536, pdu_bytes=65_536, data_set_bytes=1_000_000)
MOST_KEPT = 200
"""Objects that are kept; further ones are refused at the commit, so that a long run measures itself alone."""
PATIENCE_SECONDS = 5.0
_ANSWERS = {2: "AC", 3: "RJ", 4: "data", 6: "RP", 7: "abort"}


class FedTransport:
    """In place of `archive.dimse.transport.Transport`: what the peer says comes turn by turn, the next when we wait for
    it, and after the last one the peer is gone.
    """

    def __init__(self, turns: list[list[bytes]], piece: int) -> None:
        self._turns = iter(turns)
        self._turn: Iterator[bytes] = iter(())
        self._left = memoryview(b"")
        self._piece = piece
        self.heard = 0
        """PDUs that were taken, the last one perhaps not to its end."""
        self.sent = bytearray()

    def fill(
        self, framer: Framer, deadline: float, interrupted: object = None, *, within_message: bool = False
    ) -> bool:
        wanted = framer.wanted
        got = 0
        while got < wanted:
            while not self._at_hand():
                turn = next(self._turns, None)
                if turn is None:
                    raise PeerGone("the peer closed the connection")
                self._turn = iter(turn)
            got += self._move(framer)
        return True

    def fill_now(self, framer: Framer) -> bool:
        if not self._at_hand():
            return False
        self._move(framer)
        return True

    def send(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def wait_for_close(self, space: memoryview) -> None:
        pass

    def pdu_complete(self) -> None:
        pass

    def new_message(self) -> None:
        pass

    def _at_hand(self) -> bool:
        """Whether there is more of this turn."""
        while not self._left:
            pdu = next(self._turn, None)
            if pdu is None:
                return False
            self._left = memoryview(pdu)
            self.heard += 1
        return True

    def _move(self, framer: Framer) -> int:
        space = framer.space()
        count = min(len(space), self._piece, len(self._left))
        space[:count] = self._left[:count]
        self._left = self._left[count:]
        framer.received(count)
        return count


class InspectedIntake(MemoryIntake):
    """One object on its way in, read by the real tokenizer."""

    def __init__(self, repository: MemoryRepository, declared: DeclaredInstance) -> None:
        super().__init__(repository, declared)
        self._inspector = DataSetInspector(transfer_syntax(declared.transfer_syntax), WANTED)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._inspector.feed(data)
        super().write(data)

    def finish(self) -> ReceivedInstance:
        inspection = self._inspector.finish()
        rows, key = rows_of(inspection, self.declared), key_of(inspection, self.declared)
        if len(self.repository.objects) >= MOST_KEPT:
            raise OutOfSpace("enough is kept")
        identity = f"{len(self.repository.objects):032x}"
        self.repository.staged[identity] = bytes(self.data)
        address = inspection.canonical_digest
        return ReceivedInstance(key, self.declared, rows, identity, address, len(self.data), StagedBytes())


@dataclass
class Heard:
    """What came of one conversation."""

    ending: Ending
    pdus: int = 0
    """How many were heard before the end."""
    answers: list[str] = field(default_factory=list)
    commands: list[int] = field(default_factory=list)
    seconds: float = 0.0
    """Of processor time."""


@dataclass
class _InItsOwnSyntax:
    """The repository as storage commitment reads it."""

    repository: MemoryRepository

    def open(self, stored: StoredInstance) -> MemoryOutgoing:
        return self.repository.open(stored, stored.transfer_syntax)


class FuzzedArchive:
    """One archive in memory that many conversations are held with, one after another."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.node: NodeIdentity = node("modality", "radiologist")
        self.person = person("modality", "radiologist")
        self.world.admit(self.node, self.person)
        self.world.keep(*(image(study, 1, number) for study in (1, 2, 3) for number in (1, 2)))
        self.kept = len(self.world.repository.objects)
        self.world.repository.begin = self._begin  # type: ignore[method-assign]
        pep, trail, reader = self.world.pep, self.world.trail, self.world.reader
        retrieve = RetrieveService(
            reader, self.world.repository, pep, trail, self.world.kept, Destinations(self.world.nodes)
        )
        # No destination is registered: nobody is called.
        requestor = Requestor(self, lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), LIMITS, without_tls=False)
        queue = CommitmentRecords(MemoryDatabase())
        commitment = CommitmentService(
            reader, _InItsOwnSyntax(self.world.repository), pep, trail, queue, supported=STORAGE, clock=now
        )
        # It is not started: what is asked is written down, and nobody is told.
        results = ResultDeliverer(commitment, queue, self.world.nodes, requestor, "STRONGROOM", clock=now)
        self._dispatcher = ServiceDispatcher(
            verification=VerificationProvider(pep, LIMITS),
            storage=StorageProvider(
                StoreService(self.world.repository, pep, trail, self.world.masked, NoNotes()), LIMITS
            ),
            query=QueryProvider(QueryService(reader, pep, trail, self.world.repository), "STRONGROOM", LIMITS),
            get=GetProvider(retrieve, LIMITS),
            move=MoveProvider(retrieve, requestor, "STRONGROOM", LIMITS),
            commitment=CommitmentProvider(commitment, results, LIMITS),
            limits=LIMITS,
        )
        self._admission = AssociationAdmission(
            ae_title="STRONGROOM",
            nodes=self,
            people=self,
            pep=pep,
            glass=GlassService(self.world.overrides, pep, trail),
            audit=trail,
            contexts=ContextNegotiation(),
        )

    def identify(self, certificate: bytes | None) -> NodeIdentity:
        raise UnknownNode("no TLS here")

    def plain(self, ae_title: str) -> NodeIdentity:
        if ae_title != self.node.name:
            raise UnknownNode("no such node")
        return self.node

    def may_call(self, node: NodeIdentity, ae_title: str) -> bool:
        return ae_title in node.ae_titles

    def authenticate(
        self, offered: OfferedIdentity | None, node: NodeIdentity, *, tls: bool, source: str
    ) -> Authenticated:
        if offered is not None and offered.identity_type > 5:
            raise AuthenticationFailed("no such type")
        return Authenticated(self.person, Assurance(2, True, "local"), b"")

    def hear(self, turns: list[list[bytes]], piece: int = 1_000_000) -> Heard:
        """Hold one conversation, read in pieces of so many bytes at most; what is in ``turns`` need not be PDUs.

        Raises:
            AssertionError: the invariant does not hold.
        """
        self.world.trail.events.clear()
        transport = FedTransport(turns, piece)
        violations: list[str] = []
        association = Association(
            transport,  # type: ignore[arg-type]
            Peer("127.0.0.1", 1, False, None),
            LIMITS,
            self._admission,
            self._dispatcher,
            established=lambda: True,
            draining=lambda: False,
            violated=lambda session, error: violations.append(str(error)),
        )
        begun = time.thread_time()
        ending = association.run()
        heard = Heard(ending, transport.heard, seconds=time.thread_time() - begun)
        assert ending is not Ending.FAULT, "a fault of ours"
        assert len(violations) == (ending is Ending.VIOLATION) or ending is Ending.NOTHING, violations
        assert heard.seconds < PATIENCE_SECONDS, f"hung for {heard.seconds} s"
        assert self.world.repository.open_intakes == self.world.repository.open_objects == 0, "something is left open"
        judge(bytes(transport.sent), heard)
        return heard

    def close(self) -> None:
        self.world.close()

    def _begin(self, declared: DeclaredInstance) -> InspectedIntake:
        self.world.repository.open_intakes += 1
        try:
            return InspectedIntake(self.world.repository, declared)
        except BaseException:
            self.world.repository.open_intakes -= 1
            raise


def judge(sent: bytes, heard: Heard) -> None:
    """Read everything that was answered, strictly: an answer to the request, messages, and at most one last word."""
    command = bytearray()
    at = 0
    while at < len(sent):
        kind, length = struct.unpack_from(">BxL", sent, at)
        body = sent[at + 6 : at + 6 + length]
        at += 6 + length
        assert len(body) == length, "half a PDU"
        name = _ANSWERS[kind]
        assert not heard.answers or heard.answers[-1] in ("AC", "data"), f"{name} after {heard.answers[-1]}"
        assert name in ("AC", "RJ", "abort") or heard.answers, f"{name} before an association"
        assert name not in ("AC", "RJ") or not heard.answers, f"{name} twice"
        heard.answers.append(name)
        if name == "data":
            _judge_values(body, command, heard)
        elif name != "AC":
            assert length == 4
    assert not command, "half a command"


def _judge_values(body: bytes, command: bytearray, heard: Heard) -> None:
    at = 0
    while at < len(body):
        length, context, flags = struct.unpack_from(">LBB", body, at)
        data = body[at + 6 : at + 4 + length]
        assert len(data) == length - 2 and context % 2 and flags < 4
        at += 4 + length
        if flags & 1:
            command += data
            if flags & 2:
                heard.commands.append(CommandSet.decode(bytes(command)).field)
                command.clear()
