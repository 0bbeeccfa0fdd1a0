"""Operations on the audit trail."""

from archive.audit.events import AuditLogUsed
from archive.control.operations import Call, operation
from archive.control.protocol import Json


@operation("audit.used")
def audit_used(call: Call) -> Json:
    """Say in the trail that somebody reads it, and what for, before they do (PS3.15 A.5.3.2)."""
    searched = call.arguments.optional_text("searched") or ""
    call.arguments.finish()
    call.archive.audit.record(AuditLogUsed(call.operator.actor, reason=searched))
    return None
