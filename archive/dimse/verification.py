"""The Verification SCP (PS3.4 Annex A, PS3.7 9.1.5)."""

from typing import Protocol

from archive.dimse.channel import AcceptedContext, Channel, IncomingData
from archive.dimse.status import ANSWERED, MISTYPED_ARGUMENT, Service, refusal
from archive.enforcement.grant import Grant
from archive.errors import CommandRefused
from archive.session import AssociationSession
from archive.upper_layer.commands import CommandSet, c_echo_rsp, failure_rsp
from archive.upper_layer.limits import Limits


class EchoEnforcement(Protocol):
    """What is asked of `archive.enforcement.pep.PolicyEnforcementPoint`."""

    def echo(self, session: AssociationSession) -> Grant:
        """May it be answered? Raises `AccessDenied`, audited."""


class VerificationProvider:
    """Answers C-ECHO where the policy permits it."""

    def __init__(self, pep: EchoEnforcement, limits: Limits) -> None:
        self._pep = pep
        self._limits = limits

    def handle(
        self, channel: Channel, context: AcceptedContext, command: CommandSet, data: IncomingData | None
    ) -> None:
        """Serve one C-ECHO-RQ."""
        try:
            if data is not None:
                data.limit(self._limits.identifier_bytes)
                data.drain()
                raise CommandRefused(MISTYPED_ARGUMENT, "C-ECHO has no data set")
            self._pep.echo(channel.session)
            response = c_echo_rsp(command)
        except ANSWERED as error:
            refused = refusal(error, Service.ECHO)
            response = failure_rsp(command, refused.status, refused.comment)
        channel.send(context.context_id, response)
