"""Operations on identities."""

from archive.audit.events import Outcome, SecurityAlert
from archive.control.operations import Call, operation
from archive.control.protocol import Json


@operation("identity.tried")
def tried(call: Call) -> Json:
    """Say in the trail that an operator tried a credential, and how that ended, before they see it.

    Nobody is let in by it, so it is no login; but whoever tries passcodes this way, where nothing slows them down, is
    not to do so unseen (Security Alert, use of a restricted function, 110132).
    """
    arguments = call.arguments
    identity_type, name = arguments.text("identity_type"), arguments.optional_text("name")
    verified, reason = arguments.flag("verified"), arguments.text("reason")
    arguments.finish()
    call.archive.audit.record(
        SecurityAlert(
            call.operator.actor,
            Outcome.SUCCESS if verified else Outcome.MINOR_FAILURE,
            reason,
            description=f"identity test: {identity_type} of {name or 'somebody'} "
            + ("verified" if verified else "refused"),
        )
    )
    return None
