"""Operations on what proves objects to somebody else."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from archive.audit.events import AuditLogUsed
from archive.control.operations import Call, operation
from archive.control.protocol import Json
from archive.errors import UsageInvalid
from archive.evidence.making import FORMAT, LedgerReading, object_evidence, other_events
from storage.clock import now
from storage.identifiers import uid


@operation("evidence.study")
def study(call: Call) -> Json:
    """Everything that proves the objects of a study, but the objects themselves."""
    study_uid = uid(call.arguments.text("study_uid"))
    earlier = call.arguments.optional_text("earlier")
    call.arguments.finish()
    archive, signing = call.archive, call.archive.signing
    archive.audit.record(AuditLogUsed(call.operator.actor))
    reading = LedgerReading(archive.home.ledger, archive.keyring.ledger_key, study_uid)
    stored = [record for record in reading.records if record.entry.event == "stored"]
    if not stored:
        raise UsageInvalid("no object of that study is kept: check the Study Instance UID")
    trust = archive.receipt.trust()
    objects = []
    for record in stored:
        instance = str(record.entry.facts["sop_instance_uid"])
        kept = archive.repository.reader.lookup([instance]).get(instance)
        if kept is None:
            continue
        with archive.repository.original(kept.stored) as leaving:
            objects.append(object_evidence(record, reading, leaving, trust))
    moment = now()
    return {
        "format": FORMAT,
        "study_uid": study_uid,
        "made": moment.isoformat(timespec="seconds"),
        "archive": archive.settings.archive.ae_title,
        "checkpoint": reading.checkpoint(signing.statements, moment),
        "signers": [
            x509.load_der_x509_certificate(one).public_bytes(Encoding.PEM).decode("ascii")
            for one in signing.certificates
        ],
        "authority": archive.authority.trust_pem.decode("ascii"),
        **({"consistency": reading.follows(earlier, signing.verifier)} if earlier else {}),
        "events": list(other_events(reading)),
        "objects": objects,
    }
