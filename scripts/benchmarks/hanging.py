"""How long honest people wait at the door while others hang on a directory that does not answer."""

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from archive.lab.jwt_issuer import JwtIssuer
from benchmarks.servers import PASSCODE, Server, Stable
from tests.simulators.scu import IMPLICIT, VERIFICATION, Requestor, User

HANGING, HONEST = 50, 20
AUDIENCE = "urn:dicom:ae:STRONGROOM"


@contextlib.contextmanager
def silent_directory() -> Iterator[int]:
    """Accepts connections and says nothing."""
    taken: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            for connection in taken:
                connection.close()


def provider_sections(issuer: JwtIssuer, directory_port: int) -> str:
    """The directory that is silent, and an issuer that needs nobody else."""
    return f"""
[[directory]]
name = "silent"
host = "127.0.0.1"
port = {directory_port}
transport = "ldaps"
ca = "{issuer.folder / "ca.pem"}"
base = "ou=people,dc=example"
[[jwt]]
name = "issuer"
realm = "example"
issuer = "{issuer.name}"
jwks = "{issuer.jwks_file}"
roles = {{ reader = "radiologist" }}
"""


def set_up(server: Server, user: User) -> float:
    """Seconds from the connection to the A-ASSOCIATE-AC."""
    begun = time.perf_counter()
    with Requestor(server.port, server.tls("READER"), "READER", contexts=[(VERIFICATION, [IMPLICIT])], user=user):
        return time.perf_counter() - begun


def honest(server: Server, issuer: JwtIssuer) -> list[float]:
    """Set-up times of people whom the directory has nothing to do with."""
    times = []
    for _ in range(HONEST):
        times.append(set_up(server, User(issuer.token("alice", roles=["reader"]).encode(), identity_type=5)))
        times.append(set_up(server, User(b"alice", PASSCODE.encode())))
    return times


def hang(server: Server, number: int) -> None:
    """One login that only the directory could judge."""
    with contextlib.suppress(Exception):
        set_up(server, User(f"somebody{number}".encode(), b"secret"))


def run(rounds: int, stable: Stable, work: Path) -> dict[str, object]:
    """Interleaved rounds without and with hanging logins: p95 of the honest ones' set-up in each."""
    issuer = JwtIssuer(work / "issuer", audience=AUDIENCE)
    issuer.start()
    alone: list[float] = []
    beside: list[float] = []
    try:
        with silent_directory() as port:
            server = stable.start("strongroom", provider_sections(issuer, port))
            try:
                honest(server, issuer)
                for _ in range(rounds):
                    alone += honest(server, issuer)
                    logins = [threading.Thread(target=hang, args=(server, number)) for number in range(HANGING)]
                    for login in logins:
                        login.start()
                    time.sleep(1.5)  # their passcodes are hashed, whoever they are; from here on they wait
                    beside += honest(server, issuer)
                    for login in logins:
                        login.join()
            finally:
                server.stop()
    finally:
        issuer.stop()
    p95 = [statistics.quantiles(times, n=20)[-1] * 1e3 for times in (alone, beside)]
    return {
        "name": "hanging-directory",
        "unit": "ms p95",
        "ours": round(p95[1], 1),
        "peers": {"nobody hanging": round(p95[0], 1)},
        "ratio": {"nobody hanging": round(p95[1] / p95[0], 2)},
        "spread": [round(statistics.median(beside) / statistics.median(alone), 2)] * 2,
        "rounds": rounds,
    }
