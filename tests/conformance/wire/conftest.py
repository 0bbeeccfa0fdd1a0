"""Whom the suite is about: any archive that the environment names, else one of ours, started here.

    CONFORMANCE_PEER=HOST:PORT [CONFORMANCE_CALLED=TITLE] [CONFORMANCE_CALLING=TITLE] [CONFORMANCE_TLS=FOLDER]
    [CONFORMANCE_USER=NAME CONFORMANCE_PASSCODE=...] [CONFORMANCE_LISTEN=PORT] python -m pytest tests/conformance/wire

FOLDER holds {cert,key,ca}.pem; at PORT the archive knows the calling AE title, which is where it moves objects to and
tells of storage commitment. The suite stores a dozen small objects under UIDs of its own, and asks for them.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.simulators.conformance_peer import CT, Peer, image, store
from tests.simulators.running_archive import PASSCODE, RunningArchive, free_port


@pytest.fixture(scope="session")
def peer(tmp_path_factory) -> Iterator[Peer]:
    """Whom the environment names, else ours."""
    named = os.environ.get("CONFORMANCE_PEER")
    if named:
        host, _, port = named.rpartition(":")
        tls = os.environ.get("CONFORMANCE_TLS")
        yield Peer(
            host,
            int(port),
            os.environ.get("CONFORMANCE_CALLED", "ARCHIVE"),
            os.environ.get("CONFORMANCE_CALLING", "CONFORMANCE"),
            Path(tls) if tls else None,
            os.environ.get("CONFORMANCE_USER", ""),
            os.environ.get("CONFORMANCE_PASSCODE", ""),
            int(os.environ.get("CONFORMANCE_LISTEN", "0")),
        )
        return
    archive = RunningArchive(tmp_path_factory.mktemp("conformance")).init()
    with archive.serving():
        port = free_port()
        material = archive.node("WS1", "radiologist", "modality", port=port)
        archive.person("alice", "radiologist", "modality")
        yield Peer("127.0.0.1", archive.port, "STRONGROOM", "WS1", material, "alice", PASSCODE, port)


@pytest.fixture(scope="session")
def stored(peer) -> list[Dataset]:
    """Four studies, the second of two images; the fourth has an accession number."""
    objects = [image(1), image(2), image(2, 2), image(3), image(4, AccessionNumber="ACC_4")]
    with peer.associated((CT, [ExplicitVRLittleEndian])) as association:
        for one in objects:
            assert store(association, one) == 0
    return objects
