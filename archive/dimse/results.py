"""Results of storage commitment on their way to who asked: one thread that finds them, tells them, and tries again.

A request stays in the queue until its N-EVENT-REPORT was answered with success. Where the association that it came on
is still there and the node's registration says so, it is told on that one, by that one's own thread; else on an
association that we open to the node, as SCP of the class (PS3.4 J.3.3, PS3.7 D.3.3.4). Failing that it is tried again,
after longer and longer pauses, until the time for it is over: then an officer is told, and it is forgotten.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from archive.dimse.channel import AcceptedContext, Channel, Report
from archive.dimse.commitment import INSTANCE
from archive.dimse.commitment_messages import encode_result
from archive.dimse.requestor import Requestor
from archive.dimse.sop_classes import STORAGE_COMMITMENT
from archive.errors import AuditUnavailable, NodeUnreachable
from archive.records.commitments import PendingCommitment
from archive.services.commitment import CommitmentResult, CommitmentService
from archive.upper_layer.commands import CommandSet, Field, n_event_report_rq
from archive.upper_layer.negotiation import ProposedContext
from archive.upper_layer.requesting import Proposal
from auth.ports import CommitmentReply, NodeRecord
from storage.errors import StorageError
from storage.transfer_syntax import EXPLICIT_LITTLE, IMPLICIT_LITTLE

LOOK_SECONDS: Final = 2.0
"""Between two looks for what is due, while nobody asks anything."""
FIRST_PAUSE: Final = timedelta(seconds=10)
_AT_ONCE: Final = 16
"""Requests that one look takes from the queue."""
_WAITING: Final = timedelta(minutes=2)
"""How long a result that was handed to an association is left to it."""
_log = structlog.get_logger("strongroom.commitment")


class Queue(Protocol):
    """What is asked of `archive.records.commitments.CommitmentRecords`."""

    def due(self, moment: datetime, limit: int) -> list[PendingCommitment]:
        """Those whose next attempt has come."""

    def postponed(self, key: int, attempts: int, until: datetime) -> None:
        """It is due again then."""

    def recalled(self, moment: datetime) -> None:
        """What was handed to associations is due."""

    def done(self, key: int) -> None:
        """Forget it."""


class RegisteredNodes(Protocol):
    """What is asked of `archive.records.nodes.NodeRecords`."""

    def node(self, name: str) -> NodeRecord | None:
        """The node of exactly this name."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long, and how often, a result is tried."""

    altogether: timedelta = timedelta(hours=24)
    longest_pause: timedelta = timedelta(minutes=30)

    def pause(self, attempts: int) -> timedelta:
        """After so many failures."""
        return min(FIRST_PAUSE * float(2 ** min(attempts, 16)), self.longest_pause)


