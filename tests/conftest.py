"""What a test leaves behind in its process is taken back."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def level_of_before() -> Iterator[None]:
    """A command that a test runs decides from which level on is logged; the next test decides for itself."""
    logger = logging.getLogger("anomaly")
    before = logger.level
    yield
    logger.setLevel(before)
