"""Operations on nodes: who may connect, and with which certificate."""

import base64
import binascii
from datetime import UTC, datetime
from enum import Enum
from typing import Final, TypeVar

from cryptography import x509

from archive.audit.events import Alert
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.errors import UsageInvalid
from auth.errors import RecordExists, RecordMissing
from auth.node.authority import IssuedNode
from auth.node.registry import register
from auth.ports import CommitmentReply, NodeRecord
from auth.principal import IdentityDemand, NodeTrust

Choice = TypeVar("Choice", bound=Enum)
MATERIAL: Final = ("key.pem", "cert.pem", "ca.pem")
"""The files that an issued node is given."""


@operation("node.add")
def add(call: Call) -> Json:
    """Register a node; its key and certificates go back to whoever asked, and are kept nowhere else."""
    arguments, nodes = call.arguments, call.archive.nodes
    title = arguments.text("ae_title")
    trust = _chosen(NodeTrust, arguments.text("trust"), "trust")
    presented = arguments.optional_text("certificate")
    identity = arguments.optional_text("identity")
    commitment = arguments.optional_text("commitment") or CommitmentReply.SAME.value
    issued = call.archive.authority.issue_node(title) if trust is NodeTrust.ISSUED and presented is None else None
    node = register(
        title,
        trust=trust,
        certificate=issued.certificate if issued else _der(presented),
        ae_titles=arguments.texts("ae_titles"),
        roles=arguments.texts("roles"),
        identity=None if identity is None else _chosen(IdentityDemand, identity, "identity"),
        identity_types=arguments.optional_numbers("identity_types"),
        asserts_roles=arguments.texts("asserts_roles"),
        host=arguments.optional_text("host"),
        port=arguments.optional_number("port"),
        commitment=_chosen(CommitmentReply, commitment, "commitment"),
        known_roles=call.archive.policies.policies.roles,
        now=datetime.now(UTC),
    )
    arguments.finish()
    for name in sorted(node.identity.ae_titles):
        owner = nodes.owner_of(name)
        if owner is not None:
            raise RecordExists(f"AE title {name} belongs to node {owner.identity.name}")
    if node.identity.fingerprint is not None:
        same = nodes.by_fingerprint(node.identity.fingerprint)
        if same is not None:
            raise RecordExists(f"the certificate belongs to node {same.name}")
    facts = {"change": "node-added", **_described(node)}
    words = f"node {title} added, roles {', '.join(sorted(node.identity.roles)) or 'none'}, {trust.value}"
    call.change(facts, words, Alert.NETWORK_CONFIGURATION, lambda: nodes.add(node))
    return {**_described(node), "material": _material(issued) if issued else None}


@operation("node.list")
def listed(call: Call) -> Json:
    """Every node."""
    call.arguments.finish()
    return [_described(node) for node in call.archive.nodes.all()]


@operation("node.remove")
def remove(call: Call) -> Json:
    """Forget a node."""
    title = call.arguments.text("ae_title")
    call.arguments.finish()
    nodes = call.archive.nodes
    node = nodes.node(title)
    if node is None:
        raise RecordMissing("no node of that name")
    facts = {"change": "node-removed", **_described(node)}
    call.change(facts, f"node {title} removed", Alert.NETWORK_CONFIGURATION, lambda: nodes.remove(title))
    return _described(node)


def _described(node: NodeRecord) -> dict[str, Json]:
    """A node as the operator and the ledger are shown it."""
    identity = node.identity
    end = None if node.certificate is None else x509.load_der_x509_certificate(node.certificate).not_valid_after_utc
    return {
        "ae_title": identity.name,
        "ae_titles": sorted(identity.ae_titles),
        "roles": sorted(identity.roles),
        "identity": identity.identity.value,
        "identity_types": None if identity.identity_types is None else sorted(identity.identity_types),
        "asserts_users": sorted(identity.asserts_roles),
        "trust": identity.trust.value,
        "fingerprint": identity.fingerprint,
        "not_after": None if end is None else end.isoformat(),
        "host": node.host,
        "port": node.port,
        "commitment": node.commitment.value,
    }


def _material(issued: IssuedNode) -> dict[str, Json]:
    files = (issued.key_pem, issued.chain_pem, issued.trust_pem)
    return {name: data.decode("ascii") for name, data in zip(MATERIAL, files, strict=True)}


def _der(presented: str | None) -> bytes | None:
    """A certificate as it stands in a request."""
    if presented is None:
        return None
    try:
        return base64.b64decode(presented, validate=True)
    except binascii.Error:
        raise UsageInvalid("certificate must be base64 of DER") from None


def _chosen(kind: type[Choice], value: str, name: str) -> Choice:
    try:
        return kind(value)
    except ValueError:
        raise UsageInvalid(f"{name} must be one of {', '.join(str(member.value) for member in kind)}") from None
