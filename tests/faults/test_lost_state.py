"""A state topic that is lost, in the short form."""

import pytest
from tests.faults.lost import CORRELATE, DETECT, NOTES, Loss, run

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

LOSSES = [Loss((DETECT, CORRELATE, NOTES)), Loss((DETECT,), records=True, keyed=True, driver="faust")]


@pytest.mark.parametrize("loss", LOSSES, ids=["topics, two stages", "records, one stage"])
async def test_a_lost_state_topic_is_said_and_nobody_is_told_anything_twice_or_falsely(bootstrap: str, loss: Loss) -> None:
    """Who is in trouble stays so until it is over, who is well is learned anew, and the next trouble is told."""
    assert (await run(bootstrap, loss)).wrong(loss) == []
