"""Where a C-MOVE may send: registered nodes, by the AE titles that are theirs, and nothing else.

A destination is looked up, never believed: no address ever comes from a peer. As a subject of policy it is the node
alone, as if it had opened an association itself and nobody were at it.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from archive.errors import DestinationUnknown
from archive.session import AssociationSession
from auth.ports import NodeRecord
from auth.principal import Assurance, NodeTrust


class RegisteredNodes(Protocol):
    """What is asked of `archive.records.nodes.NodeRecords`."""

    def owner_of(self, ae_title: str) -> NodeRecord | None:
        """The node that an AE title belongs to, whatever its trust."""


@dataclass(frozen=True, slots=True)
class Destination:
    """A node that objects may be sent to."""

    ae_title: str
    """The title by which it was named; one of the node's."""
    node: NodeRecord
    session: AssociationSession
    """What stands for it where policy is asked: the node, and no person."""


class Destinations:
    """Finds destinations in the register."""

    def __init__(self, nodes: RegisteredNodes) -> None:
        self._nodes = nodes

    def find(self, asking: AssociationSession, ae_title: str) -> Destination:
        """The destination of this AE title, for the association that asks.

        Raises:
            DestinationUnknown: no node is registered for the title, or not where it is reached.
        """
        node = self._nodes.owner_of(ae_title)
        if node is None:
            raise DestinationUnknown("the move destination is not registered")
        if node.host is None:
            raise DestinationUnknown("the move destination is registered without host and port")
        standing_in = replace(
            asking,
            node=node.identity,
            principal=None,
            assurance=Assurance(identity_type=None, tls=node.identity.trust is not NodeTrust.PLAIN),
            calling_ae=ae_title,
            peer_address=node.host,
        )
        return Destination(ae_title, node, standing_in)