class ResultDeliverer:
    """Finds and delivers results (implements `archive.dimse.commitment.ResultDelivery`). `close` it."""

    def __init__(
        self,
        service: CommitmentService,
        queue: Queue,
        nodes: RegisteredNodes,
        requestor: Requestor,
        ae_title: str,
        *,
        clock: Callable[[], datetime],
        patience: Patience | None = None,
    ) -> None:
        """``ae_title``: ours; ``clock`` gives aware times."""
        self._service = service
        self._queue = queue
        self._nodes = nodes
        self._requestor = requestor
        self._ae_title = ae_title
        self._clock = clock
        self._patience = patience or Patience()
        self._origins: dict[int, tuple[Channel, AcceptedContext]] = {}
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commitment", daemon=True)

    def start(self) -> None:
        """Begin to look; what an earlier run left to its associations is due, for none of them is left.

        Raises `StorageError`.
        """
        self._queue.recalled(self._clock())
        self._thread.start()

    def close(self) -> None:
        """Finish what is under way, and end; idempotent. What is undelivered stays in the queue."""
        self._stop.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()

    def asked(self, key: int, channel: Channel, context: AcceptedContext) -> None:
        """See `archive.dimse.commitment.ResultDelivery`."""
        self._origins[key] = (channel, context)
        self._changed.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._changed.wait(LOOK_SECONDS)
            self._changed.clear()
            try:
                while not self._stop.is_set() and (due := self._queue.due(self._clock(), _AT_ONCE)):
                    for pending in due:
                        self._attend(pending)
            except (StorageError, AuditUnavailable) as error:
                # Nothing is lost: it is due still, and the next look comes.
                _log.warning("commitment results have to wait", error=type(error).__name__)
            except Exception:  # noqa: BLE001 -- the thread has to go on for all the others
                _log.exception("a commitment result could not be attended to")
                self._stop.wait(LOOK_SECONDS)

    def _attend(self, pending: PendingCommitment) -> None:
        if self._clock() - pending.received > self._patience.altogether:
            self._service.given_up(pending, f"{pending.attempts} attempts")
            self._queue.done(pending.id)
            self._origins.pop(pending.id, None)
            return
        result = self._service.settle(pending)
        # Only what nobody failed to take is handed to an association: by that `recalled` knows it.
        origin = self._origins.pop(pending.id, None)
        node = self._nodes.node(pending.node)
        if node is None:
            self._postpone(pending, "the node is registered no more")
            return
        if origin is not None and node.commitment is CommitmentReply.SAME and self._posted(pending, result, *origin):
            return
        try:
            self._told_anew(pending, result, node)
        except NodeUnreachable as error:
            self._postpone(pending, str(error))
        else:
            self._queue.done(pending.id)

    def _posted(
        self, pending: PendingCommitment, result: CommitmentResult, channel: Channel, context: AcceptedContext
    ) -> bool:
        """Hand it to the association that it came on; False if that is over."""
        event_type, data = encode_result(pending.transaction_uid, result, self._ae_title, context.transfer_syntax)

        def answered(response: CommandSet | None) -> None:
            try:
                if response is not None and response.status == 0:
                    self._queue.done(pending.id)
                else:
                    self._queue.postponed(pending.id, pending.attempts, self._clock())
            except StorageError as error:
                # It comes up again by itself, and a result that is told twice says the same.
                _log.warning("the answer to a commitment result could not be noted", error=type(error).__name__)
            self._changed.set()

        # Should the association never come back to it, it is due again by itself.
        self._queue.postponed(pending.id, pending.attempts, self._clock() + _WAITING)
        return channel.post(
            Report(
                context.context_id,
                lambda number: n_event_report_rq(number, STORAGE_COMMITMENT, INSTANCE, event_type),
                data,
                answered,
            )
        )

    def _told_anew(self, pending: PendingCommitment, result: CommitmentResult, node: NodeRecord) -> None:
        """On an association of our own. Raises `NodeUnreachable`."""
        contexts = (ProposedContext(1, STORAGE_COMMITMENT, (EXPLICIT_LITTLE, IMPLICIT_LITTLE)),)
        roles = {STORAGE_COMMITMENT: (False, True)}
        proposal = Proposal(pending.calling_ae, self._ae_title, contexts, roles)
        with self._requestor.associate(node, proposal) as association:
            syntax = association.contexts.get(1)
            # Many requestors do not answer the role at all, and take the report all the same.
            if syntax is None or not association.roles.get(STORAGE_COMMITMENT, (False, True))[1]:
                raise NodeUnreachable("it does not take results of storage commitment")
            event_type, data = encode_result(pending.transaction_uid, result, self._ae_title, syntax)
            association.send(1, n_event_report_rq(1, STORAGE_COMMITMENT, INSTANCE, event_type), [data])
            response = association.receive_response(1)
            if response.field != Field.N_EVENT_REPORT_RSP or response.status != 0:
                raise NodeUnreachable(f"it refused the result of storage commitment ({response.status:04X})")

    def _postpone(self, pending: PendingCommitment, reason: str) -> None:
        attempts = pending.attempts + 1
        self._queue.postponed(pending.id, attempts, self._clock() + self._patience.pause(pending.attempts))
        _log.warning("commitment result", node=pending.node, attempt=attempts, reason=reason)
