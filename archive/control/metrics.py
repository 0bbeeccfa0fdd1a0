"""The counters of a running archive."""

from archive.control.operations import Call, operation
from archive.control.protocol import Json


@operation("metrics")
def metrics(call: Call) -> Json:
    """Every metric, in Prometheus' text format and as samples by name. Without a server all of them are new."""
    call.arguments.finish()
    counted = call.archive.metrics
    return {"text": counted.text(), "samples": dict(counted.samples())}
