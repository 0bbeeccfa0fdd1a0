"""What taking in one CT costs with each kind of signing key: P-256, RSA-2048 and RSA-3072, side by side in one process.

RSA-3072 is what the archive uses. P-256 has no profile in DICOM (PS3.15 C.1 to C.4 are RSA); it is here to be compared.
"""

import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from storage.blobs.filesystem import FilesystemBlobs
from storage.crypto.keyring import Keyring
from storage.health import Health
from storage.identifiers import Uid, new_object_id
from storage.ingest.intake import IntakeHere, IntakeTools
from storage.instance import DeclaredInstance
from storage.integrity.signature import Signer
from tests.simulators.dicom_files import read

_EACH = 40
_MAKE = {
    "RSA-3072": lambda: rsa.generate_private_key(65537, 3072),
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
    "P-256 (no DICOM profile)": lambda: ec.generate_private_key(ec.SECP256R1()),
}


def run(rounds: int, file: Path) -> dict[str, object]:
    """Milliseconds of one thread from the first byte to the synced file; a ratio above 1: that key is cheaper."""
    object_ = read(file)
    if object_ is None:
        raise SystemExit(f"{file} is not an object")
    declared = DeclaredInstance(Uid(object_.sop_class), Uid(object_.instance), object_.syntax)
    keys = {name: make() for name, make in _MAKE.items()}
    times: dict[str, list[float]] = {name: [] for name in keys}
    with tempfile.TemporaryDirectory(prefix="strongroom-keys-") as work:
        folder = Path(work)
        keyring = Keyring.create(folder / "keyring.json")
        blobs = FilesystemBlobs(folder / "blobs", reserve_bytes=0)
        for _ in range(rounds):
            for name, key in keys.items():
                tools = IntakeTools(blobs, keyring, Signer(key, os.urandom(1100)))
                times[name].append(_taken_in(tools, declared, object_.data))
    base = times["RSA-3072"]
    others = {name: measured for name, measured in times.items() if name != "RSA-3072"}
    ratios = [one / other for measured in others.values() for one, other in zip(base, measured, strict=True)]
    return {
        "name": "signing-keys",
        "unit": "ms/object",
        "ours": round(statistics.median(base), 2),
        "peers": {name: round(statistics.median(measured), 2) for name, measured in others.items()},
        "ratio": {
            name: round(statistics.median(base) / statistics.median(measured), 2) for name, measured in others.items()
        },
        "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "rounds": rounds,
    }


def _taken_in(tools: IntakeTools, declared: DeclaredInstance, data: bytes) -> float:
    """The median over some objects, in milliseconds."""
    taken = []
    for _ in range(_EACH):
        begun = time.perf_counter()
        intake = IntakeHere(tools, declared, new_object_id(), Health())
        for start in range(0, len(data), 131_072):
            intake.write(memoryview(data)[start : start + 131_072])
        intake.seal(intake.finish(), {}, datetime.now(UTC))
        taken.append((time.perf_counter() - begun) * 1000)
        intake.discard()
    return statistics.median(taken)
