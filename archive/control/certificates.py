"""Operations on certificates: ours and those of nodes."""

from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509

from archive.audit.events import Alert
from archive.certificates import Held, held_by
from archive.control.nodes import MATERIAL
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.errors import UsageInvalid
from auth.errors import RecordMissing
from auth.node.authority import IssuedNode
from auth.ports import NodeRecord, Revoked
from auth.principal import NodeTrust
from storage import disk

MAX_OVERLAP_DAYS: Final = 365
_WHY_LENGTH: Final = 200


@operation("cert.list")
def listed(call: Call) -> Json:
    """Every certificate of ours and of nodes, and what was revoked."""
    call.arguments.finish()
    now = datetime.now(UTC)
    present = [_described(one, now) for one in held_by(call.archive.authority.files, call.archive.nodes)]
    return present + [_gone(one) for one in call.archive.nodes.revocations()]


@operation("cert.issue")
def issue(call: Call) -> Json:
    """Give an issued node one more certificate; those that it has stay good."""
    title = call.arguments.text("ae_title")
    call.arguments.finish()
    return _certified(call, title, None, "issued")


@operation("cert.renew")
def renew(call: Call) -> Json:
    """Give an issued node a new certificate, the former one being good for some days more."""
    title = call.arguments.text("ae_title")
    overlap = call.arguments.optional_number("overlap_days")
    call.arguments.finish()
    days = 7 if overlap is None else overlap
    if not 0 <= days <= MAX_OVERLAP_DAYS:
        raise UsageInvalid(f"the overlap is 0 to {MAX_OVERLAP_DAYS} days")
    return _certified(call, title, datetime.now(UTC) + timedelta(days=days), "renewed")


@operation("cert.renew-server")
def renew_server(call: Call) -> Json:
    """Make our server's certificates anew; a running server takes them at once, and no association is lost."""
    call.arguments.finish()
    authority = call.archive.authority
    renewed = authority.renewed_servers()

    def write() -> None:
        for name, data in renewed.items():
            disk.overwrite(authority.files.directory / name, data)

    ends = max(x509.load_pem_x509_certificate(data).not_valid_after_utc for data in renewed.values()).isoformat()
    facts = {"change": "certificate-renewed", "certificate": "server", "not_after": ends}
    call.change(facts, f"the server's certificates renewed, until {ends}", Alert.SECURITY_CONFIGURATION, write)
    return {"not_after": ends}


@operation("cert.revoke")
def revoke(call: Call) -> Json:
    """Accept certificates of a node no more, one or all; its live associations end."""
    which = call.arguments.text("which")
    why = call.arguments.text("why").strip()[:_WHY_LENGTH]
    call.arguments.finish()
    if not why.isprintable() or not why:
        raise UsageInvalid("why must say in one line why the certificate is revoked")
    now = datetime.now(UTC)
    nodes, authority = call.archive.nodes, call.archive.authority
    chosen = tuple(
        Revoked(one.fingerprint, one.certificate.serial_number, one.name, now, why)
        for one in held_by(authority.files, nodes)
        if one.of_node and which.lower() in (one.name.lower(), one.fingerprint)
    )
    if not chosen:
        raise RecordMissing("no node of that name, and no certificate of that fingerprint")
    issued = [(one.serial, one.moment) for one in (*nodes.revocations(), *chosen)]
    published = authority.revocation_list(issued)

    def take_effect() -> None:
        nodes.revoke(chosen)
        disk.overwrite(authority.files.revoked, published)

    fingerprints = [one.fingerprint for one in chosen]
    facts = {"change": "certificate-revoked", "node": chosen[0].node, "fingerprints": fingerprints, "why": why}
    words = f"{len(chosen)} certificate(s) of node {chosen[0].node} revoked: {why}"
    call.change(facts, words, Alert.NETWORK_CONFIGURATION, take_effect)
    return [_gone(one) for one in chosen]


def _certified(call: Call, title: str, until: datetime | None, how: str) -> Json:
    node = _issued_node(call, title)
    made = call.archive.authority.issue_node(title)
    facts = {
        "change": f"certificate-{how}",
        "node": title,
        "fingerprint": made.fingerprint,
        "not_after": made.not_after.isoformat(),
    }
    call.change(
        facts,
        f"certificate of node {title} {how}, until {made.not_after.date().isoformat()}",
        Alert.NETWORK_CONFIGURATION,
        lambda: call.archive.nodes.certify(title, made.fingerprint, made.certificate, until),
    )
    former = node.identity.fingerprint
    ends = until.isoformat() if until is not None and former is not None else None
    return {**facts, "former": former, "former_until": ends, "material": _material(made)}


def _issued_node(call: Call, title: str) -> NodeRecord:
    node = call.archive.nodes.node(title)
    if node is None:
        raise RecordMissing("no node of that name")
    if node.identity.trust is not NodeTrust.ISSUED:
        raise UsageInvalid(f"{title} is a {node.identity.trust.value} node: its certificates are not issued here")
    return node


def _material(made: IssuedNode) -> dict[str, Json]:
    files = (made.key_pem, made.chain_pem, made.trust_pem)
    return {name: data.decode("ascii") for name, data in zip(MATERIAL, files, strict=True)}


def _described(one: Held, now: datetime) -> dict[str, Json]:
    return {
        "name": one.name,
        "whose": "node" if one.of_node else "ours",
        "state": one.state(now).value,
        "not_before": one.certificate.not_valid_before_utc.isoformat(),
        "not_after": one.ends.isoformat(),
        "fingerprint": one.fingerprint,
        "serial": f"{one.certificate.serial_number:x}",
        "why": None,
    }


def _gone(one: Revoked) -> dict[str, Json]:
    return {
        "name": one.node,
        "whose": "node",
        "state": "revoked",
        "not_before": None,
        "not_after": one.moment.isoformat(),
        "fingerprint": one.fingerprint,
        "serial": f"{one.serial:x}",
        "why": one.why,
    }
