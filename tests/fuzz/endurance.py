"""Invariant: any bytes give valid PDUs or a coded status back, or a clean close; nothing crashes, hangs or grows.

Run for as long as you like, on as many seeds; `tests/fuzz/test_front_door_bytes.py` runs a share of it in every suite:

    python -m tests.fuzz.endurance --pdus 5000000 --data-sets 200000 [--seed N] [--seeds FOLDER] [--json]
"""

import argparse
import json
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import structlog

from storage.errors import StorageError
from storage.index.columns import WANTED
from storage.index.rows import key_of, rows_of
from storage.instance import DeclaredInstance, Inspection
from storage.integrity.inspection import DataSetInspector
from storage.transfer_syntax import transfer_syntax
from tests.simulators.conversations import Speaker
from tests.simulators.fuzzed_archive import PATIENCE_SECONDS, FuzzedArchive
from tests.simulators.scu import CT

_PIECES = (7, 100, 1_000_000)
_LONGEST_SEEDS = 20_000
"""Conversations that one speaker makes, so that a failure is found again in little time."""


@dataclass
class Run:
    """What was tried, and what came of it."""

    seed: int
    pdus: int = 0
    conversations: int = 0
    data_sets: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    responses: int = 0
    accepted: int = 0
    """Data sets that were read to their end."""
    refused: Counter[str] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    """Of processor time, one conversation or data set."""
    memory: list[int] = field(default_factory=list)
    """MiB of this process after each tenth of the conversations, and at the end of all."""
    seconds: float = 0.0


def converse(archive: FuzzedArchive, run: Run, pdus: int, seeds: tuple[bytes, ...] = ()) -> Iterator[None]:
    """Hold conversations until so many PDUs were heard. Raises `AssertionError` naming the speaker's seed."""
    begun = run.pdus
    while run.pdus - begun < pdus:
        seed = run.seed + run.conversations // _LONGEST_SEEDS
        if run.conversations % _LONGEST_SEEDS == 0:
            speaker = Speaker(seed, seeds)
        turns = speaker.conversation()
        try:
            heard = archive.hear(turns, speaker.rng.choice(_PIECES))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, conversation {run.conversations}: {error}: {turns!r}") from error
        run.pdus += heard.pdus
        run.conversations += 1
        run.endings[heard.ending.value] += 1
        run.responses += len(heard.commands)
        run.slowest_seconds = max(run.slowest_seconds, heard.seconds)
        yield


def read_data_sets(run: Run, count: int) -> Iterator[None]:
    """Read so many data sets; each is an `Inspection` or a coded error, the same whatever pieces it came in."""
    speaker = Speaker(run.seed)
    for _ in range(count):
        syntax, data = speaker.data_set()
        begun = time.thread_time()
        one = read_data_set(syntax, data, 262_144)
        other = read_data_set(syntax, data, speaker.rng.choice((1, 7, 64, 1_000)))
        assert one == other, f"read as {one} and, in other pieces, as {other}: {syntax} {data!r}"
        spent = time.thread_time() - begun
        assert spent < PATIENCE_SECONDS, f"{spent} s for {syntax} {data!r}"
        run.slowest_seconds = max(run.slowest_seconds, spent)
        run.data_sets += 1
        if isinstance(one, bytes):
            run.accepted += 1
        else:
            run.refused[one] += 1
        yield


def read_data_set(syntax: str, data: bytes, step: int) -> bytes | str:
    """The canonical digest, or the kind of error. Whatever else is raised fails the run."""
    declared = DeclaredInstance(CT, "1.2.3.1000.1000", syntax)
    try:
        inspector = DataSetInspector(transfer_syntax(syntax), WANTED)
        for at in range(0, len(data), step):
            inspector.feed(data[at : at + step])
        inspection: Inspection = inspector.finish()
        rows_of(inspection, declared)
        key_of(inspection, declared)
    except StorageError as error:
        return type(error).__name__
    return inspection.canonical_digest


def quiet() -> None:
    """What is refused a million times is not logged."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def recorded(folder: Path | None) -> tuple[bytes, ...]:
    """Conversations that somebody recorded, one file each."""
    return () if folder is None else tuple(path.read_bytes() for path in sorted(folder.rglob("in-dicom/*.raw")))


def main() -> None:
    """The long run."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.endurance", description=__doc__)
    parser.add_argument("--pdus", type=int, default=5_000_000)
    parser.add_argument("--data-sets", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=Path, help="a folder with recorded conversations")
    arguments = parser.parse_args()
    quiet()
    run, process, begun = Run(arguments.seed), psutil.Process(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="strongroom-fuzz-") as folder:
        archive = FuzzedArchive(Path(folder))
        try:
            for _ in converse(archive, run, arguments.pdus, recorded(arguments.seeds)):
                if run.pdus * 10 >= arguments.pdus * (len(run.memory) + 1):
                    run.memory.append(process.memory_info().rss >> 20)
        finally:
            archive.close()
        for _ in read_data_sets(run, arguments.data_sets):
            pass
    run.memory.append(process.memory_info().rss >> 20)
    run.seconds = round(time.monotonic() - begun, 1)
    print(json.dumps(vars(run), indent=1))


if __name__ == "__main__":
    main()
