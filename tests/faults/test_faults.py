"""The short form of `make faults`."""

import pytest
from tests.faults.chaos import run

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]


@pytest.mark.parametrize("driver", ["faust", "consumer"])
async def test_workers_that_are_killed_and_frozen_lose_nothing_and_tell_nothing_twice(bootstrap: str, driver: str) -> None:
    """State to the bit, and the same alerts, as one undisturbed pass gives."""
    outcome = await run(bootstrap, kills=3, driver=driver, steps=160)
    assert (outcome.lost, outcome.duplicated) == (0, 0)
    assert outcome.alerts > 0, "a story in which nothing happens shows nothing"
