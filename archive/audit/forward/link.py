"""What every transport is to the forwarder: a way to one repository."""

from typing import Protocol

from archive.audit.trail_format import TrailRecord


class RepositoryUnavailable(Exception):
    """The repository cannot be reached, broke off, or did not confirm; what it was sent may have to be sent again."""


class MessageRefused(Exception):
    """The repository will never take this message; it takes others."""


class Link(Protocol):
    """An open way to a repository. Any method may raise `RepositoryUnavailable`, and the link is over then."""

    lasting: bool
    """Whether each message is known to have arrived when `send` returns, and the link goes on after `confirm`."""

    def send(self, record: TrailRecord, xml: str) -> int:
        """Hand over one message, perhaps still in memory; how many octets it took.

        Raises:
            MessageRefused: the repository refuses this one.
        """

    def flush(self) -> None:
        """Nothing stays in memory; and look whether the repository has something to say."""

    def confirm(self) -> None:
        """Return once everything that was handed over is known to have arrived, as far as the transport can say."""

    def close(self) -> None:
        """End the link as it stands; idempotent, raises nothing."""

    def abort(self) -> None:
        """From another thread: whatever this link waits for fails now; raises nothing."""
