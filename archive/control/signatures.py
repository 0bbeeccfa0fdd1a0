"""Operations on the signatures of what is kept."""

from collections.abc import Callable
from contextlib import ExitStack

from archive.bootstrap import Archive
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.errors import UsageInvalid
from archive.signatures.wording import summary, with_references
from storage.identifiers import uid
from storage.integrity.references import Found, check_reference, secure_references
from storage.integrity.verifier import verify_signatures
from storage.transfer_syntax import transfer_syntax


@operation("signature.verify")
def verify(call: Call) -> Json:
    """Check every signature of an object as it would leave the archive, and what it says of other objects."""
    instance = uid(call.arguments.text("sop_instance_uid"))
    call.arguments.finish()
    archive = call.archive
    kept = archive.repository.reader.lookup([instance]).get(instance)
    if kept is None:
        raise UsageInvalid("no such object is kept: check the SOP Instance UID")
    trust = archive.receipt.trust()
    with archive.repository.open(kept.stored) as leaving:
        syntax = transfer_syntax(kept.stored.transfer_syntax)
        found = summary(verify_signatures(leaving.chunks, syntax, trust))
        references = secure_references(leaving.chunks, syntax)
    with ExitStack() as held:
        told = [one for reference in references for one in check_reference(reference, _finder(archive, held), trust)]
    return with_references(found, told)


def _finder(archive: Archive, held: ExitStack) -> Callable[[str], Found | None]:
    """Finds referenced objects among those that are kept, and lets go of the one before."""

    def find(instance: str) -> Found | None:
        held.close()
        kept = archive.repository.reader.lookup([instance]).get(instance)
        if kept is None:
            return None
        leaving = held.enter_context(archive.repository.original(kept.stored))
        return leaving.chunks, transfer_syntax(kept.stored.transfer_syntax)

    return find
