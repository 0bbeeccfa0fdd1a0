"""scripts/bench: the same load on every server, turn by turn, and the ratio of each round's pair."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from benchmarks import audit_share, big_index, hanging, resources, signing_keys
from benchmarks.servers import Server, Stable, strongroom
from tests.simulators.scu import CT, EXPLICIT, IMPLICIT, STUDY_FIND, STUDY_GET, Requestor, identifier

STORE_PEERS, QUERY_PEERS = ("orthanc", "storescp"), ("orthanc",)


class Objects:
    """Generated CT objects, written once and sent by every round."""

    def __init__(self, work: Path) -> None:
        self._work = work

    def folders(self, name: str, senders: int, each: int, side: int, *, one_study: bool = True) -> list[Path]:
        """One folder of files for each sender; ``side`` pixels square, 16 bits."""
        root = self._work / f"objects-{name}"
        folders = [root / str(sender) for sender in range(senders)]
        if root.exists():
            return folders
        data_set = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
        data_set.Rows = data_set.Columns = side
        data_set.PixelData = os.urandom(side * side * 2)
        data_set.pop("DataSetTrailingPadding", None)
        data_set.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        for folder in folders:
            folder.mkdir(parents=True)
            data_set.StudyInstanceUID, data_set.SeriesInstanceUID = generate_uid(), generate_uid()
            for number in range(each):
                if not one_study:
                    data_set.StudyInstanceUID, data_set.SeriesInstanceUID = generate_uid(), generate_uid()
                    data_set.PatientID = f"P{folder.name}-{number:05d}"
                data_set.SOPInstanceUID = data_set.file_meta.MediaStorageSOPInstanceUID = generate_uid()
                data_set.InstanceNumber = number + 1
                data_set.save_as(folder / f"{number:05d}.dcm")
        return folders


def send(server: Server, folders: list[Path], *, nagle: bool = False) -> float:
    """Send every folder by a storescu of its own, at once; seconds. ``nagle``: as DCMTK does unless told otherwise."""
    node = server.nodes / "SENDER"
    base = ["/usr/bin/storescu", "-q", "-aet", "SENDER", "-aec", server.title, "+sd", "--max-send-pdu", "131072"]
    base += [
        "+tls",
        str(node / "key.pem"),
        str(node / "cert.pem"),
        "+cf",
        str(node / "ca.pem"),
        "127.0.0.1",
        str(server.port),
    ]
    environment = os.environ | ({} if nagle else {"TCP_NODELAY": "1"})
    begun = time.perf_counter()
    senders = [
        subprocess.Popen([*base, str(folder)], env=environment, stderr=subprocess.PIPE, text=True) for folder in folders
    ]
    for sender in senders:
        _, said = sender.communicate(timeout=600)
        if sender.returncode:
            raise SystemExit(f"{server.name}: storescu failed: {said[-400:]}")
    return time.perf_counter() - begun


PATIENT_ID, PATIENT_NAME, STUDY_DATE, STUDY_UID = 0x00100020, 0x00100010, 0x00080020, 0x0020000D


@dataclass(frozen=True)
class Measurement:
    """One name of the bench: its unit, who takes part, and how one server is measured. Above 1 is in our favour."""

    name: str
    unit: str
    peers: tuple[str, ...]
    measure: Callable[[Server, Objects], float]
    prepare: Callable[[Server, Objects], None] | None = None
    """Done once to each server, which then serves every round; without it each round has a server of its own."""
    less_is_better: bool = False
    own_settings: bool = False
    """The peers are started as they are installed, without TCP_NODELAY."""


def storing(
    senders: int, each: int, side: int, name: str, *, nagle: bool = False
) -> Callable[[Server, Objects], float]:
    """Objects per second over mutual TLS."""

    def measure(server: Server, objects: Objects) -> float:
        return senders * each / send(server, objects.folders(name, senders, each, side), nagle=nagle)

    return measure


def using_processors(senders: int, each: int) -> Callable[[Server, Objects], float]:
    """Milliseconds of processor time that the server spends on one stored CT object."""

    def measure(server: Server, objects: Objects) -> float:
        before = resources.processor_seconds(server)
        send(server, objects.folders("cpu", senders, each, 512))
        return 1000 * (resources.processor_seconds(server) - before) / (senders * each)

    return measure


def using_memory(server: Server, objects: Objects) -> float:
    """MiB above idle while one object of 500 MB is stored."""
    send(server, objects.folders("warm", 1, 1, 16))
    folders = objects.folders("huge", 1, 1, 16_200)
    with resources.Peak(server) as peak:
        send(server, folders)
    return peak.mebibytes


def reader(server: Server, model: str, *objects: str) -> Requestor:
    """A workstation's association, with a person where the server knows any."""
    contexts = [(model, [IMPLICIT]), *((sop_class, [EXPLICIT]) for sop_class in objects)]
    tls = server.tls("READER")
    return Requestor(server.port, tls, "READER", server.title, contexts, server.user, scp_roles=objects)


