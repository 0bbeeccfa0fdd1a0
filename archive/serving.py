"""The listening archive: an opened home with its services behind one door. The second half of the composition root.

`archive.bootstrap` opens what is kept; here the enforcement point, the services, the service class providers and the
listeners are put on top of it. The caller holds the home's lock.
"""

import resource
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from types import TracebackType

import structlog

from archive.audit.events import (
    Actor,
    ApplicationStarted,
    ApplicationStopped,
    NetworkEntered,
    NetworkLeft,
    RecordingStarted,
    RecordingStopped,
)
from archive.audit.forward.forwarding import Forwarding, Origin, this_source
from archive.audit.forward.target import targets_of
from archive.audit.vigil import Vigil
from archive.believed import BelievedNodes
from archive.bootstrap import Archive, finish_rebuild, open_archive
from archive.certificates import held_by
from archive.control.operator import Operator
from archive.dimse.admission import AssociationAdmission
from archive.dimse.commitment import CommitmentProvider
from archive.dimse.contexts import ContextNegotiation
from archive.dimse.dispatch import ServiceDispatcher
from archive.dimse.query import QueryProvider
from archive.dimse.requestor import Requestor
from archive.dimse.results import Patience, ResultDeliverer
from archive.dimse.retrieve import GetProvider, MoveProvider
from archive.dimse.server import DicomServer, Endpoint
from archive.dimse.sop_classes import storage_classes
from archive.dimse.storage import StorageProvider
from archive.dimse.verification import VerificationProvider
from archive.enforcement.pep import PolicyEnforcementPoint
from archive.enforcement.standing import RegisteredStanding
from archive.errors import ListenFailed
from archive.home import Home
from archive.keys import load_keyring
from archive.people import People, Surroundings
from archive.services.commitment import CommitmentService
from archive.services.destinations import Destinations
from archive.services.glass import GlassService, GlassWatch
from archive.services.query import QueryService
from archive.services.rejection import RejectionService
from archive.services.removal import RemovalService
from archive.services.retrieve import RetrievalRecords, RetrieveService
from archive.services.store import StoreService
from archive.settings import INSECURE, SHOW
from archive.tending import Files, Tending
from archive.upper_layer.limits import Limits
from archive.watching import vigil_over
from auth.identity.authenticator import Authenticator
from auth.identity.chain import Chain
from auth.identity.throttle import Throttle
from auth.node.tls import destination_context
from storage.clock import now

_log = structlog.get_logger("strongroom.serve")

_SWITCH_SECONDS = 0.0005
"""How long a thread keeps the interpreter from one that waits for it. The committer needs it after each sync, for a
moment; at the interpreter's 5 ms every batch would wait behind somebody's parsing."""

_OTHER_FILES = 256
"""Descriptors for everything that is no connection."""


class Serving:
    """One archive from start-up to shutdown. Use as a context manager: leaving it drains, stops and closes."""

    def __init__(self, home: Home) -> None:
        """Open the home and put the services on top; nothing listens yet.

        Raises:
            ArchiveError, StorageError, AuthError: as `archive.bootstrap.open_archive`; or the certificates and keys of
                TLS cannot be used.
        """
        self._listening = False
        self._launcher = Operator.this().actor
        sys.setswitchinterval(_SWITCH_SECONDS)
        with ExitStack() as undo:
            self.archive = open_archive(home, serving=True, wait_for_index=False)
            undo.callback(self.archive.close)
            self._nodes = BelievedNodes(self.archive)
            self._vigil = vigil_over(self.archive)
            self._forwarding = _forwarding(self.archive)
            self._people = _people(self.archive)
            undo.callback(self._people.close)
            self._glass = GlassWatch(self.archive.overrides, self._vigil)
            standing = RegisteredStanding(self.archive.nodes, self._people.chain, now, self._nodes.verifier)
            self._server, self._results = _server(self.archive, self._nodes, standing, self._people.chain, self._vigil)
            self._tending = _tending(self.archive, self._nodes, lambda: self._server.withdraw(standing.node_lost))
            undo.pop_all()

    @property
    def address(self) -> str:
        """Where associations over TLS are accepted, as HOST:PORT."""
        host, port = self._server.addresses[0]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def listen(self) -> None:
        """Say in the audit that we start, and accept associations from now on.

        Raises:
            ListenFailed: an address cannot be taken.
            AuditUnavailable: nothing would be audited, so nothing is served.
        """
        archive = self.archive
        _take_descriptors(archive.settings.limits)
        fingerprint = archive.policies.policies.fingerprint
        try:
            self._server.listen()
        except ListenFailed as error:
            raise ListenFailed(f"{error}: stop what has it, or change [listen] in {archive.home.settings}") from None
        self._listening = True
        threading.Thread(target=archive.intakes.warm, name="intakes", daemon=True).start()
        archive.audit.record(
            RecordingStarted(self._launcher),
            ApplicationStarted(self._launcher, reason=f"policies {fingerprint[:16]}"),
            NetworkEntered(self._launcher),
        )
        if archive.repository.rebuilding:
            _log.warning("the index is made anew: nothing is stored, found or retrieved before that is done")
            finish_rebuild(archive)
        self._vigil.begin()
        self._glass.start()
        self._tending.begin()
        self._results.start()
        self._forwarding.start()
        _log.info("listening", addresses=[f"{host} {port}" for host, port in self._server.addresses])
        if archive.settings.listen.plain == INSECURE:
            _log.warning("INSECURE: associations without TLS are accepted", port=archive.settings.listen.plain_port)

    def reload(self) -> None:
        """Read our certificates and keys, the facility's authorities and all revocation lists again.

        Raises:
            AuthError: they cannot be used, and those of before stay.
        """
        self._tending.reload()

    def __enter__(self) -> "Serving":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tending.close()
        try:
            if self._listening:
                if not self._server.drain(self.archive.settings.listen.drain_seconds):
                    _log.warning("associations were cut after drain_seconds")
                self._glass.close()
                self._results.close()
                # What it holds back belongs before the end of the recording.
                self._vigil.close()
                self.archive.audit.record(
                    NetworkLeft(self._launcher), ApplicationStopped(self._launcher), RecordingStopped(self._launcher)
                )
        finally:
            self._server.close()
            self._people.close()
            self.archive.close()
            # The trail has its last checkpoint now, and that goes out too.
            self._forwarding.close()
            _log.info("stopped")


