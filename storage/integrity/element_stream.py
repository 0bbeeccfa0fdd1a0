"""An incremental tokenizer over the raw bytes of a data set (PS3.5 7)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """Bounds on what one data set may ask of its reader."""
