"""What every test leaves as it found it."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A verb that a test runs in its own process sends the log to a stream that ends with the test."""
    yield
    structlog.reset_defaults()