def _take_descriptors(limits: Limits) -> None:
    """See that every connection that the limits allow can have its descriptors, as far as the system lets us."""
    needed = limits.half_open_connections + limits.associating_connections + 3 * limits.associations + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft != resource.RLIM_INFINITY and soft < needed:
        _log.warning("fewer descriptors than the limits of connections may need", allowed=soft, needed=needed)


def _server(
    archive: Archive, nodes: BelievedNodes, standing: RegisteredStanding, chain: Chain, audit: Vigil
) -> tuple[DicomServer, ResultDeliverer]:
    """What listens, and what tells results of storage commitment."""
    settings, repository = archive.settings, archive.repository
    limits, title, listen = settings.limits, settings.archive.ae_title, settings.listen
    kept_classes = storage_classes(settings.storage.sop_classes)
    pep = PolicyEnforcementPoint(archive.policies, audit, standing, glass=archive.overrides, clock=now)
    admission = AssociationAdmission(
        ae_title=title,
        nodes=nodes.verifier,
        people=Authenticator(chain, Throttle(), insecure_without_tls=settings.identity.without_tls == INSECURE),
        pep=pep,
        glass=GlassService(archive.overrides, pep, audit),
        audit=audit,
        contexts=ContextNegotiation(kept_classes),
    )
    identities = archive.authority.files.server_identities
    requestor = Requestor(
        nodes.verifier, lambda: destination_context(identities), limits, without_tls=listen.plain == INSECURE
    )
    show_quality = settings.deletion.quality_notes == SHOW
    rejections = RejectionService(repository, pep, show_quality=show_quality)
    store = StoreService(repository, pep, audit, archive.masked, rejections, archive.receipt)
    kept = RetrievalRecords(archive.masked, archive.volumes)
    retrieve = RetrieveService(repository.reader, repository, pep, audit, kept, Destinations(archive.nodes))
    commitment = CommitmentService(
        repository.reader, repository, pep, audit, archive.commitments, supported=kept_classes, clock=now
    )
    patience = Patience(
        timedelta(seconds=settings.commitment.retry_seconds),
        timedelta(seconds=settings.commitment.longest_pause_seconds),
    )
    results = ResultDeliverer(
        commitment, archive.commitments, archive.nodes, requestor, title, clock=now, patience=patience
    )
    dispatcher = ServiceDispatcher(
        verification=VerificationProvider(pep, limits),
        storage=StorageProvider(store, limits),
        query=QueryProvider(QueryService(repository.reader, pep, audit, repository), title, limits),
        get=GetProvider(retrieve, limits),
        move=MoveProvider(retrieve, requestor, title, limits),
        commitment=CommitmentProvider(commitment, results, limits),
        limits=limits,
        storage_classes=kept_classes,
    )
    endpoints = [Endpoint(listen.host, listen.port, nodes.tls.context)]
    if listen.plain == INSECURE:
        endpoints.append(Endpoint(listen.host, listen.plain_port, None))
    return DicomServer(endpoints, limits, admission, dispatcher, audit, archive.metrics), results


def _tending(archive: Archive, nodes: BelievedNodes, withdraw: Callable[[], None]) -> Tending:
    tls = archive.settings.tls
    return Tending(
        files=Files(nodes.files),
        reload=nodes.reload,
        reload_seconds=tls.reload_seconds,
        generation=lambda: archive.nodes.generation,
        withdraw=withdraw,
        held=lambda: held_by(archive.authority.files, archive.nodes),
        warn=timedelta(days=tls.warn_days),
        audit=archive.audit,
        metrics=archive.metrics,
        clock=now,
        erase=lambda: _erase_due(archive),
    )


def _erase_due(archive: Archive) -> int:
    """Erase what was deleted long enough ago, as the settings say; how many objects."""
    days = archive.settings.deletion.erase_after_days
    if not days or archive.repository.rebuilding:
        return 0
    before = (now() - timedelta(days=days)).isoformat()
    # Nobody asks for it now: the archive does what it was set up to do.
    return RemovalService(archive.repository).erase_due(Actor(), before)


def _people(archive: Archive) -> People:
    surroundings = Surroundings(
        archive.home, archive.settings.archive.ae_title, archive.users, archive.presented, clock=now
    )
    return People(archive.settings, surroundings)


def _forwarding(archive: Archive) -> Forwarding:
    home, settings = archive.home, archive.settings
    origin = Origin(
        trail=home.trail,
        key=load_keyring(home, settings).audit_key,
        kept=home.forward,
        source=this_source(settings.archive.ae_title),
        identity=archive.authority.files.server_identities[0],
    )
    return Forwarding(targets_of(settings, home), origin, archive.audit)
