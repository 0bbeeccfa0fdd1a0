"""What a check of signatures found, in plain words and as JSON-ready values."""

from collections.abc import Sequence
from typing import Any

from pydicom.datadict import keyword_for_tag

from storage.integrity.mac_walk import Path
from storage.integrity.profiles import PURPOSES, Profile
from storage.integrity.references import Proof, ReferenceReport
from storage.integrity.signature_report import SignatureReport
from storage.integrity.signed_item import Verdict
from storage.integrity.trust import SignerTrust

GOOD = frozenset({Verdict.VALID, Verdict.WEAK})
_SHOWN = 6


def good(reports: Sequence[SignatureReport]) -> bool:
    """Whether somebody who is trusted signed, and no signature is wrong."""
    wrong = any(report.verdict in (Verdict.INVALID, Verdict.OUTSIDE_VALIDITY, Verdict.REVOKED) for report in reports)
    return any(report.verdict in GOOD for report in reports) and not wrong


def described(report: SignatureReport) -> dict[str, Any]:
    """One signature, JSON-ready."""
    return {
        "uid": report.uid,
        "path": [list(step) for step in report.path],
        "verdict": report.verdict.value,
        "valid": report.valid,
        "reason": report.reason,
        "signer": report.signer,
        "trust": report.trust.value,
        "key": report.key,
        "mac_algorithm": report.mac_algorithm,
        "weak": report.weak,
        "time": report.moment.isoformat() if report.moment else None,
        "timestamp": report.stamp.time.isoformat() if report.stamp else None,
        "timestamp_by": report.stamp.name if report.stamp else "",
        "timestamp_fault": report.stamp_fault,
        "purpose": report.purpose,
        "profiles": [profile.value for profile in report.profiles],
        "elements": len(report.signed_tags),
        "signed": [f"{tag:08x}" for tag in report.signed_tags],
        "missing": [f"{tag:08x}" for tag in report.missing],
        "uncovered": [{"tag": f"{it.tag:08x}", "reason": it.reason} for it in report.uncovered],
    }


def told(report: SignatureReport) -> list[str]:
    """One signature, in lines for a person."""
    state = report.verdict.value if report.verdict in GOOD else report.verdict.value.upper()
    lines = [f"{state}: {place_of(report.path)}, signed by {report.signer or 'nobody who can be read'}"]
    if report.reason:
        lines.append(f"  because {report.reason}")
    facts = [report.mac_algorithm, report.key]
    if report.purpose:
        facts.append(PURPOSES[report.purpose])
    if report.profiles and report.profiles != (Profile.BASE,):
        facts.append("profiles " + ", ".join(profile.value for profile in report.profiles))
    if report.trust is SignerTrust.ARCHIVE:
        facts.append("a signer of this archive")
    lines.append("  " + ", ".join(fact for fact in facts if fact))
    if report.moment:
        lines.append(f"  says it was made {report.moment.isoformat(timespec='seconds')}")
    if report.stamp:
        lines.append(f"  existed at {report.stamp.time.isoformat(timespec='seconds')}, stamped by {report.stamp.name}")
    elif report.stamp_fault:
        lines.append(f"  {report.stamp_fault}")
    if report.missing:
        lines.append(f"  signs elements that are not there: {_tags(report.missing)}")
    lines.append(f"  covers {len(report.signed_tags)} elements")
    left_out = [left.tag for left in report.uncovered]
    lines.append(f"  does NOT cover {_tags(left_out)}" if left_out else "  covers everything at its level")
    return lines


def summary(reports: Sequence[SignatureReport]) -> dict[str, Any]:
    """All signatures of an object: whether they are good, each of them JSON-ready, and lines for a person."""
    lines = [line for report in reports for line in told(report)]
    return {
        "good": good(reports),
        "signatures": [described(report) for report in reports],
        "lines": [*lines, verdict_of(reports)],
    }


def with_references(found: dict[str, Any], told: Sequence[ReferenceReport]) -> dict[str, Any]:
    """The summary of an object, and what it says of others (PS3.3 Table C.17-3a)."""
    if not told:
        return {**found, "references": []}
    wrong = [one for one in told if one.proof in (Proof.INVALID, Proof.MISSING)]
    lines = [f"{one.proof.value}: {one.kind} of {one.sop_instance_uid}, {one.reason}" for one in wrong]
    lines.append(f"{len(told) - len(wrong)} of {len(told)} statements about other objects hold")
    return {
        "good": found["good"] and not wrong,
        "signatures": found["signatures"],
        "references": [
            {"sop_instance_uid": one.sop_instance_uid, "kind": one.kind, "proof": one.proof.value, "reason": one.reason}
            for one in told
        ],
        "lines": [*found["lines"][:-1], *lines, found["lines"][-1]],
    }


def place_of(path: Path) -> str:
    """Which item is signed."""
    if not path:
        return "the whole object"
    return "item " + ".".join(f"{_name(tag)}[{number}]" for tag, number in path)


def verdict_of(reports: Sequence[SignatureReport]) -> str:
    """All signatures of an object, in one line."""
    if not reports:
        return "not signed"
    if good(reports):
        return "good: signed by a signer you trust, and what is covered is unaltered since"
    count = sum(report.verdict is Verdict.INVALID for report in reports)
    if count:
        return f"{count} of {len(reports)} signatures are broken"
    worst = {report.verdict.value for report in reports} - {verdict.value for verdict in GOOD}
    return f"no signature to rely on: {', '.join(sorted(worst))}"


def _tags(tags: Sequence[int]) -> str:
    names = ", ".join(map(_name, tags[:_SHOWN]))
    return f"{names} and {len(tags) - _SHOWN} more" if len(tags) > _SHOWN else names


def _name(tag: int) -> str:
    return keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
