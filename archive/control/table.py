"""The whole table of operations: importing this has entered every one of them."""

from archive.control import (
    certificates,
    decisions,
    evidence,
    glass,
    identity,
    keys,
    metrics,
    nodes,
    notes,
    proof,
    rebuild,
    signatures,
    studies,
    trail,
    users,
)
from archive.control.operations import perform

__all__ = [
    "certificates",
    "decisions",
    "evidence",
    "glass",
    "identity",
    "keys",
    "metrics",
    "nodes",
    "notes",
    "perform",
    "proof",
    "rebuild",
    "signatures",
    "studies",
    "trail",
    "users",
]
