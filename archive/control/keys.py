"""Operations on the archive's keys: which there are, and the next ones."""

from cryptography import x509

from archive.audit.events import Alert
from archive.control.operations import Call, operation
from archive.control.protocol import Json


@operation("keys.list")
def listed(call: Call) -> Json:
    """Every signer there ever was, and every key-encryption key; no secret."""
    call.arguments.finish()
    signing, keyring = call.archive.signing, call.archive.keyring
    signers = [x509.load_der_x509_certificate(one) for one in signing.certificates]
    return {
        "signers": [
            {
                "current": number == 0,
                "subject": one.subject.rfc4514_string(),
                "serial": f"{one.serial_number:x}",
                "from": one.not_valid_before_utc.date().isoformat(),
                "until": one.not_valid_after_utc.date().isoformat(),
                "kept_in": ("token" if signing.in_token else "file") if number == 0 else "",
            }
            for number, one in enumerate(signers)
        ],
        "key_encryption_keys": [
            {"id": one.hex(), "current": one == keyring.current_id} for one in keyring.wrapping_ids
        ],
    }


@operation("keys.rotate-signer")
def rotate_signer(call: Call) -> Json:
    """Sign with a new key from now on. What former ones signed stays valid."""
    call.arguments.finish()
    signing = call.archive.signing
    rotation = signing.rotation()
    subject, former = rotation.certificate.subject.rfc4514_string(), signing.authority.signer.subject.rfc4514_string()
    facts = {"change": "signer-rotated", "signer": subject, "former": former}
    words = f"objects and statements are signed by {subject} from now on, by {former} before"
    call.change(facts, words, Alert.SECURITY_CONFIGURATION, rotation.take_effect)
    call.archive.intakes.renew()
    return {"signer": subject, "former": former, "kept_in": "token" if signing.in_token else "file"}


@operation("keys.rotate-encryption")
def rotate_encryption(call: Call) -> Json:
    """Wrap the keys of new objects under a new key-encryption key. What is kept stays readable under those before."""
    call.arguments.finish()
    keyring, settings = call.archive.keyring, call.archive.settings
    path = call.archive.home.inside(settings.keys.keyring)
    facts = {"change": "key-encryption-key-rotated", "former": keyring.current_id.hex()}
    words = "the keys of new objects are wrapped under a new key-encryption key from now on"
    key_id = call.change(facts, words, Alert.SECURITY_CONFIGURATION, lambda: keyring.rotate(path))
    call.archive.intakes.renew()
    return {"id": key_id.hex(), "keyring": str(path)}
