"""What an operator may count: one registry for one archive, in Prometheus' text format, read over the control socket.

Nothing here is served on a network. Labels are words of ours, never anything that a peer sent.
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

_PREFIX: Final = "strongroom"


class Metrics:
    """The counters of the front door. Thread-safe."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.accepted = Counter(f"{_PREFIX}_connections_accepted", "Connections accepted.", registry=self._registry)
        self.refused = self._counter(
            "connections_refused", "Connections that did not become an association, by where they failed.", "stage"
        )
        """``tls``, ``protocol``, ``admission`` or ``room``."""
        self.limits_crossed = self._counter("limits_crossed", "Limits crossed, as [limits] names them.", "limit")
        self.associations = self._counter("associations_ended", "Associations that ended, by how.", "how")
        """``released``, ``aborted`` by the peer, ``lost``, ``violation``, ``withdrawn``, ``drained`` or ``fault``."""
        self.reloads = self._counter("tls_reloads", "Certificates, keys and revocations read again.", "result")
        """``good``, or ``failed``: what was read before still counts."""
        self.certificate_expiry = Gauge(
            f"{_PREFIX}_certificate_expiry_timestamp_seconds",
            "When a certificate ends, in seconds since 1970.",
            ["certificate"],
            registry=self._registry,
        )
        self._connections = Gauge(
            f"{_PREFIX}_connections", "Connections at this moment, by stage.", ["stage"], registry=self._registry
        )

    def connections(self, stage: str, count: Callable[[], float]) -> None:
        """How many connections are in a stage, asked when somebody looks."""
        self._connections.labels(stage).set_function(count)

    def text(self) -> str:
        """Every metric in the text exposition format."""
        return generate_latest(self._registry).decode("utf-8")

    def samples(self) -> dict[str, float]:
        """Every sample by its name and labels, as the text format writes them; without the moments of creation."""
        return {
            _written(sample.name, sample.labels): sample.value
            for family in self._registry.collect()
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    def _counter(self, name: str, words: str, label: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", words, [label], registry=self._registry)


def _written(name: str, labels: dict[str, str]) -> str:
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{inside}}}" if inside else name
