"""What rules see of an event, and what they say of it. Values only."""

from dataclasses import dataclass, field
from datetime import datetime

from archive.audit.events import Actor, AuditEvent, Outcome
from archive.audit.sources import source_of


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on two clocks."""

    wall: datetime
    """What the trail says; can be set by whoever administers the machine."""
    ticking: float
    """Seconds that only go forward, from an arbitrary beginning (CLOCK_MONOTONIC)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as rules look at it. Empty is whatever the event does not have."""

    kind: str
    moment: Moment
    actor: Actor
    failed: bool = False
    claimed: str = ""
    """The name that was claimed in vain."""
    destination: str = ""
    instances: int = 0

    @classmethod
    def of(cls, event: AuditEvent, moment: Moment) -> "Seen":
        """What rules see of ``event``."""
        studies = getattr(event, "studies", ())
        return cls(
            kind=event.kind,
            moment=moment,
            actor=event.actor,
            failed=event.outcome is not Outcome.SUCCESS,
            claimed=str(getattr(event, "claimed", "")),
            destination=str(getattr(event, "destination", "")),
            instances=sum(sum(study.sop_classes.values()) for study in studies),
        )

    @property
    def source(self) -> str:
        """The peer's address, or the /64 it is in."""
        return source_of(self.actor.address)

    @property
    def ae_title(self) -> str:
        """The calling AE title."""
        return self.actor.ae_title or ""

    @property
    def who(self) -> str:
        """The verified person; the node, where it came without one."""
        return self.actor.person or self.actor.node or ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule has found."""

    subject: str
    """The person, source or node that it is about; empty for the archive itself."""
    figures: str
    """What was counted, and in what time."""
    actor: Actor = field(default_factory=Actor)
    verified: bool = True
    """False: whoever caused it has shown no proof, so anybody can make up any number of such subjects."""