FETCHED = 500
"""CT objects of the study that is fetched."""


def fetching(server: Server, objects: Objects) -> float:
    """Objects per second by C-GET of one study."""
    folders = objects.folders("get", 1, FETCHED, 512)
    send(server, folders)
    study = str(pydicom.dcmread(folders[0] / "00000.dcm", stop_before_pixels=True).StudyInstanceUID)
    with reader(server, STUDY_GET, CT) as workstation:
        begun = time.perf_counter()
        received, _ = workstation.get(STUDY_GET, identifier("STUDY", {STUDY_UID: study}))
        elapsed = time.perf_counter() - begun
    if len(received) != FETCHED:
        raise SystemExit(f"{server.name}: C-GET sent {len(received)} of {FETCHED} objects")
    return len(received) / elapsed


STUDIES = 10_000


def many_studies(server: Server, objects: Objects) -> None:
    """What queries are measured over: one small object in each of many studies."""
    send(server, objects.folders("find", 4, STUDIES // 4, 16, one_study=False))


def finding(every: bool) -> Callable[[Server, Objects], float]:
    """Matches per second of a universal query, or queries per second by Patient ID."""

    def measure(server: Server, objects: Objects) -> float:
        times = []
        expected = STUDIES if every else 1
        with reader(server, STUDY_FIND) as workstation:
            for number in range(3 if every else 50):
                wanted = "" if every else f"P{number % 4}-{number:05d}"
                keys = {STUDY_UID: "", PATIENT_NAME: "", STUDY_DATE: "", PATIENT_ID: wanted}
                begun = time.perf_counter()
                found = workstation.count(STUDY_FIND, identifier("STUDY", keys))
                times.append(time.perf_counter() - begun)
                if found != expected:
                    raise SystemExit(f"{server.name}: {found} matches")
        return expected / statistics.median(times)

    return measure


MEASUREMENTS = (
    Measurement("store-ct", "objects/s", STORE_PEERS, storing(4, 50, 512, "ct4")),
    Measurement("store-ct-1", "objects/s", STORE_PEERS, storing(1, 100, 512, "ct1")),
    Measurement("store-small", "objects/s", STORE_PEERS, storing(4, 150, 16, "small4")),
    Measurement("store-small-1", "objects/s", STORE_PEERS, storing(1, 300, 16, "small1")),
    Measurement("store-multiframe", "objects/s", STORE_PEERS, storing(1, 4, 5_000, "multiframe")),
    Measurement("store-nagle", "objects/s", STORE_PEERS, storing(1, 60, 70, "nagle", nagle=True), own_settings=True),
    Measurement("get-ct", "objects/s", QUERY_PEERS, fetching),
    Measurement("find-id", "queries/s", QUERY_PEERS, finding(every=False), many_studies),
    Measurement("find-all", "matches/s", QUERY_PEERS, finding(every=True), many_studies),
    Measurement("associate", "associations/s", STORE_PEERS, lambda server, _: resources.associating(server)),
    Measurement("cpu", "ms/object", STORE_PEERS, using_processors(4, 50), less_is_better=True),
    Measurement("memory", "MiB", STORE_PEERS, using_memory, less_is_better=True),
    Measurement("idle", "% of a cpu", STORE_PEERS, lambda server, _: resources.idling(server), less_is_better=True),
)


AUDIT_SHARE = "audit-share"
"""Against itself without an audit trail: what is left of the throughput of stores."""
INDEXES = (big_index.SQLITE, big_index.POSTGRESQL)
"""A big index, by itself and only where it is asked for: it takes minutes to make."""
SIGNING_KEYS = "signing-keys"
"""Against itself: what taking in a CT costs with each kind of signing key (above 1: that key is cheaper than ours)."""
HANGING = "hanging-directory"
"""Against itself: the set-up of associations while others hang on a silent directory (here below 1 is better)."""


def features_were_on(server: Server) -> None:
    """What was measured signed, sealed, recorded and audited every object; anything less is no measurement."""
    home = ["--home", str(server.folder)]
    strongroom("verify", "--full", *home)
    ledger = b"".join(path.read_bytes() for path in (server.folder / "ledger").rglob("*") if path.is_file())
    stored = ledger.count(b'"stored"')
    told = sum(
        record["kind"] == "instance-stored" for record in json.loads(strongroom("audit", "show", "--json", *home))
    )
    if told != stored:
        raise SystemExit(f"a feature was off: {stored} objects in the ledger, {told} in the audit trail")


class Kept:
    """Servers that were prepared once, by what was done to them."""

    def __init__(self, stable: Stable, objects: Objects) -> None:
        self._stable = stable
        self._objects = objects
        self._servers: dict[tuple[str, object], Server] = {}

    def server(self, name: str, prepare: Callable[[Server, Objects], None]) -> Server:
        """The server of this name with this done to it."""
        if (name, prepare) not in self._servers:
            server = self._servers[name, prepare] = self._stable.start(name)
            prepare(server, self._objects)
        return self._servers[name, prepare]

    def stop(self) -> None:
        """Stop them all."""
        for server in self._servers.values():
            server.stop()

    def check(self) -> None:
        """See that ours did everything that it does, once it is stopped."""
        for (name, _), server in self._servers.items():
            if name == "strongroom":
                features_were_on(server)


def run(measurement: Measurement, rounds: int, stable: Stable, objects: Objects, kept: Kept) -> dict[str, object]:
    """Interleaved rounds of one measurement: ours, each peer, ours, each peer, …"""
    values: dict[str, list[float]] = {name: [] for name in ("strongroom", *measurement.peers)}
    for _ in range(rounds):
        for name, measured in values.items():
            if measurement.prepare is not None:
                measured.append(measurement.measure(kept.server(name, measurement.prepare), objects))
                continue
            server = stable.start(name, nodelay=not measurement.own_settings)
            try:
                measured.append(measurement.measure(server, objects))
            finally:
                server.stop()
            if name == "strongroom":
                features_were_on(server)
    ours = values.pop("strongroom")
    power = -1 if measurement.less_is_better else 1
    ratios = {
        name: [(mine / theirs) ** power for mine, theirs in zip(ours, peer, strict=True)]
        for name, peer in values.items()
    }
    first = ratios[measurement.peers[0]]
    return {
        "name": measurement.name,
        "unit": measurement.unit,
        "ours": round(statistics.median(ours), 1),
        "peers": {name: round(statistics.median(peer), 1) for name, peer in values.items()},
        "ratio": {name: round(statistics.median(ratio), 2) for name, ratio in ratios.items()},
        "spread": [round(min(first), 2), round(max(first), 2)],
        "rounds": rounds,
    }


def told(result: dict[str, Any]) -> None:
    """One line of what was measured."""
    ratios = ", ".join(f"{ratio} x {peer}" for peer, ratio in result["ratio"].items())
    low, high = result["spread"]
    print(f"{result['name']:14} {result['ours']:>9} {result['unit']:10} {ratios}  [{low}-{high}]", flush=True)


def main() -> int:
    """Run the named measurements, or all."""
    known = {measurement.name: measurement for measurement in MEASUREMENTS}
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    every = ", ".join((*known, HANGING, AUDIT_SHARE, SIGNING_KEYS, *INDEXES))
    parser.add_argument("names", nargs="*", metavar="NAME", help=every)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--studies", type=int, default=1_000_000, help="in the big indexes; five objects each")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    names = [*known, HANGING, AUDIT_SHARE, SIGNING_KEYS]
    unknown = set(arguments.names) - {*names, *INDEXES}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join((*names, *INDEXES))}")
    results: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as work:
        stable, objects = Stable(Path(work)), Objects(Path(work))
        kept = Kept(stable, objects)

        def measured(name: str) -> list[dict[str, object]]:
            if name in INDEXES:
                return big_index.run(name, arguments.studies, arguments.rounds, Path(work))
            if name == HANGING:
                return [hanging.run(arguments.rounds, stable, Path(work))]
            if name == SIGNING_KEYS:
                (folder,) = objects.folders("ct-key", 1, 1, 512)
                return [signing_keys.run(arguments.rounds, next(folder.iterdir()))]
            if name == AUDIT_SHARE:
                load = partial(storing(4, 50, 512, "ct4"), objects=objects)
                return [audit_share.run(arguments.rounds, stable, load)]
            return [run(known[name], arguments.rounds, stable, objects, kept)]

        try:
            for name in arguments.names or names:
                made = measured(name)
                results += made
                if not arguments.json:
                    for result in made:
                        told(result)
        finally:
            kept.stop()
        kept.check()
    if arguments.json:
        print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
