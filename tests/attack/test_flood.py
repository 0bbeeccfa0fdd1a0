"""D27: a flood of refused associations, over real sockets, costs the trail little and keeps nobody honest out.

A crowd knocks with an unknown certificate, with titles of nobody's, and with wrong passcodes: from one address and from
thousands. Meanwhile a modality opens associations as ever.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.simulators.acceptor import RawPeer, request_bytes
from tests.simulators.certificates import make
from tests.simulators.running_archive import RunningArchive, free_port
from tests.simulators.scu import Refused, User, client_tls

REFUSALS = {"node-refused", "user-authenticated", "access-refused"}
TITLE = slice(26, 42)
"""Of the calling AE title in an A-ASSOCIATE-RQ (PS3.8 Table 9-11)."""


class Crowd:
    """Peers that are all refused."""

    def __init__(self, archive: RunningArchive, plain_port: int) -> None:
        self.archive, self.plain_port = archive, plain_port
        self.request = request_bytes()
        certificate, key = make("stranger").write(archive.folder, "stranger")
        self.stranger = client_tls(archive.folder / "nodes" / "WS1")
        self.stranger.load_cert_chain(certificate, key)

    def knocks(self, number: int) -> None:
        """One refused association: of a hundred ninety by title, five by certificate, five by passcode."""
        source = "127.0.0.2" if number % 3 == 0 else f"127.{1 + number % 97}.{number % 251}.{1 + number % 241}"
        turn = number % 20
        if turn == 7:
            self.with_an_unknown_certificate(source)
        elif turn == 13:
            self.with_a_wrong_passcode(source, number)
        else:
            self.with_a_title_of_nobodys(source, number)

    def with_a_title_of_nobodys(self, source: str, number: int) -> None:
        request = bytearray(self.request)
        request[TITLE] = f"T{number}".encode().ljust(16)
        with RawPeer(self.plain_port, source) as peer:
            peer.send(bytes(request))
            assert peer.pdu() in ((3, b"\0\1\1\3"), (0, b"")), "refused, or cut off to make room"

    def with_an_unknown_certificate(self, source: str) -> None:
        with (
            contextlib.suppress(ssl.SSLError, ConnectionError),
            socket.create_connection(("127.0.0.1", self.archive.port), 60, (source, 0)) as raw,
            self.stranger.wrap_socket(raw) as peer,
        ):
            assert peer.recv(1) == b""

    def with_a_wrong_passcode(self, source: str, number: int) -> None:
        guess = User(f"name{number % 50}".encode(), b"wrong")
        requestor = self.archive.requestor("WS1", user=guess, source=source)
        with pytest.raises((Refused, OSError)), requestor:
            pass


def set_up_times(archive: RunningArchive, until: threading.Event, at_least: int) -> list[float]:
    """Seconds from nothing to a verified C-ECHO, again and again; every one has to succeed."""
    times = []
    while len(times) < at_least or not until.is_set():
        begun = time.monotonic()
        with archive.requestor("CT1") as modality:
            assert modality.echo() == 0
        times.append(time.monotonic() - begun)
        until.wait(0.1)
    return times


def flooded(folder, knocks: int) -> dict[str, object]:
    """Let the crowd knock; what the trail has then, and how the modality fared."""
    archive = RunningArchive(folder).init()
    plain_port = free_port()
    settings = archive.home / "strongroom.toml"
    text = settings.read_text().replace('plain = ""', 'plain = "insecure"')
    settings.write_text(text.replace("plain_port = 11112", f"plain_port = {plain_port}"))
    archive.node("CT1", "modality")
    archive.node("WS1", "radiologist")
    trail = archive.paths()["trail"]
    with archive.serving(), ThreadPoolExecutor(9) as pool:
        over = threading.Event()
        over.set()
        quiet = set_up_times(archive, over, at_least=20)
        before = sum(file.stat().st_size for file in trail.iterdir())
        over.clear()
        honest = pool.submit(set_up_times, archive, over, at_least=20)
        begun = time.monotonic()
        crowd = Crowd(archive, plain_port)
        try:
            for _ in pool.map(crowd.knocks, range(knocks)):
                pass
        finally:
            over.set()
        seconds = time.monotonic() - begun
        during = honest.result()
        assert archive.stop() == 0
    return {
        "knocks": knocks,
        "seconds": seconds,
        "growth": sum(file.stat().st_size for file in trail.iterdir()) - before,
        "quiet": quiet,
        "during": during,
        "trail": archive.trail(),
    }


def judged(outcome: dict[str, object]) -> dict[str, object]:
    """Check what any flood has to leave; the figures."""
    records, minutes = outcome["trail"], outcome["seconds"] / 60 + 2
    refusals = [record for record in records if record["kind"] in REFUSALS and record["facts"]["outcome"] != 0]
    alerts = [record for record in records if record["kind"] == "security-alert"]
    told = sum(record["facts"].get("repeated", {}).get("count", 1) for record in refusals)
    # Nothing is lost: every knock is in some record. Those cut off before they said anything are probes, not refusals.
    assert outcome["knocks"] * 0.99 <= told <= outcome["knocks"]
    # Bounded: by the limits of [flood] for each minute, and of [alerts] for each hour, whatever the crowd does.
    assert len(refusals) <= minutes * 2 * (100 + 20 + 20)
    assert 0 < len(alerts) <= 2 * 30 + 1
    # The modality was admitted every time, and each admission is a record of its own.
    admitted = [record for record in records if record["kind"] == "node-authenticated"]
    assert len(admitted) == len(outcome["quiet"]) + len(outcome["during"])
    return {
        "refused": told,
        "per second": round(outcome["knocks"] / outcome["seconds"]),
        "records of refusals": len(refusals),
        "of which stand for many": sum("repeated" in record["facts"] for record in refusals),
        "alerts": Counter(record["facts"]["description"].split(":")[0] for record in alerts),
        "trail growth in bytes": outcome["growth"],
        "set-up ms quiet p50/p95/max": milliseconds(outcome["quiet"]),
        "set-up ms in the flood p50/p95/max": milliseconds(outcome["during"]),
    }


def milliseconds(times: list[float]) -> str:
    ordered = sorted(times)
    return "/".join(f"{1000 * ordered[int((len(ordered) - 1) * share)]:.0f}" for share in (0.5, 0.95, 1))


def test_a_flood_of_refused_associations_is_told_in_few_records_while_a_modality_works(tmp_path):
    outcome = flooded(tmp_path, 1500)
    print(judged(outcome))
    assert outcome["growth"] < 1_000_000


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_refused_associations_grow_the_trail_by_a_bounded_amount(tmp_path):
    outcome = flooded(tmp_path, 100_000)
    print(judged(outcome))
    assert outcome["growth"] < 20_000_000
