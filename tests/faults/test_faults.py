"""The short form of `make faults`."""

import pytest
from tests.faults.chaos import run
from tests.host import broker as kafka

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]


@pytest.mark.parametrize("driver", ["faust", "consumer"])
async def test_workers_that_are_killed_and_frozen_lose_nothing_and_tell_nothing_twice(bootstrap: str, driver: str) -> None:
    """State to the bit, and the same alerts, as one undisturbed pass gives."""
    outcome = await run(bootstrap, kills=2, driver=driver, steps=120)
    assert (outcome.lost, outcome.duplicated) == (0, 0)
    assert outcome.alerts > 0, "a story in which nothing happens shows nothing"
    assert outcome.rebalances > 0 < outcome.clock_jumps


async def test_a_broker_that_restarts_under_load_loses_nothing_and_has_nothing_told_twice() -> None:
    """On the same data, with workers that write, check and are killed meanwhile."""
    with kafka.own_broker() as own:
        outcome = await run(own.bootstrap, kills=1, driver="faust", steps=120, own=own)
    assert (outcome.lost, outcome.duplicated) == (0, 0)
    assert outcome.broker_restarts > 0
