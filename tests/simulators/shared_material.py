"""Material made by others, used where it is at hand: STRONGROOM_SHARED, or a folder ``shared`` beside the checkout."""

import os
from pathlib import Path

import pytest


def shared(*parts: str) -> Path:
    """A path in the shared material; skips the test, saying so, where it is absent."""
    root = Path(os.environ.get("STRONGROOM_SHARED") or Path(__file__).resolve().parents[3] / "shared")
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared material absent: {'/'.join(parts)}")
    return path
