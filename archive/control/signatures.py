"""Operations on the signatures of what is kept."""

from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.errors import UsageInvalid
from archive.signatures.wording import summary
from storage.identifiers import uid
from storage.integrity.verifier import verify_signatures
from storage.transfer_syntax import transfer_syntax


@operation("signature.verify")
def verify(call: Call) -> Json:
    """Check every signature of an object as it would leave the archive."""
    instance = uid(call.arguments.text("sop_instance_uid"))
    call.arguments.finish()
    archive = call.archive
    kept = archive.repository.reader.lookup([instance]).get(instance)
    if kept is None:
        raise UsageInvalid("no such object is kept: check the SOP Instance UID")
    with archive.repository.open(kept.stored) as leaving:
        syntax = transfer_syntax(kept.stored.transfer_syntax)
        return summary(verify_signatures(leaving.chunks, syntax, archive.receipt.trust()))
