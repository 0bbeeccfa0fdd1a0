"""The operation that writes a Key Object note over a study, and files it with the study."""

from archive.audit.events import Actor
from archive.bootstrap import Archive
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.errors import UsageInvalid
from archive.services.store import provenance_of
from archive.signatures.note import KEY_OBJECT, Note, Referenced, first_of, key_object_note
from storage.clock import now
from storage.identifiers import Uid, uid
from storage.index.predicate import EVERYTHING, Compare
from storage.instance import DeclaredInstance, StoredInstance
from storage.integrity.profiles import AUTHOR, Profile
from storage.integrity.references import object_mac
from storage.integrity.signing import ObjectSigner, SignatureOrder
from storage.integrity.splice import spliced
from storage.integrity.verifier import verify_signatures
from storage.transfer_syntax import EXPLICIT_LITTLE, transfer_syntax


@operation("study.note")
def note(call: Call) -> Json:
    """Write a note that refers to every object of a study by signature and MAC, signed by the archive (PS3.15 C.4)."""
    study_uid = uid(call.arguments.text("study_uid"))
    call.arguments.finish()
    archive = call.archive
    of_study = Compare("study_uid", "==", study_uid)
    kept = [
        one for one in archive.repository.reader.instances(of_study, EVERYTHING) if one.key.sop_class_uid != KEY_OBJECT
    ]
    if not kept:
        raise UsageInvalid("no object of that study is kept: check the Study Instance UID")
    moment = now()
    referenced = [_referenced(archive, one) for one in kept]
    with archive.repository.original(kept[0]) as leaving:
        first = first_of(leaving.chunks(), kept[0].transfer_syntax)
    made = key_object_note(first, referenced, archive.settings.archive.ae_title, moment)
    syntax = transfer_syntax(EXPLICIT_LITTLE)
    signer = ObjectSigner(archive.signing.key, archive.authority.signer_certificate)
    order = SignatureOrder(Profile.REPORT, purpose=AUTHOR)
    splices = signer.sign(lambda: [made.data], syntax, order, moment).splices
    _filed(archive, call.operator.actor, made, b"".join(bytes(piece) for piece in spliced([made.data], splices)))
    return {"study_uid": study_uid, "sop_instance_uid": made.sop_instance_uid, "objects": len(referenced)}


def _referenced(archive: Archive, stored: StoredInstance) -> Referenced:
    """An object by our signature of it, read from what leaves, and by a MAC over all that may be signed."""
    syntax = transfer_syntax(stored.transfer_syntax)
    with archive.repository.original(stored) as leaving:
        ours = leaving.trailer.signature_uid
        reports = verify_signatures(leaving.chunks, syntax, archive.receipt.trust())
        (report,) = [report for report in reports if report.uid == ours and not report.path]
        if not report.valid:
            raise UsageInvalid(f"the signature of {stored.key.sop_instance_uid} is {report.verdict.value}: run verify")
        tags, mac = object_mac(leaving.chunks, syntax)
    return Referenced(stored.key, ours, report.value, tags, mac, syntax.mac_syntax)


def _filed(archive: Archive, actor: Actor, made: Note, data: bytes) -> None:
    """Store the note like any object, with the operator as its sender."""
    declared = DeclaredInstance(Uid(KEY_OBJECT), made.sop_instance_uid, EXPLICIT_LITTLE)
    intake = archive.repository.begin(declared)
    try:
        intake.write(data)
        received = intake.finish()
        provenance = provenance_of(actor, received)
        archive.repository.commit(archive.repository.seal(received, provenance), provenance)
    finally:
        intake.discard()
