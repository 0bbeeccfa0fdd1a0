"""docs/front-door.md says what there is: every limit with its default, every metric with its labels."""

import dataclasses
import re
from pathlib import Path

from archive.metrics import Metrics
from archive.upper_layer.limits import Limits

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "front-door.md").read_text()


def test_every_limit_is_documented_with_its_default_in_its_order():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([\d.]+) \|", DOCUMENT, re.MULTILINE)
    assert rows == [(field.name, str(field.default)) for field in dataclasses.fields(Limits)]


def test_every_metric_is_documented():
    metrics = Metrics()
    metrics.connections("half-open", lambda: 0)
    names = {line.split()[2] for line in metrics.text().splitlines() if line.startswith("# TYPE")}
    documented = set(re.findall(r"^\| `(strongroom_\w+)` \|", DOCUMENT, re.MULTILINE))
    assert documented == {name for name in names if not name.endswith("_created")}
