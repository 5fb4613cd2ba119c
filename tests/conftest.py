"""What a test leaves behind in its process is taken back; the files that take longest are begun first."""

import logging
from collections.abc import Iterator

import pytest

LONGEST = ("test_faults.py", "test_worker.py", "test_demo.py", "test_lost_state.py", "test_growth.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A long file that is begun last runs alone in the end, while the other processes have nothing to do."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(autouse=True)
def level_of_before() -> Iterator[None]:
    """A command that a test runs decides from which level on is logged; the next test decides for itself."""
    logger = logging.getLogger("anomaly")
    before = logger.level
    yield
    logger.setLevel(before)
