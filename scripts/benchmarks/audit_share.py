"""What the audit trail takes of the throughput of stores: with the real one, and with one that is kept nowhere."""

import statistics
from collections.abc import Callable

from benchmarks.servers import Server, Stable


def run(rounds: int, stable: Stable, store: Callable[[Server], float]) -> dict[str, object]:
    """Interleaved rounds of the same stores; the share is what the real trail costs of the rate without it."""
    rates: dict[str, list[float]] = {"strongroom": [], "unsafe": []}
    for _ in range(rounds):
        for name, measured in rates.items():
            server = stable.start(name)
            try:
                measured.append(store(server))
            finally:
                server.stop()
    shares = [1 - real / unsafe for real, unsafe in zip(*rates.values(), strict=True)]
    return {
        "name": "audit-share",
        "unit": "objects/s",
        "ours": round(statistics.median(rates["strongroom"]), 1),
        "peers": {"an unsafe trail in memory": round(statistics.median(rates["unsafe"]), 1)},
        "ratio": {"an unsafe trail in memory": round(1 - statistics.median(shares), 2)},
        "spread": [round(1 - max(shares), 2), round(1 - min(shares), 2)],
        "rounds": rounds,
    }
