"""A second policy set beside the one in force: asked the same, obeyed never, and its differences counted.

What is asked is what people do: decisions, what queries may reach, and the studies that were found. Studies that the
second set would show in addition are not among those; `strongroom policy diff` finds them in the index.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from auth.policy.model import AccessRequest, Decision

MAX_KEPT: Final = 1000
"""Different differences that are remembered; further ones are counted together."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What the two sets say differently: to whom, about what."""

    action: str
    person: str
    node: str
    study_uid: str
    """Empty where no single study is meant."""
    live: bool
    shadow: bool
    reason: str
    """Of the shadow set."""


Report = Callable[[Difference], None]


class Shadow:
    """Differences as they come. Thread-safe."""

    def __init__(self, fingerprint: str, report: Report | None = None) -> None:
        """``report`` hears of each different difference once."""
        self.fingerprint = fingerprint
        self._report = report
        self._lock = threading.Lock()
        self._asked = 0
        self._differed = 0
        self._kept: dict[Difference, int] = {}

    def compare(self, request: AccessRequest, study_uid: str, live: Decision, shadow: Decision) -> None:
        """Note one question and both answers. Obligations that differ count as well."""
        same = live.permitted is shadow.permitted and (not live.permitted or live.obligations == shadow.obligations)
        with self._lock:
            self._asked += 1
            if same:
                return
            self._differed += 1
            person = request.principal.name if request.principal else ""
            found = Difference(
                request.action.value,
                person,
                request.node.name,
                study_uid,
                live.permitted,
                shadow.permitted,
                shadow.reason,
            )
            new = found not in self._kept and len(self._kept) < MAX_KEPT
            if new or found in self._kept:
                self._kept[found] = self._kept.get(found, 0) + 1
        if new and self._report is not None:
            self._report(found)

    @property
    def counts(self) -> tuple[int, int]:
        """Questions asked, and those that were answered differently."""
        with self._lock:
            return self._asked, self._differed

    @property
    def differences(self) -> list[tuple[Difference, int]]:
        """Each difference and how often it came, the most frequent first."""
        with self._lock:
            return sorted(self._kept.items(), key=lambda kept: -kept[1])
